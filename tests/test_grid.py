"""No look of the shipped model shows a grid: of 8 pixels, its finest positions, or of 2x2.

Areas are drawn, since a photograph may have a grid of its own, as a fence or a cloth does.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import texture
from vqcodec.codec.codec import Codec
from vqcodec.codec.looks import LOOKS

SIZE = 256, 384
# Of waves of 8 pixels, 60 to a degree, the eye sees half a per cent of contrast at best: at middle
# grey an amplitude of 0.6 levels, 0.45 rms.
HIDDEN = 0.4  # rms in grey levels, beyond what the original has by chance
# The blocks of JPEG in such a texture have 0.17 at quality 50, where they begin to show, and 0.29
# at 20. In a flat area gradients are those of rounding, and it says nothing.
UNEVEN = 0.15


def flat() -> Image.Image:
    """A sky: smooth, with the grain of a sensor."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ramp = 150 + 0.15 * y - 0.05 * x
    return drawn(ramp + np.random.default_rng(0).normal(0, 1, SIZE))


def textured() -> Image.Image:
    """Grass or gravel: normal values, with less amplitude the finer it is."""
    noise = np.fft.rfft2(np.random.default_rng(1).normal(0, 1, SIZE))
    y, x = np.fft.fftfreq(SIZE[0])[:, None], np.fft.rfftfreq(SIZE[1])
    shaped = np.fft.irfft2(noise / (0.02 + np.hypot(y, x)), SIZE)
    return drawn(128 + 15 * shaped / shaped.std())


def drawn(plane: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    colour = plane[..., None] + np.array([-8, 0, 12])
    return Image.fromarray(colour.clip(0, 255).round().astype(np.uint8))


AREAS = {"flat": flat, "textured": textured}


def grids(image: Image.Image) -> list[texture.Grid]:
    plane = texture.luma(image)
    return [texture.grid(plane, period) for period in texture.PERIODS]


@pytest.mark.parametrize("quality", [5, 20, 50])
@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("look", LOOKS)
def test_no_look_has_a_grid(codec: Codec, look: str, area: str, quality: int) -> None:
    image = AREAS[area]()
    decoded = codec.decode(codec.encode(image, quality=quality), look=look)
    for grid, original in zip(grids(decoded), grids(image), strict=True):
        assert grid.pattern < original.pattern + HIDDEN
        assert area == "flat" or grid.ripple < original.ripple + UNEVEN


def test_blocks_are_a_grid() -> None:
    stream = io.BytesIO()
    textured().save(stream, "JPEG", quality=20)
    grid, _ = grids(Image.open(stream).convert("RGB"))
    assert grid.ripple > UNEVEN + 0.01
