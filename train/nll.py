"""Test NLL of a run of train.iwae: python -m train.nll CHECKPOINT --data mnist.npz

-L_k in nats with k = 5000, of the averaged weights in single precision, on the test images
binarised in one fixed way.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor
from tqdm import tqdm

from train.checkpoint import load_model
from train.digits import binarised_for_testing, load_digits
from train.iwae import passes
from train.log import append_row
from train.options import COUNT, FILE, NATURAL, Script, option
from vqcodec.density.bounds import Terms, streamed_bound
from vqcodec.density.dense import DenseVAE

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


def _log_w(model: DenseVAE, x: Tensor, k: int) -> Tensor:
    terms: Terms = model(x, k)
    return terms.log_w


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@option("--data", type=FILE, required=True, metavar="NPZ", help="Has x_test.")
@option("--samples", type=COUNT, default=5000, metavar="K", help="k of L_k.")
@option("--images", type=COUNT, metavar="N", help="Only the first N.")
@option("--seed", type=NATURAL, default=0)
@option("--csv", "table", type=FILE, help="Append the result as a row, for benchmarks.")
def main(
    checkpoint: Path, data: Path, samples: int, images: int | None, seed: int, table: Path | None
) -> None:
    """Measure the test NLL of a CHECKPOINT of train.iwae."""
    model, state = load_model(checkpoint, DenseVAE.from_dict)
    model.eval()
    x = binarised_for_testing(load_digits(data, "test"))[:images]
    start = time.perf_counter()
    nll = negative_bounds(model, x, samples, seed)
    seconds = time.perf_counter() - start
    error = float(nll.std() / len(nll) ** 0.5) if len(nll) > 1 else 0.0
    print(
        f"NLL {float(nll.mean()):.2f} ± {error:.2f} nats: {len(nll)} images, "
        f"{samples} samples each, step {state['step']}, {seconds:.0f} s"
    )
    if table is not None:
        settings = state["config"]["settings"]
        row = {
            "layers": len(model.config.latents),
            **{name: settings[name] for name in ("k", "estimator", "batch", "bf16")},
            "passes": round(passes(state), 2),
            "after": state["config"]["after"],
            "seed": settings["seed"],
            "samples": samples,
            "images": len(nll),
            "nll": f"{float(nll.mean()):.4f}",
            "standard_error": f"{error:.4f}",
            "seconds": round(state["seconds"]),
        }
        append_row(table, FIELDS, row)


if __name__ == "__main__":
    main()
