"""A run of train.natural becomes what ships beside a model: python -m train.export_natural

    CHECKPOINT MODEL.safetensors

The averaged weights of the block in half precision go to MODEL.natural.safetensors, and a card
(JSON) beside them. They belong to that one model, whose id they carry; in place of a checkpoint
OTHER.safetensors gives the look of another model with the same network, such as one whose prior
was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from train.checkpoint import load_checkpoint
from train.export import model_card, write_weights
from train.natural import block_weights
from train.options import FILE, Script
from vqcodec.weights import SUFFIX, ModelInfo, find
from vqcodec.weights.store import NATURAL, NATURAL_KEY, load


def export(block: Mapping[str, Tensor], model: ModelInfo, card: Mapping[str, Any]) -> None:
    """Write the weights of a `NaturalBlock` beside the model that they belong to, and a card."""
    arrays = {NATURAL + name: value.half().contiguous().numpy() for name, value in block.items()}
    write_weights(arrays, model.natural.path, {NATURAL_KEY: model.model_id.hex()}, card)


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("model")
def main(checkpoint: Path, model: str) -> None:
    """Make the natural look of MODEL, the name or file of a model, of the run in CHECKPOINT."""
    if checkpoint.suffix == SUFFIX:
        other = load(find(checkpoint))
        export(other.natural_block().state_dict(), find(model), other.info.natural.card)
        return
    state = load_checkpoint(checkpoint, torch.device("cpu"))
    card = model_card(state, "a block on the picture, of noise")
    export(block_weights(state), find(model), card)


if __name__ == "__main__":
    main()
