"""Command-line arguments that the training scripts share, and how a script ends."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from train.data import CropSampler, load_images, whole_images
from train.errors import TrainError
from train.loop import Settings
from vqcodec.errors import VqcError

# EX_TEMPFAIL of sysexits.h: so that a script does not go on with half-trained weights.
STOPPED_EARLY = 75


def add_loop_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add what every training script takes: where to, how long, how fast.

    Return the group of the ways to say how long, for a script that has others beside --steps.
    """
    group = parser.add_argument_group("training")
    group.add_argument("--out", type=Path, required=True, help="folder for checkpoint and logs")
    group.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    group.add_argument("--init", type=Path, metavar="CHECKPOINT", help="start from its EMA weights")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    length = group.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=positive(int))
    group.add_argument("--batch", type=positive(int), default=8, help="images per process and step")
    group.add_argument("--lr", type=positive(float), default=1e-3, help="peak learning rate")
    group.add_argument("--clip", type=positive(float), default=Settings.clip, help="gradient norm")
    group.add_argument("--ema", type=share, default=Settings.ema, help="decay of averaged weights")
    group.add_argument(
        "--compile", action="store_true", help="torch.compile the model: minutes, then faster steps"
    )
    group.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=Settings.bf16,
        help="bfloat16 where it is safe: faster, less exact",
    )
    group.add_argument("--seed", type=natural, default=Settings.seed)
    group.add_argument(
        "--log-every", type=positive(int), default=Settings.log_every, metavar="STEPS"
    )
    group.add_argument(
        "--valid-every", type=positive(int), default=Settings.valid_every, metavar="STEPS"
    )
    group.add_argument(
        "--checkpoint-minutes", type=positive(float), default=Settings.checkpoint_minutes
    )
    group.add_argument("--data-threads", type=positive(int), default=Settings.data_threads)
    return length


def add_rate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shape of the learning rate: it rises, stays, and falls to 0."""
    group = parser.add_argument_group("learning rate")
    group.add_argument(
        "--warmup", type=natural, default=Settings.warmup, help="steps of rising rate"
    )
    group.add_argument(
        "--decay",
        type=share,
        default=Settings.decay,
        help="last share of the steps, of falling rate",
    )


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a script that trains on crops of images takes."""
    group = parser.add_argument_group("images")
    images = "folders and tar shards of images"
    group.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help=images)
    group.add_argument("--valid", type=Path, nargs="+", required=True, metavar="PATH", help=images)
    group.add_argument("--crop", type=positive(int), default=192, help="side of a crop in pixels")
    group.add_argument(
        "--valid-images", type=positive(int), default=24, help="images for each validation"
    )
    group.add_argument(
        "--memory", type=positive(float), default=8.0, metavar="GIB", help="for decoded images"
    )


def load_photographs(arguments: argparse.Namespace) -> tuple[CropSampler, list[Tensor]]:
    """Return what `add_image_arguments` parsed: crops to train on, batches of whole images.

    Raises DataError if there are none, or they need more memory than allowed.
    """
    memory = int(arguments.memory * 2**30)
    images = load_images(arguments.data, memory)
    valid = whole_images(load_images(arguments.valid, memory), arguments.valid_images)
    return CropSampler(images, arguments.crop, arguments.batch, arguments.seed), valid


def loop_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings that `add_loop_arguments` and `add_rate_arguments` parsed."""
    known = {field.name for field in dataclasses.fields(Settings)}
    return Settings(**{name: value for name, value in vars(arguments).items() if name in known})


def run_config(arguments: argparse.Namespace, model: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint keeps of a run, as plain data.

    "settings" are the arguments that shape the result, "model" is the model's own configuration,
    "command" and "commit" are for the model card.
    """
    passing = {"out", "resume", "device", "log_every", "valid_every", "checkpoint_minutes"}
    passing |= {"memory", "data_threads"}
    settings = {k: _plain(v) for k, v in vars(arguments).items() if k not in passing}
    return {"settings": settings, "model": model, "command": _command(), "commit": _commit()}


def run_script(train: Callable[[argparse.Namespace], bool], arguments: argparse.Namespace) -> int:
    """Run `train` and return the exit code: 0 if finished, 75 if stopped early, 1 on an error."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("train").setLevel(logging.INFO)
    try:
        finished = train(arguments)
    except (TrainError, VqcError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not finished:
        print(f"stopped; go on with --resume --out {arguments.out}", file=sys.stderr)
    return 0 if finished else STOPPED_EARLY


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return an argparse type for numbers of `kind` above 0."""

    def parse(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse


def natural(text: str) -> int:
    """Parse a whole number of at least 0 for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def not_negative(text: str) -> float:
    """Parse a number of at least 0 for argparse."""
    value = float(text)
    if not value >= 0.0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def share(text: str) -> float:
    """Parse a number between 0 and 1 for argparse."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


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
