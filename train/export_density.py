"""A run of train.hvae becomes a file that ships: python -m train.export_density CHECKPOINT OUT

The averaged weights in half precision, and a model card (JSON) beside them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from train.checkpoint import load_model
from train.export import model_card, write_weights
from train.options import FILE, Script
from vqcodec.density.ladder import Ladder
from vqcodec.density.store import CONFIG_KEY


def export(model: Ladder, path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights file of a density model, and its card beside it."""
    arrays = {name: v.half().contiguous().numpy() for name, v in model.state_dict().items()}
    write_weights(arrays, path, {CONFIG_KEY: dataclasses.asdict(model.config)}, card)


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FILE)
def main(checkpoint: Path, out: Path) -> None:
    """Make the weights file OUT of the density model in CHECKPOINT."""
    model, state = load_model(checkpoint, Ladder.from_dict)
    export(model, out, model_card(state, "ladder VAE, Haar pyramid, logistic priors"))


if __name__ == "__main__":
    main()
