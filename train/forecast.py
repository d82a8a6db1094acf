"""What `vqcodec.targets` expects of an image, fitted: python -m train.forecast PATH…

Prints the polynomials for `vqcodec/targets.py`, from files of photographs that are spread over
those given: log bytes by the default weights, decibels by the weights that are tuned for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.arguments import positive, run_script
from train.data import load_images
from vqcodec import weights
from vqcodec.codec import Codec
from vqcodec.image import prepare
from vqcodec.targets import (
    LOG_BYTES_SHIFT,
    PSNR_SHIFT,
    Attempt,
    Forecast,
    centred,
    psnr_attempts,
    size_attempts,
)

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
DEGREE = 2

Polynomial = tuple[float, ...]
Misses = list[NDArray[np.float64]]


def fitted(shift: Polynomial, misses: Misses) -> Polynomial:
    """Return the shift that leaves the least of the misses: a row an image, a column a quality."""
    qualities = np.tile(np.array(QUALITIES, np.float64), len(misses))
    change = np.polyfit(centred(qualities), np.concatenate(misses), DEGREE)
    return tuple(np.round(np.polyadd(shift, change), 3).tolist())


def missed(forecast: NDArray[np.float64], measure: Callable[[int], Attempt]) -> NDArray[np.float64]:
    """Return by how much an image is off its forecast at each of QUALITIES."""
    return np.array([measure(quality).value - forecast[quality - 1] for quality in QUALITIES])


def run(arguments: argparse.Namespace) -> bool:
    """Fit, and print."""
    photographs = load_images(arguments.data)
    spread = np.linspace(0, len(photographs), arguments.images, endpoint=False).astype(int)
    default, tuned = Codec.load(weights.DEFAULT), Codec.load(weights.TUNED["psnr"])
    sizes: Misses = []
    qualities: Misses = []
    for index in spread:
        prepared = prepare(Image.fromarray(photographs[index]))
        pixels = prepared.pixels
        sizes.append(missed(Forecast(default, pixels).log_bytes, size_attempts(default, prepared)))
        qualities.append(missed(Forecast(tuned, pixels).psnr, psnr_attempts(tuned, prepared)))
    print(f"LOG_BYTES_SHIFT = {fitted(LOG_BYTES_SHIFT, sizes)}")
    print(f"PSNR_SHIFT = {fitted(PSNR_SHIFT, qualities)}")
    return True


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="train.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--images", type=positive(int), default=20)
    return run_script(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
