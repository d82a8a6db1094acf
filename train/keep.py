"""Keep a run where only little can be kept: python -m train.keep CHECKPOINT OUT.safetensors

The averaged weights alone, in half precision, a twelfth of the checkpoint. Any script takes the
file as its --init; what the optimizer knew is lost.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from train.checkpoint import CARD_KEY, COUNTED, load_checkpoint
from train.options import FILE, Script


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FILE)
def main(checkpoint: Path, out: Path) -> None:
    """Keep the averaged weights of CHECKPOINT in OUT."""
    state = load_checkpoint(checkpoint, torch.device("cpu"))
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in state["ema"].items()
    }
    card = {name: state[name] for name in COUNTED if name in state}
    save_file(weights, out, {CARD_KEY: json.dumps({**card, "config": state["config"]})})


if __name__ == "__main__":
    main()
