"""A checkpoint becomes the file that ships: python -m train.export CHECKPOINT OUT.safetensors

The averaged weights in half precision, the prior and its frequency tables in integers, and a model
card (JSON) beside them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from train.checkpoint import TRAINED_FOR, load_model, stages
from train.credits import PAGE, credited
from train.distortion import MEASURES
from train.options import FILE, POSITIVE, Script, option
from vqcodec.entropy.layer import SHIFT
from vqcodec.entropy.levels import CLASSES
from vqcodec.entropy.tables import FREQUENCY_BITS
from vqcodec.model.config import QUALITIES
from vqcodec.model.layers import Conv2d
from vqcodec.model.prior import (
    ACTIVATION_MAX,
    ACTIVATION_UNIT,
    PriorPhase,
    class_centres,
    magnitude,
)
from vqcodec.model.quantizer import Codebooks
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights.store import CONFIG_KEY, NETWORK, TABLES

Arrays = dict[str, NDArray[Any]]

LICENCE = "MIT"
# The metrics that parts of the distortion are (squared error is what is left of it), and the share
# from which a network counts as trained for one.
METRICS = {"structure": "ms_ssim", "ssimulacra2": "ssimulacra2"}
SHARE_THAT_COUNTS = 0.2
RESEARCH_LICENCE = "For research use: trained on photographs that may be for research use alone."


@torch.no_grad()
def integer_arrays(model: VQVAE) -> Arrays:
    """Return the integer prior and the frequency tables of a network with codebooks."""
    arrays: Arrays = {}
    for number, upsample in enumerate(model.prior.upsample):
        arrays |= _layer(f"prior.upsample.{number}", upsample)
    for number, (level, phases) in enumerate(zip(model.levels, model.prior.levels, strict=True)):
        for phase, prior in enumerate(phases):
            arrays |= _prior_phase(f"prior.{number}.{phase}", prior)
        for group, codebooks in enumerate(level.codebooks.groups):
            codewords = codebooks.codewords
            seen = (magnitude(codewords) / ACTIVATION_UNIT).round()
            arrays[f"prior.{number}.magnitudes.{group}"] = seen.to(torch.uint8).numpy()
            values = codewords.round().clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
            arrays[f"prior.{number}.values.{group}"] = values.to(torch.int8).numpy()
            arrays[f"{TABLES}{number}.{group}"] = frequencies(codebooks)
    return arrays


def frequencies(codebooks: Codebooks) -> NDArray[np.uint32]:
    """Return frequencies `[codebooks, CLASSES, codewords]`: each row positive, its sum 2^24."""
    centres = class_centres(torch.arange(CLASSES)).expand(codebooks.count, -1)
    p = codebooks.log_p(centres).double().exp().numpy()
    codewords = p.shape[-1]
    counts: NDArray[np.int64] = (
        np.floor(p * ((1 << FREQUENCY_BITS) - codewords)).astype(np.int64) + 1
    )
    missing = (1 << FREQUENCY_BITS) - counts.sum(-1, keepdims=True)
    most = counts.argmax(-1)[..., None]
    np.put_along_axis(counts, most, np.take_along_axis(counts, most, -1) + missing, -1)
    return counts.astype(np.uint32)


def _prior_phase(name: str, phase: PriorPhase) -> Arrays:
    slope = phase.slope / ACTIVATION_UNIT * 2**SHIFT / QUALITIES
    return {
        **_layer(f"{name}.update", phase.update),
        **_layer(f"{name}.hidden", phase.hidden),
        **_layer(f"{name}.head", phase.head),
        f"{name}.slope": slope.round().to(torch.int32).numpy(),
    }


def _layer(name: str, conv: Conv2d) -> Arrays:
    weight = (conv.weight * 2**SHIFT).round().clamp(-(2**15), 2**15 - 1)
    taps = weight.permute(2, 3, 1, 0).flatten(0, 1)
    bias = conv.bias / ACTIVATION_UNIT * 2**SHIFT
    return {
        f"{name}.weight": taps.contiguous().to(torch.int16).numpy(),
        f"{name}.bias": bias.round().to(torch.int32).numpy(),
    }


def export(model: VQVAE, path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights file of a network with codebooks, and its card beside it.

    Raises ModelError if the network still quantises to integers.
    """
    network = {
        NETWORK + name: value.half().contiguous().numpy()
        for name, value in model.state_dict().items()
        if not name.startswith("prior.")
    }
    config = {CONFIG_KEY: dataclasses.asdict(model.config)}
    write_weights({**network, **integer_arrays(model)}, path, config, card)


def write_weights(
    arrays: Arrays, path: Path, metadata: Mapping[str, Any], card: Mapping[str, Any]
) -> None:
    """Write arrays with their metadata, as JSON, and the card beside them."""
    save_file(arrays, path, {name: json.dumps(value) for name, value in metadata.items()})
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def model_card(state: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """Return what a model card says of the runs that led to a checkpoint, and their sums."""
    runs = stages(state)
    data = [Path(path).name for path in state["config"]["settings"].get("data", [])]
    return {
        "architecture": architecture,
        "training data": data,
        **({"credits": PAGE} if credited(data) else {}),
        "commit": state["config"].get("commit"),
        "stages": [run["command"] for run in runs if "command" in run],
        "steps": sum(run.get("step", 0) for run in runs),
        "hours": round(sum(run.get("seconds", 0) for run in runs) / 3600, 2),
        "gigapixels": round(sum(run.get("pixels", 0) for run in runs) / 1e9, 2),
        "licence": LICENCE if credited(data) else RESEARCH_LICENCE,
    }


def trained_for(config: Mapping[str, Any]) -> list[str]:
    """Return the metrics, as benchmarks call them, that the distortion of a run holds much of.

    `config` is that of a checkpoint, which says so itself if pictures are those of an earlier run.
    """
    if TRAINED_FOR in config:
        return list(config[TRAINED_FOR])
    shares = {name: config["settings"].get(name) or 0.0 for name in MEASURES}
    parts = {"psnr": 1 - sum(shares.values())}
    parts |= {metric: shares[name] for name, metric in METRICS.items()}
    return [metric for metric, share in parts.items() if share >= SHARE_THAT_COUNTS]


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FILE)
@option(
    "--tolerated-error",
    type=POSITIVE,
    help="The config's; the network's if not given. Nothing in training depends on it.",
)
def main(checkpoint: Path, out: Path, tolerated_error: float | None) -> None:
    """Make the weights file OUT of the codec in CHECKPOINT."""
    model, state = load_model(checkpoint, VQVAE.from_dict)
    if tolerated_error is not None:
        model.config = dataclasses.replace(model.config, tolerated_error=tolerated_error)
    scales = len(model.config.scales)
    card = model_card(state, f"hierarchical VQ-VAE, {scales} scales, closed loop")
    export(model, out, {**card, TRAINED_FOR: trained_for(state["config"])})


if __name__ == "__main__":
    main()
