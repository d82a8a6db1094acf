"""Arguments and options that several commands share, and the values that they take."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vqcodec.codec.target import DEVICE

if TYPE_CHECKING:
    from vqcodec.codec.tiles import Region

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Name(click.types.StringParamType):
    """A path or a name, as it was given; an empty one is what an unset variable leaves."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value; a usage error if it is empty, or nothing that a file can be called."""
        text: str = super().convert(value, param, ctx)
        if not text:
            self.fail("an empty name: is a variable unset?", param, ctx)
        if "\0" in text:
            self.fail("a name with a null character", param, ctx)
        return text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Leave what is typed to the shell's own completion of files and folders."""
        return [CompletionItem(incomplete, type="file")]


class Finite(click.FloatRange):
    """A number within a range, which excludes NaN: it compares as neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; a usage error if it is none or out of range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Device(click.types.StringParamType):
    """Where the network runs, as PyTorch calls it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; a usage error if it is none of a device."""
        name: str = super().convert(value, param, ctx)
        if not DEVICE.fullmatch(name):
            self.fail(f"{name!r} is not auto, cpu, cuda, cuda:N or mps", param, ctx)
        return name


NAME = Name()
# The largest number that the format has room for.
MAX_BYTES = (1 << 32) - 1
# More are threads that wait for one another; a slip of the keyboard would start as many.
MAX_JOBS = 1024
inputs_argument = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=NAME)
force_option = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")


skip_option = click.option(
    "--skip-existing", is_flag=True, help="Pass over inputs whose output is there already."
)
preserve_option = click.option(
    "--preserve", is_flag=True, help="Give the output the times of the input."
)
model_option = click.option(
    "--model", type=NAME, metavar="NAME|PATH",
    help="One of `vqcodec models`, or a .safetensors file."
)  # fmt: skip
device_option = click.option(
    "--device", type=Device(), metavar="auto|cpu|cuda|cuda:N|mps", default="auto",
    show_default=True, help="Where the network runs; auto takes a GPU of NVIDIA's if there is one.",
)  # fmt: skip
quiet_option = click.option("--quiet", is_flag=True, help="Say nothing but what failed.")


def batch_options(command: _Command) -> _Command:
    """What the commands that load a model and work on many files have in common."""
    return work_options(inputs_argument(command))


def work_options(command: _Command) -> _Command:
    """The same without the inputs."""
    for decorate in (
        click.option(
            "-j", "--jobs", type=click.IntRange(1, MAX_JOBS), metavar="N",
            default=1, show_default=True, help="Files to work on at the same time.",
        ),
        click.option(
            "--threads", type=click.IntRange(1, MAX_JOBS), metavar="N",
            help="Threads for each of these files.  [default: all cores, shared by the files]",
        ),
        quiet_option,
        force_option,
        model_option,
        device_option,
    ):  # fmt: skip
        command = decorate(command)
    return command


def output_option(text: str) -> Callable[[_Command], _Command]:
    """The option -o, with its help."""
    return click.option("-o", "--output", type=NAME, metavar="OUT", help=text)


def parse_region(_: click.Context, __: click.Parameter, value: str | None) -> Region | None:
    """The four whole numbers of the option --region."""
    if value is None:
        return None
    match = re.fullmatch(",".join([r"(\d{1,9})"] * 4), value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not four numbers such as 0,0,640,480")
    left, upper, width, height = map(int, match.groups())
    return left, upper, width, height
