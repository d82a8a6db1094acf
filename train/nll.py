"""Test NLL of a run of train.iwae: python -m train.nll CHECKPOINT --data mnist.npz

-L_k in nats with k = 5000, of the averaged weights in single precision, on the test images
binarised in one fixed way.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from train.arguments import natural, positive, run_script
from train.checkpoint import load_model
from train.digits import binarised_for_testing, load_digits
from train.iwae import passes
from vqcodec.density.bounds import Terms, streamed_bound
from vqcodec.density.dense import DenseConfig, DenseVAE

# Samples of a batch at a time: few enough that activations stay in a core's cache.
BATCH, CHUNK = 4, 250
FIELDS = (
    "layers", "k", "estimator", "passes", "after", "batch", "bf16", "seed", "samples", "images",
    "nll", "standard_error", "seconds",
)  # fmt: skip


def negative_bounds(model: DenseVAE, images: Tensor, k: int, seed: int) -> Tensor:
    """Return -L_k of each image in nats, float32 `[N]`, of uint8 `[N, 1, H, W]`.

    Every batch of images has random numbers of its own, so that a part gives what the whole gives.
    """
    bounds = []
    for number, x in enumerate(tqdm(torch.split(images, BATCH), unit="batch", disable=None)):
        torch.manual_seed(seed + number)
        bounds.append(streamed_bound(partial(_log_w, model, x), k, CHUNK))
    return -torch.cat(bounds)


def run(arguments: argparse.Namespace) -> bool:
    """Measure as told, print the result, append a row to the CSV."""
    model, state = load_model(
        arguments.checkpoint, lambda own: DenseVAE(DenseConfig.from_dict(own)).eval()
    )
    images = binarised_for_testing(load_digits(arguments.data, "test"))[: arguments.images]
    start = time.perf_counter()
    nll = negative_bounds(model, images, arguments.samples, arguments.seed)
    seconds = time.perf_counter() - start
    error = float(nll.std() / len(nll) ** 0.5) if len(nll) > 1 else 0.0
    print(
        f"NLL {float(nll.mean()):.2f} ± {error:.2f} nats: {len(nll)} images, "
        f"{arguments.samples} samples each, step {state['step']}, {seconds:.0f} s"
    )
    if arguments.csv is not None:
        settings = state["config"]["settings"]
        row = {
            "layers": len(model.config.latents),
            **{name: settings[name] for name in ("k", "estimator", "batch", "bf16")},
            "passes": round(passes(state), 2),
            "after": state["config"]["after"],
            "seed": settings["seed"],
            "samples": arguments.samples,
            "images": len(nll),
            "nll": f"{float(nll.mean()):.4f}",
            "standard_error": f"{error:.4f}",
            "seconds": round(state["seconds"]),
        }
        _append(arguments.csv, row)
    return True


def _log_w(model: DenseVAE, x: Tensor, k: int) -> Tensor:
    terms: Terms = model(x, k)
    return terms.log_w


def _append(path: Path, row: dict[str, object]) -> None:
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        if not stream.tell():
            writer.writeheader()
        writer.writerow(row)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="train.nll", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="NPZ", help="has x_test")
    parser.add_argument("--samples", type=positive(int), default=5000, metavar="K", help="k of L_k")
    parser.add_argument("--images", type=positive(int), metavar="N", help="only the first N")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--csv", type=Path, help="append the result as a row, for benchmarks")
    return run_script(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
