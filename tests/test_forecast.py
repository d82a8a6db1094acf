"""Fitting what a file's size and a picture's decibels are expected to be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from train.forecast import QUALITIES, fitted, missed
from vqcodec.codec import Codec
from vqcodec.image import prepare
from vqcodec.targets import Forecast, centred, psnr_attempts, size_attempts


def test_the_shift_takes_up_what_was_missed() -> None:
    u = centred(np.array(QUALITIES, float))
    misses = [0.5 * u**2 - u + 2 + noise for noise in (-0.25, 0.25)]
    assert fitted((1.0, 1.0, 1.0), misses) == pytest.approx((1.5, 0.0, 3.0))


def test_misses_are_of_real_files(codec: Codec) -> None:
    prepared = prepare(Image.effect_noise((64, 64), 30).convert("RGB"))
    forecast = Forecast(codec, prepared.pixels)
    for curve, measure in (
        (forecast.log_bytes, size_attempts(codec, prepared)),
        (forecast.psnr, psnr_attempts(codec, prepared)),
    ):
        misses = missed(curve, measure)
        assert misses.shape == (len(QUALITIES),)
        reached = [forecast + miss for forecast, miss in zip(curve[4::15], misses, strict=True)]
        assert np.all(np.diff(reached) > 0)
