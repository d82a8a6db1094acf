"""The command line: the group of all commands, a module each, and the program's entry point.

Everything heavy is imported inside the command that needs it, so that `--help`, `--version`,
`info` and `models` answer at once. Exit codes: 0 all went well, 1 something failed, 2 the
arguments make no sense, 130 interrupted.
"""

from __future__ import annotations

import signal
import warnings
from contextlib import suppress
from typing import Any

import click

from vqcodec import __version__, weights
from vqcodec.commands.batch import describe
from vqcodec.commands.bpd import bpd
from vqcodec.commands.compare import compare
from vqcodec.commands.decode import decode
from vqcodec.commands.encode import encode
from vqcodec.commands.info import info
from vqcodec.commands.truncate import truncate
from vqcodec.errors import VqcError


class _Commands(click.Group):
    """Turns what a user can run into, wherever it is raised, into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Ends like Ctrl-C: what is being written is removed.
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends the program without a word
        except (VqcError, OSError) as error:
            raise click.ClickException(describe(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vqcodec", message="%(prog)s %(version)s")
def cli() -> None:
    """A learned image codec: photographs to small .vqc files and back."""
    # What Pillow and torch warn of becomes an error or a note, or is not for the user.
    for category in (UserWarning, RuntimeWarning):
        warnings.simplefilter("ignore", category)


@cli.command()
def models() -> None:
    """List the models that came with this program."""
    for model in (*weights.available(), *weights.densities()):
        size = model.path.stat().st_size / 1e6
        click.echo(f"{model.name}  {model.model_id.hex()}  {size:.1f} MB")
        for key, value in model.card.items():
            if isinstance(value, (str, int, float)):
                click.echo(f"  {key}: {value}")


for command in (encode, decode, truncate, compare, info, bpd):
    cli.add_command(command)
