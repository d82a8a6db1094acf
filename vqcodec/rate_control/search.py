"""The search for a quality, and a distortion weight 2^k at it, that give what was asked for.

What is asked for, log bytes of a stream, dB or the score of a picture, grows with both. The search
keeps a bracket of qualities, of which one gives too little and one too much; a forecast says which
to try in between. Where that one is near, the finest level is chosen again with errors that weigh
2^k times as much: that takes a fifth of the time of another quality, at 1 to 3 % more bytes, and
the bracket is then one of k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqcodec.model.config import QUALITIES

REQUANTIZATIONS = 3  # at one quality, at most

Curve = NDArray[np.float64]  # a value for each of the qualities 1..100
Tried = Sequence[tuple[float, float]]  # the k tried at a quality, 0 first, and their surpluses


@dataclass(frozen=True)
class Attempt:
    """A stream, its value, log bytes, dB or a score, the k that it was made with, and `is_off`."""

    quality: int
    value: float
    stream: bytes
    can_requantize: bool
    log2_weight: float = 0.0
    is_off: bool = False


@dataclass(frozen=True, kw_only=True)
class Goal:
    """By how much more than asked for a value is to be: `least` to `most`, at best `aim`.

    `most` depends on the quality. One that is within `near` is requantised. There k doublings less
    lose about a k^1.5, with an a that `loss` returns for a quality; where that is None, k takes
    steps.
    """

    least: float
    aim: float
    most: Callable[[int], float]
    near: tuple[float, float]
    loss: Callable[[int], float] | None = None

    def is_met(self, quality: int, surplus: float) -> bool:
        """Return whether a surplus is good enough at a quality."""
        return self.least <= surplus <= self.most(quality)

    def next_log2_weight(self, quality: int, tried: Tried) -> float | None:
        """Return the k to try next at a quality, None to leave it."""
        (_, first), (k, last) = tried[0], tried[-1]
        (low, high), most = self.near, self.most(quality)
        if not low <= first <= high or self.is_met(quality, last) or len(tried) > REQUANTIZATIONS:
            return None
        more, less = 2.0, 1.0  # by which a stream grows by 2 to 6 %, or shrinks by 2 to 4
        if self.loss:
            a = self.loss(quality)
            if first > 0:
                if k:  # It has shown what a is.
                    a = max((first - last) / abs(k) ** 1.5, a / 4)
                return -math.pow((first - most / 2) / a, 2 / 3)
            # One doubling more gains about a / 2, and all that follow no more than that.
            more = 1.0 if last + a / 2 > most / 10 else more
        below = [k for k, surplus in tried if surplus < 0]
        above = [k for k, surplus in tried if surplus > 0]
        if below and above:
            return (max(below) + min(above)) / 2
        if below and not self.loss and len(tried) > 1:  # The finest level may be empty.
            _, before = tried[-2]
            if self.least - last > (last - before) * (REQUANTIZATIONS + 1 - len(tried)):
                return None
        return max(below) + more if below else min(above) - less


def search(
    goal: Goal, target: float, expected: Curve, measure: Callable[[int, float], Attempt]
) -> list[Attempt]:
    """Attempt until the goal is met or no quality is left; return all attempts, by rising value.

    `expected` is the forecast, corrected by what it was off by at the qualities that were tried.
    `measure` makes the attempt at a quality and k, which is 0 at first at every quality.
    """
    attempts: list[Attempt] = []
    off: dict[int, float] = {}
    below, above = 0, QUALITIES + 1
    met = False
    while above - below > 1 and not met:
        tried_at, errors = np.array(sorted(off.items()) or [(1, 0.0)]).T
        curve = expected + np.interp(np.arange(QUALITIES) + 1, tried_at, errors)
        quality = below + nearest(curve[below : above - 1], target + goal.aim)
        tried: list[tuple[float, float]] = []
        k: float | None = 0.0
        while k is not None:
            attempt = measure(quality, k)
            attempts.append(attempt)
            tried.append((k, attempt.value - target))
            k = goal.next_log2_weight(quality, tried) if attempt.can_requantize else None
        met = goal.is_met(quality, attempt.value - target)
        _, surplus = tried[0]
        if math.isfinite(surplus):  # A picture without any error is infinitely good.
            off[quality] = surplus + target - float(expected[quality - 1])
        below, above = (quality, above) if surplus < 0 else (below, quality)
    return sorted(attempts, key=lambda attempt: (attempt.value, attempt.quality))


def nearest(curve: Curve, value: float) -> int:
    """Return the quality, of those from 1 on, at which a curve is nearest to a value."""
    return 1 + int(np.abs(curve - value).argmin())
