"""The command line: the group of all commands, a module each, and the program's entry point.

Everything heavy is imported inside the command that needs it, so that `--help`, `--version`,
`info` and `models` answer at once. Exit codes: 0 all went well, 1 something failed, 2 the
arguments make no sense, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from vqcodec import __version__, collector, weights
from vqcodec.codec.looks import LOOKS
from vqcodec.commands.batch import describe
from vqcodec.commands.bpd import bpd
from vqcodec.commands.compare import compare
from vqcodec.commands.decode import decode
from vqcodec.commands.encode import encode
from vqcodec.commands.info import info
from vqcodec.commands.terminal import (
    answer,
    drop_unwritten,
    fill_closed_streams,
    printable,
    remark,
)
from vqcodec.commands.tokens import tokens
from vqcodec.commands.truncate import truncate
from vqcodec.errors import VqcError


class _Commands(click.Group):
    """Turns what a user can run into, wherever it is raised, into one line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        fill_closed_streams()
        try:
            return super().main(*args, **extra)
        finally:
            drop_unwritten()

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Ends like Ctrl-C: what is being written is removed.
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            with _one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn errors into those that click shows, in a line that no name in it can break."""
    try:
        yield
    except BrokenPipeError:
        raise  # click ends the program without a word
    except click.UsageError as error:
        message = printable(error.format_message(), sys.stderr)
        raise click.UsageError(message, error.ctx) from error
    except click.ClickException as error:
        raise click.ClickException(printable(error.format_message(), sys.stderr)) from error
    except (VqcError, OSError) as error:
        raise click.ClickException(printable(describe(error), sys.stderr)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vqcodec", message="%(prog)s %(version)s")
def cli() -> None:
    """A learned image codec: photographs to small .vqc files and back."""
    # What Pillow and torch warn of becomes an error or a note, or is not for the user.
    for category in (UserWarning, RuntimeWarning):
        warnings.simplefilter("ignore", category)


@cli.command()
def models() -> None:
    """List the models that came with this program, or are installed beside it."""
    for model in (*weights.available(), *weights.densities()):
        try:
            line = f"{model.name}  {model.model_id.hex()}  {len(model.data) / 1e6:.1f} MB"
            card = model.card
        except VqcError as error:
            click.echo(remark(model.name, describe(error)), err=True)
            continue
        answer(line)
        for key, value in card.items():
            if isinstance(value, (str, int, float)):
                answer(f"  {key}: {value}")
        if model.natural.path.is_file():
            answer(f"  looks: {', '.join(LOOKS)}")


collector.spare_at_exit()  # first of all that is to be done then, and so done last

for command in (encode, decode, truncate, compare, info, bpd, tokens):
    cli.add_command(command)
