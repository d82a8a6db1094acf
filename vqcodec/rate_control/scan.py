"""The scan of a picture whose PSNR does not grow with the quality, as that of fine patterns.

Stripes of a pixel or a dither are nothing like the photographs that a model was made for: they take
several times the bytes that are expected, and a higher quality may give a worse picture. There a
bracket says nothing about what lies outside it. The scan measures a handful of qualities from all
over, then more wherever the values around make a better picture likely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vqcodec.model.config import QUALITIES
from vqcodec.rate_control.search import Attempt, Curve

_FIRST = range(1, QUALITIES + 1, 11)
_PERFECT = 100.0  # dB: any picture without an error
# Values differ by as much before anything is made of it, and the steepest slope around may be
# surpassed by so many times.
_TOLERANCE, _STEEPER = 0.1, 1.5
_TINY = 256  # bytes of a stream that may be longer, and a picture that may be worse, than expected


@dataclass(frozen=True)
class Expected:
    """What is expected of a photograph at qualities 1..100: log bytes, and values of its picture.

    A picture whose stream has more log bytes by `longer`, or whose value is less by `worse`, is not
    that of a photograph; nor is one of half the one and half the other.
    """

    log_bytes: Curve
    values: Curve
    longer: float
    worse: float

    def is_wrong(self, attempts: Sequence[Attempt]) -> bool:
        """Return whether one of some attempts is not, or their values fall with the quality.

        What was requantised says nothing about qualities.
        """
        plain = sorted((a for a in attempts if not a.log2_weight), key=lambda a: a.quality)
        if any(high.value < low.value - _TOLERANCE for low, high in pairwise(plain)):
            return True
        return any(map(self.is_unlike, plain))

    def is_unlike(self, attempt: Attempt) -> bool:
        """Return whether an attempt is not that of a photograph."""
        if len(attempt.stream) <= _TINY:
            return False
        longer = surplus(attempt, self.log_bytes)
        worse = float(self.values[attempt.quality - 1]) - attempt.value
        return max(longer, 0) / self.longer + max(worse, 0) / self.worse > 1


def surplus(attempt: Attempt, log_bytes: Curve) -> float:
    """Return by how many log bytes a stream is longer than expected."""
    return math.log(len(attempt.stream) or 1) - float(log_bytes[attempt.quality - 1])


def scan(measure: Callable[[int], Attempt], enough: float, max_bytes: float) -> list[Attempt]:
    """Return attempts, among them the one to choose, by rising quality.

    That is the first whose value is `enough`; where there is none, the best. A stream of more than
    `max_bytes` only tells where to look.
    """
    found: list[Attempt] = []
    for quality in _FIRST:
        found.append(measure(quality))
        if found[-1].value >= enough or len(found[-1].stream) > max_bytes:
            break
    while (after := _most_promising(found, enough, max_bytes)) is not None:
        quality = (found[after].quality + found[after + 1].quality) // 2
        found.insert(after + 1, measure(quality))
        if found[after + 1].value >= enough or len(found[after + 1].stream) > max_bytes:
            del found[after + 2 :]
    return found


def _most_promising(found: Sequence[Attempt], enough: float, max_bytes: float) -> int | None:
    """Return the number of the attempt after which a better one is likeliest, None if none is."""
    qualities = np.array([attempt.quality for attempt in found])
    values = np.array([min(attempt.value, _PERFECT) for attempt in found])
    if len(found) < 2:
        return None
    fitting = values[: len(found) - (len(found[-1].stream) > max_bytes)]
    wanted = min(enough, fitting.max(initial=-math.inf) + _TOLERANCE)
    gaps = np.diff(qualities)
    slopes = np.abs(np.diff(values)) / gaps
    around = np.pad(slopes, 1, "edge")
    steepest = _STEEPER * np.maximum(np.maximum(around[:-2], around[2:]), slopes)
    # As high as that slope leads up from both ends.
    highest = (values[:-1] + values[1:] + steepest * gaps) / 2
    highest[(gaps == 1) | (highest < wanted)] = -math.inf
    best = int(highest.argmax())
    return best if math.isfinite(highest[best]) else None
