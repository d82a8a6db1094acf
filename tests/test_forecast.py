"""Fitting what a file's size and a picture's decibels are expected to be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from train.forecast import QUALITIES, enlarged, fitted, joined, missed
from vqcodec.codec import Codec
from vqcodec.image import prepare
from vqcodec.targets import centred, log_bytes, psnr, psnr_attempts, size_attempts


def test_the_shift_takes_up_what_was_missed() -> None:
    u = centred(np.array(QUALITIES, float))
    misses = [0.5 * u**2 - u + 2 + noise for noise in (-0.25, 0.25)]
    assert fitted((1.0, 1.0, 1.0), misses) == pytest.approx((1.5, 0.0, 3.0))


def test_misses_are_of_real_files(codec: Codec) -> None:
    prepared = prepare(Image.effect_noise((64, 64), 30).convert("RGB"))
    for curve, attempts in ((log_bytes, size_attempts), (psnr, psnr_attempts)):
        misses = missed(codec, prepared, curve, attempts)
        assert misses.shape == (len(QUALITIES),)
        expected = curve(codec, prepared)[np.array(QUALITIES) - 1]
        assert np.all(np.diff(expected + misses) > 0)


def test_joined_photographs_are_cut_to_the_smallest() -> None:
    rng = np.random.default_rng(0)
    four = [rng.integers(0, 256, (20 + n, 30 - n, 3), np.uint8) for n in range(4)]
    (large,) = joined([*four, four[0]])
    assert large.shape == (40, 54, 3)
    assert np.array_equal(large[20:, 27:], four[3][:20, :27])


def test_enlarged_photographs_are_smooth() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    (large,) = enlarged([noise])
    assert large.shape == (64, 64, 3)
    assert np.abs(np.diff(large.astype(int), axis=1)).mean() < 60
