"""Pictures that come out worse than rounding explains are coded again, corrected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vqcodec.codec.codec import Codec
from vqcodec.codec.corrections import SHARE, corrected, cost, rounding_error

LMBDA = 0.1
SIZE = 1000


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """Return columns of black and white, a pixel wide, `[height, width, 3]`."""
    columns = np.arange(width) % 2 * np.uint8(255)
    return np.ascontiguousarray(np.broadcast_to(columns[None, :, None], (height, width, 3)))


def test_errors_of_rounding_are_left_alone() -> None:
    pixels = np.full((30, 21, 3), 128, np.uint8)
    noise = np.random.default_rng(0).normal(0, rounding_error(LMBDA) ** 0.5, pixels.shape)
    picture = (pixels + noise).round().astype(np.uint8)
    whole = cost(pixels, picture, SIZE, LMBDA)
    assert corrected(pixels.astype(np.float32), pixels, picture, whole, LMBDA, 2.0) is None


def test_a_block_that_is_far_off_gets_what_it_lacks_and_no_other() -> None:
    pixels = np.full((30, 21, 3), 128, np.uint8)
    picture = pixels.copy()
    picture[8:16, 16:21] -= 60
    picture[0, 0] += 3
    coded = pixels.astype(np.float32)
    whole = cost(pixels, picture, SIZE, LMBDA)
    correction = corrected(coded, pixels, picture, whole, LMBDA, 2.0)
    assert correction is not None
    expected = np.zeros_like(coded)
    expected[8:16, 16:21] = SHARE * 60
    np.testing.assert_allclose(correction - coded, expected, rtol=1e-6)


def test_a_block_that_matters_little_beside_the_bytes_is_left_alone() -> None:
    pixels = np.full((30, 21, 3), 128, np.uint8)
    picture = pixels.copy()
    picture[8:16, 8:16] -= 60
    coded = pixels.astype(np.float32)
    whole = cost(pixels, picture, 10**6, LMBDA)
    assert corrected(coded, pixels, picture, whole, LMBDA, 2.0) is None


@pytest.fixture
def correcting() -> Codec:
    codec = Codec.load("photo-6-psnr", device="cpu")
    assert codec._network().config.tolerated_error
    return codec


@pytest.fixture
def plain() -> Codec:
    codec = Codec.load("photo-6-psnr", device="cpu")
    network = codec._network()
    network.config = replace(network.config, tolerated_error=None)
    return codec


def test_n3_one_pixel_stripes_cost_less_by_corrections(plain: Codec, correcting: Codec) -> None:
    pixels = stripes(64, 90)
    lmbda_max, costs = plain._network().config.lmbda_max, []
    for codec in (plain, correcting):
        encoded = codec.encode_pixels(pixels, 100, with_picture=True)
        assert encoded.picture is not None
        costs.append(cost(pixels, encoded.picture, len(encoded.stream), lmbda_max))
    assert costs[1] < 0.9 * costs[0]


def test_what_is_corrected_can_be_requantised(correcting: Codec) -> None:
    encoded = correcting.encode_pixels(stripes(64, 90), 100, with_picture=True)
    again = encoded.requantize(1.0)
    assert again.stream == encoded.stream
    assert again.picture is not None
    assert encoded.picture is not None
    assert again.picture.tobytes() == encoded.picture.tobytes()


def test_a_picture_like_a_photograph_stays_as_it_is(plain: Codec, correcting: Codec) -> None:
    rows, columns = np.mgrid[:64, :90]
    slope = (80 + rows + columns / 2)[..., None] + np.array([0, 10, 20])
    noise = np.random.default_rng(1).normal(0, 2, slope.shape)
    pixels = (slope + noise).round().clip(0, 255).astype(np.uint8)
    streams = [codec.encode_pixels(pixels, 60).stream for codec in (plain, correcting)]
    assert streams[0] == streams[1]
