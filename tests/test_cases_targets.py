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

SOME = (1, 40, 64, 76, 88, 100)  # qualities

Plain = list[tuple[int, float]]  # the bytes of a file and the dB of its picture, at SOME


def checkerboard() -> Image.Image:
    """Squares of one pixel, gray, 64x64."""
    y, x = np.mgrid[:64, :64]
    return Image.fromarray(np.where((x + y) % 2, 230, 20).astype(np.uint8))


def stripes() -> Image.Image:
    """Stripes one pixel wide, gray, 64x48."""
    pixels: NDArray[np.uint8] = np.tile(np.array([30, 220], np.uint8), (48, 32))
    return Image.fromarray(pixels)


def dither() -> Image.Image:
    """A ramp in black and white alone, 64x48."""
    return Image.linear_gradient("L").resize((64, 48)).convert("1").convert("L")


Case = tuple[Codec, Image.Image]


@pytest.fixture(
    scope="module",
    params=[("psnr", checkerboard), ("ssim", checkerboard), ("psnr", stripes), ("ssim", dither)],
    ids=lambda case: f"{case[1].__name__}-{case[0]}",
)
def case(request: pytest.FixtureRequest) -> Case:
    """A shipped model, and a pattern that is nothing like a photograph."""
    tune, pattern = request.param
    return Codec.load(weights.TUNED[tune], device="cpu"), pattern()


@pytest.fixture(scope="module")
def plain(case: Case) -> Plain:
    """What plain qualities give of the pattern."""
    codec, pattern = case
    files = [codec.encode(pattern, quality=quality) for quality in SOME]
    return [(len(data), psnr(pattern, codec.decode(data))) for data in files]


def best_within(plain: Plain, max_bytes: float) -> float:
    return max((value for size, value in plain if size <= max_bytes), default=0.0)


def test_n3_psnr_is_no_worse_than_a_plain_quality_of_as_many_bytes(
    case: Case, plain: Plain
) -> None:
    codec, pattern = case
    best = best_within(plain, np.inf)
    for target in (best - 3, 60):
        data, notes = encode_to_psnr(codec, prepare(pattern), target)
        reached = psnr(pattern, codec.decode(data))
        assert bool(notes) == (reached < target)
        assert reached >= best_within(plain, len(data)) - 0.3
        if notes:
            assert reached >= best - 0.3


def test_n3_a_size_gives_no_worse_picture_than_a_plain_quality_that_fits(
    case: Case, plain: Plain
) -> None:
    codec, pattern = case
    sizes = [size for size, _ in plain]
    for max_bytes in ((sizes[2] + sizes[3]) // 2, 2 * sizes[-1]):
        data, _ = encode_to_size(codec, prepare(pattern), max_bytes)
        assert len(data) <= max_bytes
        assert psnr(pattern, codec.decode(data)) >= best_within(plain, max_bytes) - 0.3
