"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from vqcodec.codec.tiles import Region

_Command = TypeVar("_Command", bound=Callable[..., Any])


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave what is typed to the shell's own completion of files and folders.

    `click.Path` would too, but it also refuses what it cannot read, with a line of its own.
    """
    return [CompletionItem(incomplete, type="file")]


inputs_argument = click.argument(
    "inputs", metavar="IN...", nargs=-1, required=True, shell_complete=complete_file
)
force_option = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")


def batch_options(command: _Command) -> _Command:
    """What the commands that load a model and work on many files have in common."""
    for decorate in (
        click.option(
            "-j", "--jobs", type=click.IntRange(min=1), default=1, metavar="N", show_default=True,
            help="Files to work on at the same time.",
        ),
        force_option,
        click.option(
            "--model", metavar="NAME|PATH", shell_complete=complete_file,
            help="One of `vqcodec models`, or a .safetensors file.",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
            show_default=True, help="Where the network runs; auto takes a GPU if there is one.",
        ),
        inputs_argument,
    ):  # fmt: skip
        command = decorate(command)
    return command


def output_option(text: str) -> Callable[[_Command], _Command]:
    """The option -o, with its help."""
    return click.option("-o", "--output", metavar="OUT", help=text, shell_complete=complete_file)


def parse_region(_: click.Context, __: click.Parameter, value: str | None) -> Region | None:
    """The four whole numbers of the option --region."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not four numbers such as 0,0,640,480")
    left, upper, width, height = map(int, match.groups())
    return left, upper, width, height
