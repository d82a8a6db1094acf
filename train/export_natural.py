"""A run of train.natural becomes what ships beside a model: python -m train.export_natural

    CHECKPOINT MODEL.safetensors

The averaged weights of the block in half precision go to MODEL.natural.safetensors, and a card
(JSON) beside them. They belong to that one model, whose id they carry.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from train.checkpoint import load_checkpoint
from train.export import model_card, write_weights
from train.options import FILE, Script
from vqcodec.weights import find
from vqcodec.weights.store import NATURAL, NATURAL_KEY

_BLOCK = "block."  # of the names in a checkpoint


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("model")
def main(checkpoint: Path, model: str) -> None:
    """Make the natural look of MODEL, the name or file of a model, of the run in CHECKPOINT."""
    state = load_checkpoint(checkpoint, torch.device("cpu"))
    info = find(model)
    arrays = {
        NATURAL + name.removeprefix(_BLOCK): value.half().contiguous().numpy()
        for name, value in state["ema"].items()
        if name.startswith(_BLOCK)
    }
    card = model_card(state, "a block on the picture, of noise")
    write_weights(arrays, info.natural.path, {NATURAL_KEY: info.model_id.hex()}, card)


if __name__ == "__main__":
    main()
