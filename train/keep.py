"""Keep a run where only little can be kept: python -m train.keep CHECKPOINT OUT.safetensors

The averaged weights alone, in half precision, a twelfth of the checkpoint. Any script takes the
file as its --init; what the optimizer knew is lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file

from train.checkpoint import CARD_KEY, load_checkpoint, stages, without_folders
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
    *before, own = stages(state)
    data = state["config"]["settings"].get("data", [])
    config: dict[str, Any] = {
        "model": state["config"]["model"],
        "settings": {"data": list(map(without_folders, data))},
        "stages": before,
        **{name: own.pop(name) for name in ("command", "commit") if name in own},
    }
    save_file(weights, out, {CARD_KEY: json.dumps({**own, "config": config})})


if __name__ == "__main__":
    main()
