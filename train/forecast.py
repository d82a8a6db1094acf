"""What rate control expects of an image, fitted: python -m train.forecast PATH…

Prints the constants for `vqcodec.rate_control`, from files of photographs that are spread over
those given: log bytes by the default weights, decibels by the weights that are
tuned for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.arguments import positive, run_script
from train.data import load_images
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.image import Pixels, Prepared, prepare
from vqcodec.rate_control.attempts import Measure, psnr_attempts, size_attempts
from vqcodec.rate_control.forecast import (
    FEATURES,
    Coefficients,
    Curve,
    Squares,
    log_bytes,
    psnr,
    squares,
)
from vqcodec.rate_control.samples import sample
from vqcodec.rate_control.targets import PSNR_SHARE, SIZE_SHARE

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
ENLARGED = 1.6
PADDING = 64

# What is expected of squares with some coefficients, at qualities 1..100.
Expect = Callable[[Squares, Tensor], Tensor]


def fitted(expect: Expect, examples: Sequence[tuple[Squares, Curve]]) -> Coefficients:
    """Return the coefficients with which squares come nearest to what they gave at QUALITIES."""
    at = torch.tensor(QUALITIES) - 1
    coefficients = torch.zeros(len(FEATURES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([coefficients], max_iter=500, line_search_fn="strong_wolfe")
    given = torch.tensor(np.array([values for _, values in examples]))

    def loss() -> Tensor:
        optimiser.zero_grad()
        expected = torch.stack([expect(own, coefficients)[at] for own, _ in examples])
        error = (expected - given).square().mean()
        error.backward()  # type: ignore[no-untyped-call]
        return error

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return tuple(np.round(coefficients.detach().numpy(), 3).tolist())


def reached(image: Prepared, measure: Measure) -> Curve:
    """Return what an image gives at QUALITIES."""
    return np.array([measure(quality).value for quality in QUALITIES])


def joined(photographs: Sequence[Pixels], side: int = 2) -> list[Pixels]:
    """Return larger photographs, each of `side` x `side` of those given, cut to the smallest."""
    height, width = (min(image.shape[axis] for image in photographs) for axis in (0, 1))
    cut = [image[:height, :width] for image in photographs]
    firsts = range(0, len(cut) - side**2 + 1, side**2)
    return [_mosaic(cut[first : first + side**2], side) for first in firsts]


def _whole_blocks(pixels: Pixels) -> Pixels:
    """Return a photograph cut so that none of it is padding, as next to nothing of a large one."""
    height, width = (side // PADDING * PADDING for side in pixels.shape[:2])
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
    some = chosen[:: max(1, arguments.images // 16)]
    wholes, large = (
        [prepare(Image.fromarray(image)) for image in images]
        for images in (chosen + enlarged(some), joined(some) + enlarged(some[::4]))
    )
    at = np.array(QUALITIES) - 1
    for name, model, expect, curve, attempts, share in (
        ("BYTES", weights.DEFAULT, Squares.log_bytes, log_bytes, size_attempts, SIZE_SHARE),
        ("PSNR", weights.TUNED["psnr"], Squares.psnr, psnr, psnr_attempts, PSNR_SHARE),
    ):
        codec = Codec.load(model)
        examples = []
        for image in wholes:
            own = squares(codec, image.pixels, image.pixels.shape[:2])
            examples.append((own, reached(image, attempts(codec, image))))
        coefficients = fitted(expect, examples)
        print(f"{name} = {coefficients}")
        forecast = partial(curve, codec, coefficients=coefficients)
        pairs = [(image, part) for image in large if (part := sample(image, share))]
        beyond = []
        for pair in pairs:
            whole, part = (
                reached(own, attempts(codec, own)) - forecast(own.pixels)[at] for own in pair
            )
            beyond.append(part - whole)
        print(f"SAMPLE_{name} = {np.mean(beyond):.3f}")
    return True


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="train.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--images", type=positive(int), default=64)
    return run_script(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
