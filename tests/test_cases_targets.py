"""Targets from the field: patterns of which a higher quality is not a better picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import psnr
from PIL import Image

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.image import prepare
from vqcodec.rate_control import encode_to_psnr, encode_to_size

SOME = (1, 20, 37, 50, 64, 75, 82, 88, 93, 100)  # qualities

Plain = list[tuple[int, float]]  # the bytes of a file and the dB of its picture, at SOME


@pytest.fixture(scope="module", params=list(weights.TUNED))
def tuned(request: pytest.FixtureRequest) -> Codec:
    """The shipped models, one after the other, on the CPU."""
    return Codec.load(weights.TUNED[request.param], device="cpu")


def checkerboard() -> Image.Image:
    """Squares of one pixel, gray, 96x96."""
    y, x = np.mgrid[:96, :96]
    return Image.fromarray(np.where((x + y) % 2, 230, 20).astype(np.uint8))


def stripes() -> Image.Image:
    """Stripes one pixel wide, gray, 96x80."""
    pixels: NDArray[np.uint8] = np.tile(np.uint8([30, 220]), (80, 48))
    return Image.fromarray(pixels)


def dither() -> Image.Image:
    """A ramp in black and white alone, 96x80."""
    return Image.linear_gradient("L").resize((96, 80)).convert("1").convert("L")


@pytest.fixture(scope="module", params=[checkerboard, stripes, dither])
def pattern(request: pytest.FixtureRequest) -> Image.Image:
    """A pattern that is nothing like a photograph."""
    made: Image.Image = request.param()
    return made


@pytest.fixture(scope="module")
def plain(tuned: Codec, pattern: Image.Image) -> Plain:
    """What plain qualities give of the pattern."""
    files = [tuned.encode(pattern, quality=quality) for quality in SOME]
    return [(len(data), psnr(pattern, tuned.decode(data))) for data in files]


def best_within(plain: Plain, max_bytes: float) -> float:
    return max((value for size, value in plain if size <= max_bytes), default=0.0)


def test_n3_psnr_is_no_worse_than_a_plain_quality_of_as_many_bytes(
    tuned: Codec, pattern: Image.Image, plain: Plain
) -> None:
    best = best_within(plain, np.inf)
    for target in (best - 4, best - 1, best + 0.2, 60):
        data, notes = encode_to_psnr(tuned, prepare(pattern), target)
        reached = psnr(pattern, tuned.decode(data))
        assert bool(notes) == (reached < target)
        assert reached >= best_within(plain, len(data)) - 0.3
        if notes:
            assert reached >= best - 0.3


def test_n3_a_size_gives_no_worse_picture_than_a_plain_quality_that_fits(
    tuned: Codec, pattern: Image.Image, plain: Plain
) -> None:
    sizes = [size for size, _ in plain]
    for max_bytes in ((sizes[4] + sizes[5]) // 2, sizes[-2], 2 * sizes[-1]):
        data, _ = encode_to_size(tuned, prepare(pattern), max_bytes)
        assert len(data) <= max_bytes
        assert psnr(pattern, tuned.decode(data)) >= best_within(plain, max_bytes) - 0.3
