"""White, black and pure colours come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import vqcodec
from vqcodec.codec.saturated import push_of, pushed

FAR = 16  # pixels from what is drawn
RED, BLUE = (255, 0, 0), (0, 0, 255)


def on_white() -> Image.Image:
    """Return what shops show: an object on a white page, 200 x 150."""
    image = Image.new("RGB", (200, 150), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((70, 45, 130, 100), fill=(150, 40, 60), outline=(30, 20, 20), width=3)
    draw.rectangle((90, 30, 108, 60), fill=(90, 110, 160))
    return image


def far_from_what_is_drawn(image: Image.Image) -> NDArray[np.bool_]:
    drawn = np.array(image.convert("L")) < 255
    rows, columns = np.nonzero(drawn)
    far = np.ones(drawn.shape, bool)
    far[rows.min() - FAR : rows.max() + FAR + 1, columns.min() - FAR : columns.max() + FAR + 1] = 0
    return far


@pytest.mark.parametrize("tune", ["psnr", "ssim"])
def test_n2_a_white_page_stays_white(tune: str) -> None:
    image = on_white()
    far = far_from_what_is_drawn(image)
    for quality, most_off in ((10, 5), (50, 2), (90, 1)):
        decoded = np.array(vqcodec.decode(vqcodec.encode(image, quality=quality, tune=tune)))
        assert int(255 - decoded[far].min()) <= most_off
        assert (decoded[far] == 255).mean() >= 0.995


@pytest.mark.parametrize("quality", [5, 25, 50, 90])
def test_flat_pure_colours_are_off_by_two_at_most(quality: int) -> None:
    image = Image.new("RGB", (128, 96), RED)
    image.paste(BLUE, (64, 0, 128, 96))
    decoded = np.array(vqcodec.decode(vqcodec.encode(image, quality=quality)), int)
    off = abs(decoded - np.array(image))
    off[:, 64 - FAR : 64 + FAR] = 0
    assert off.max() <= 2


def test_only_blocks_at_an_end_are_pushed() -> None:
    x = torch.full((1, 3, 16, 24), 0.5)
    x[:, 0, :8, :8] = 1
    x[:, 1, 8:, 16:] = 0
    x[:, 2, :8, 8:16] = 1
    x[:, 2, 7, 15] = 254 / 255
    push = 1.6 * (255 / 50) / 12**0.5 / 255  # the steps being 255 / 50 where lmbda is 1
    expected = x.clone()
    expected[:, 0, :8, :8] += push
    expected[:, 1, 8:, 16:] -= push
    torch.testing.assert_close(pushed(x, 8, 1.0), expected)


def test_coarse_steps_push_less_of_themselves() -> None:
    shares = [push_of(lmbda) * lmbda**0.5 for lmbda in (1.0, 0.1, 0.003, 0.0003)]
    assert shares[0] == pytest.approx(shares[1])
    assert shares[1] > shares[2] > shares[3] > shares[0] / 3


def test_a_picture_without_such_blocks_is_the_same_tensor() -> None:
    x = torch.rand(1, 3, 16, 16) * 0.9 + 0.05
    assert pushed(x, 8, 0.01) is x
