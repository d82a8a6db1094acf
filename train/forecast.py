"""What `vqcodec.targets` expects of an image, fitted: python -m train.forecast PATH…

Prints the constants for `vqcodec/targets.py`, from files of photographs that are spread over
those given: log bytes by the default weights, decibels by the weights that are tuned for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.arguments import positive, run_script
from train.data import load_images
from vqcodec import weights
from vqcodec.codec import Codec
from vqcodec.image import Pixels, Prepared, prepare
from vqcodec.model.config import STRIDE
from vqcodec.targets import (
    LOG_BYTES_SHIFT,
    PSNR_SHIFT,
    Curve,
    Measure,
    centred,
    log_bytes,
    psnr,
    psnr_attempts,
    samples,
    size_attempts,
)

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
DEGREE = 2
ENLARGED = 1.6

Polynomial = tuple[float, ...]
Misses = list[Curve]
Expect = Callable[[Codec, Prepared], Curve]
Attempts = Callable[[Codec, Prepared], Measure]


def fitted(shift: Polynomial, misses: Misses) -> Polynomial:
    """Return the shift that leaves the least of the misses: a row an image, a column a quality."""
    qualities = np.tile(np.array(QUALITIES, np.float64), len(misses))
    change = np.polyfit(centred(qualities), np.concatenate(misses), DEGREE)
    return tuple(np.round(np.polyadd(shift, change), 3).tolist())


def missed(codec: Codec, image: Prepared, forecast: Expect, attempts: Attempts) -> Curve:
    """Return by how much an image is off its forecast at each of QUALITIES."""
    expected, measure = forecast(codec, image), attempts(codec, image)
    return np.array([measure(quality).value - expected[quality - 1] for quality in QUALITIES])


def joined(photographs: Sequence[Pixels], side: int = 2) -> list[Pixels]:
    """Return larger photographs, each of `side` x `side` of those given, cut to the smallest."""
    height, width = (min(image.shape[axis] for image in photographs) for axis in (0, 1))
    cut = [image[:height, :width] for image in photographs]
    firsts = range(0, len(cut) - side**2 + 1, side**2)
    return [_mosaic(cut[first : first + side**2], side) for first in firsts]


def _whole_blocks(pixels: Pixels) -> Pixels:
    """Return a photograph cut so that none of it is padding, as next to nothing of a large one."""
    height, width = (side // STRIDE * STRIDE for side in pixels.shape[:2])
    return pixels[:height, :width]


def _mosaic(pictures: Sequence[Pixels], across: int) -> Pixels:
    """Return pictures of one size as one, row by row, `across` of them in each."""
    firsts = range(0, len(pictures), across)
    return np.vstack([np.hstack(pictures[first : first + across]) for first in firsts])


def enlarged(photographs: Sequence[Pixels]) -> list[Pixels]:
    """Return photographs enlarged, which are smooth as many a larger one is."""
    images = map(Image.fromarray, photographs)
    return [
        _whole_blocks(np.array(image.resize([round(ENLARGED * side) for side in image.size])))
        for image in images
    ]


def run(arguments: argparse.Namespace) -> bool:
    """Fit, and print."""
    photographs = [_whole_blocks(image) for image in load_images(arguments.data)]
    spread = np.linspace(0, len(photographs), arguments.images, endpoint=False).astype(int)
    chosen = [photographs[index] for index in spread]
    smooth = enlarged(chosen[:: arguments.images // 4])
    wholes, large = (
        [prepare(Image.fromarray(image)) for image in images]
        for images in (chosen, joined(chosen) + smooth)
    )
    for name, shift, forecast, attempts, model in (
        ("LOG_BYTES", LOG_BYTES_SHIFT, log_bytes, size_attempts, weights.DEFAULT),
        ("PSNR", PSNR_SHIFT, psnr, psnr_attempts, weights.TUNED["psnr"]),
    ):
        codec = Codec.load(model)
        misses = [missed(codec, image, forecast, attempts) for image in wholes]
        print(f"{name}_SHIFT = {fitted(shift, misses)}")
        beyond = [
            missed(codec, part, forecast, attempts) - missed(codec, image, forecast, attempts)
            for image in large
            for part in samples(image)[-1:]
        ]
        print(f"SAMPLE_{name} = {np.mean(beyond):.3f}")
    return True


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="train.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--images", type=positive(int), default=20)
    return run_script(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
