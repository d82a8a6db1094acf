"""The small picture that tells what a whole image will give."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vqcodec.fileformat.image import prepare
from vqcodec.rate_control.sample import sample


def test_a_sample_has_busy_and_quiet_squares_as_the_image_has() -> None:
    contrast = np.random.default_rng(0).permutation(10 * 16).reshape(10, 16)
    stripes = np.tile([0, 1], 32)[None, None, None] * contrast[:, None, :, None]
    pixels = np.broadcast_to(stripes, (10, 64, 16, 64)).reshape(640, 1024).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    part = sample(prepare(image), 6)
    assert part is not None
    assert part.pixels.shape == (5 * 64, 5 * 64, 3)
    # Of 160 squares one of 6.4, from its middle on, beside where it fades into the next one.
    inner = part.pixels[..., 0].reshape(5, 64, 5, 64)[:, 8:-8, :, 8:-8]
    assert inner.max((1, 3)).flatten().tolist() == [int((n + 0.5) * 160 / 25) for n in range(25)]
    assert sample(prepare(image.crop((0, 0, 3 * 64, 5 * 64))), 6) is None


def test_squares_of_a_sample_fade_into_each_other() -> None:
    ramp = np.linspace(0, 240, 1024).astype(np.uint8)
    part = sample(prepare(Image.fromarray(np.tile(ramp, (640, 1)))), 6)
    assert part is not None
    assert np.ptp(part.pixels) > 150
    steps = np.diff(part.pixels[..., 0].astype(int), axis=1)
    assert np.abs(steps).max() <= 240 / 16 + 1
