"""The search for a quality and a distortion weight, of values that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqcodec.rate_control.search import Attempt, search
from vqcodec.rate_control.targets import PSNR, SIZE

QUALITIES = np.arange(1.0, 101)


class Values:
    """Values of qualities, to which k doublings add `gain` each; keeps what was asked for."""

    def __init__(self, curve: np.ndarray, gain: float = 0.0, tiles: bool = False) -> None:
        self.curve, self.gain, self.tiles = curve, gain, tiles
        self.asked: list[tuple[int, float]] = []

    def __call__(self, quality: int, k: float) -> Attempt:
        self.asked.append((quality, k))
        value = float(self.curve[quality - 1]) + self.gain * k
        return Attempt(quality, value, b"", not self.tiles)


def test_a_forecast_that_is_right_takes_one_attempt() -> None:
    values = Values(QUALITIES / 10)
    (attempt,) = search(PSNR, 5.0, values.curve, values)
    assert attempt.quality == 51
    assert attempt.value == pytest.approx(5.1)


def test_what_one_quality_is_off_by_is_expected_of_the_others() -> None:
    values = Values(QUALITIES / 10)
    attempts = search(PSNR, 5.0, values.curve - 2, values)
    assert values.asked == [(71, 0), (51, 0)]
    assert [attempt.quality for attempt in attempts] == [51, 71]


@pytest.mark.parametrize("slope", [0.3, 1, 1.5])
def test_the_bracket_closes_whatever_the_forecast(slope: float) -> None:
    values = Values(QUALITIES / 5, tiles=True)
    attempts = search(PSNR, 7.03, slope * QUALITIES / 5 + 3, values)
    assert any(PSNR.is_met(attempt.quality, attempt.value - 7.03) for attempt in attempts)
    assert len({quality for quality, _ in values.asked}) == len(values.asked) <= 5


def test_the_qualities_on_both_sides_are_tried_where_none_will_do() -> None:
    values = Values(QUALITIES, tiles=True)
    attempts = search(PSNR, 40.5, QUALITIES + 7, values)
    assert {40, 41} <= {attempt.quality for attempt in attempts}
    for target, end in ((-5.0, 1), (200.0, 100)):
        assert end in {attempt.quality for attempt in search(PSNR, target, QUALITIES, values)}


def test_a_quality_that_is_near_is_requantized() -> None:
    for gain, k in ((0.03, 2), (0.3, 0.5)):
        values = Values(QUALITIES, gain)
        search(PSNR, 40.05, QUALITIES, values)
        assert values.asked[-1] == (40, k)
        assert {quality for quality, _ in values.asked} == {40}


def test_only_a_plain_encode_corrects_the_forecast() -> None:
    values = Values(QUALITIES / 20, gain=0.015)
    search(PSNR, 2.06, values.curve + 0.18, values)
    assert values.asked == [(40, 0), (40, 1), (40, 2), (40, 3), (44, 0)]


def test_values_without_end_are_above_any_target() -> None:
    values = Values(np.where(QUALITIES < 30, QUALITIES / 10, math.inf))
    attempts = search(PSNR, 50.0, QUALITIES / 2, values)
    assert [attempt.value for attempt in attempts if attempt.quality in (29, 30)] == [2.9, math.inf]


def test_the_weight_that_meets_the_decibels() -> None:
    step = PSNR.next_log2_weight
    assert step(85, [(0, 0.1)]) is None
    assert step(85, [(0, -0.1)]) is None
    assert step(85, [(0, 0.5)]) is None
    assert step(85, [(0, -0.05)]) == 2
    assert step(85, [(0, -0.05), (2, -0.04)]) == 4
    assert step(5, [(0, -0.01)]) == 1
    assert step(5, [(0, -0.01), (1, 0.3)]) == 0.5
    assert step(5, [(0, -0.01), (1, 0.3), (0.5, -0.005)]) == 0.75
    # As expected, more so at a lower quality; then by what the first did: too little, too much.
    first = step(85, [(0, 0.4)])
    low = step(10, [(0, 0.4)])
    assert first is not None
    assert low is not None
    assert first == pytest.approx(-(3 ** (2 / 3)), abs=0.05)
    assert first < low < -0.5
    for surplus, farther in ((0.25, True), (-0.1, False)):
        second = step(85, [(0, 0.4), (first, surplus)])
        assert second is not None
        assert (second < first) == farther
        lost = (0.4 - surplus) * (second / first) ** 1.5
        assert 0.4 - lost == pytest.approx(0.1)


def test_the_weight_that_meets_the_size() -> None:
    step = SIZE.next_log2_weight
    for percent in (-12, -3, 0, 3, 25):
        assert step(90, [(0, math.log(1 + percent / 100))]) is None
    assert step(90, [(0, math.log(0.94))]) == 2
    assert step(90, [(0, math.log(0.94)), (2, math.log(0.95))]) == 4
    assert step(90, [(0, math.log(0.94)), (2, math.log(0.941))]) is None  # no third would be enough
    assert step(90, [(0, math.log(1.02))]) == -1
    assert step(90, [(0, math.log(1.02)), (-1, math.log(0.95))]) == -0.5


def test_only_a_low_quality_may_be_cut() -> None:
    for quality, cut, too_much in ((5, 0.03, 0.06), (15, 0.02, 0.04), (60, 0.0, 0.01)):
        assert SIZE.is_met(quality, cut)
        assert not SIZE.is_met(quality, too_much)


def test_three_weights_are_tried_at_most() -> None:
    tried = [(0.0, math.log(1.02))]
    while (k := SIZE.next_log2_weight(90, tried)) is not None:
        tried.append((k, math.log(1.02)))
    assert [k for k, _ in tried] == [0, -1, -2, -3]
