"""A run of train.hvae becomes a file that ships: python -m train.export_density CHECKPOINT OUT

The averaged weights in half precision, and a model card (JSON) beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.arguments import run_script
from train.checkpoint import load_model
from train.export import export_arguments, model_card, write_weights
from vqcodec.density.ladder import Ladder, LadderConfig
from vqcodec.density.store import CONFIG_KEY


def export(model: Ladder, path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights file of a density model, and its card beside it."""
    arrays = {name: v.half().contiguous().numpy() for name, v in model.state_dict().items()}
    write_weights(arrays, path, {CONFIG_KEY: dataclasses.asdict(model.config)}, card)


def run(arguments: argparse.Namespace) -> bool:
    """Export as told."""
    model, state = load_model(arguments.checkpoint, lambda own: Ladder(LadderConfig.from_dict(own)))
    card = model_card(state, "ladder VAE, Haar pyramid, logistic priors")
    export(model, arguments.out, card)
    return True


def main() -> int:
    """Run the command line; return the exit code."""
    return run_script(run, export_arguments("train.export_density", __doc__))


if __name__ == "__main__":
    sys.exit(main())
