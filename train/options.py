"""Command-line options that the training scripts share, and how a script ends."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import click
from torch import Tensor

from train.data import CropSampler, whole_images
from train.errors import TrainError
from train.loop import Settings
from train.photographs import find_photographs
from train.processes import Process
from vqcodec.commands.options import Finite
from vqcodec.errors import VqcError

# EX_TEMPFAIL of sysexits.h: so that a script does not go on with half-trained weights.
STOPPED_EARLY = 75

Command = TypeVar("Command", bound=Callable[..., Any])


FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
NATURAL = click.IntRange(min=0)
POSITIVE = Finite(min=0, min_open=True)
NOT_NEGATIVE = Finite(min=0)
SHARE = Finite(min=0, max=1)

option = functools.partial(click.option, show_default=True)
data_option = option(
    "--data", type=FILE, multiple=True, required=True, metavar="PATH...",
    help="Folders and tar shards of images.",
)  # fmt: skip


class Script(click.Command):
    """A command whose function returns False if it was stopped early.

    It exits with 0 if finished, 75 if stopped early, 1 on an error, which is one line. An option
    that may be given several times takes several values at once too: --data A B.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of an option before each of its values."""
        multiple = {name for p in self.params if getattr(p, "multiple", False) for name in p.opts}
        repeated: list[str] = []
        name = ""
        for argument in args:
            if argument.startswith("-"):
                name = argument if argument in multiple else ""
            elif name and repeated[-1] != name:
                repeated.append(name)
            repeated.append(argument)
        return super().parse_args(ctx, repeated)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command, then leave with its exit code."""
        logging.basicConfig(format="%(levelname)s: %(message)s")
        logging.getLogger("train").setLevel(logging.INFO)
        try:
            finished = super().invoke(ctx)
        except (TrainError, VqcError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        if finished is False:
            click.echo(f"stopped; go on with --resume --out {ctx.params['out']}", err=True)
            ctx.exit(STOPPED_EARLY)


def loop_options(command: Command) -> Command:
    """What every training script takes beside --steps: where to, from what, how fast."""
    for decorate in reversed((
        option("--out", type=FILE, required=True, help="Folder for checkpoint and logs."),
        option("--resume", is_flag=True, help="Go on from OUT/checkpoint.pt."),
        option("--init", type=FILE, metavar="CHECKPOINT", help="Start from its EMA weights."),
        option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        option("--batch", type=COUNT, default=8, help="Images per process and step."),
        option("--lr", type=POSITIVE, default=1e-3, help="Peak learning rate."),
        option("--warmup", type=NATURAL, default=Settings.warmup, help="Steps of rising rate."),
        option(
            "--decay", type=SHARE, default=Settings.decay,
            help="Last share of the steps, of falling rate.",
        ),
        option("--clip", type=POSITIVE, default=Settings.clip, help="Gradient norm."),
        option("--ema", type=SHARE, default=Settings.ema, help="Decay of averaged weights."),
        option(
            "--compile", is_flag=True, help="torch.compile the model: minutes, then faster steps."
        ),
        option(
            "--bf16/--no-bf16", default=Settings.bf16,
            help="bfloat16 where it is safe: faster, less exact.",
        ),
        option("--seed", type=NATURAL, default=Settings.seed),
        option("--log-every", type=COUNT, default=Settings.log_every, metavar="STEPS"),
        option("--valid-every", type=COUNT, default=Settings.valid_every, metavar="STEPS"),
        option("--checkpoint-minutes", type=POSITIVE, default=Settings.checkpoint_minutes),
        option("--data-threads", type=COUNT, default=Settings.data_threads),
    )):  # fmt: skip
        command = decorate(command)
    return command


def image_options(command: Command) -> Command:
    """What a script takes that trains for a number of steps on crops of images."""
    command = loop_options(command)
    for decorate in reversed((
        data_option,
        option(
            "--valid", type=FILE, multiple=True, required=True, metavar="PATH...",
            help="The same, for validation.",
        ),
        option("--crop", type=COUNT, default=192, help="Side of a crop in pixels."),
        option(
            "--drawn", type=SHARE, default=0.0, help="Share of crops that are drawn, or cut out."
        ),
        option("--valid-images", type=COUNT, default=24, help="Images for each validation."),
        option(
            "--memory", type=POSITIVE, default=8.0, metavar="GIB",
            help="For decoded images of a process; more of them are streamed.",
        ),
        option("--steps", type=COUNT, required=True),
    )):  # fmt: skip
        command = decorate(command)
    return command


class Arguments(SimpleNamespace):
    """What the shared options, and a script's others, were given as."""

    def photographs(
        self, process: Process, multiple: int = 64, scale: int = 1
    ) -> tuple[CropSampler, list[Tensor]]:
        """Return what `image_options` tell: crops to train on, batches of whole images.

        The images are cut so that their sides are multiples of `multiple` pixels. All is `scale`
        times as large as they say. Raises DataError if there are none.
        """
        memory, processes = int(self.memory * 2**30), process.world_size
        sampler = CropSampler.open(
            self.data, memory, scale * self.crop, self.batch, self.seed, self.drawn, processes
        )
        found = find_photographs(self.valid)
        return sampler, whole_images(found, self.valid_images, scale * multiple)

    def settings(self) -> Settings:
        """Return the settings of the training loop."""
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})

    def run_config(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return what a checkpoint keeps of a run, as plain data.

        "settings" are the arguments that shape the result, "model" is the model's own
        configuration, "command" and "commit" are for the model card.
        """
        passing = {"out", "resume", "device", "log_every", "valid_every", "checkpoint_minutes"}
        passing |= {"data_threads"}
        settings = {k: _plain(v) for k, v in vars(self).items() if k not in passing}
        return {"settings": settings, "model": model, "command": _command(), "commit": _commit()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _command() -> str:
    module = getattr(sys.modules["__main__"], "__spec__", None)
    script = ["python", "-m", module.name] if module else ["python", sys.argv[0]]
    return shlex.join([*script, *sys.argv[1:]])


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
