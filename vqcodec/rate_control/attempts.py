"""Attempts at a target: a stream at a quality, mended where it is near what is wanted.

To mend it the finest level is chosen again with errors worth 2^k times as much. That takes a fifth
of the time of another quality, at 1 to 3 % more bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vqcodec.codec.codec import Adjust, Codec
from vqcodec.fileformat.image import Pixels, Prepared, assemble

# Log bytes of a stream: good enough within these of those wanted. A longer one is cut: up to a
# tenth, that costs little against a lower quality (benchmarks.cuts), which takes time to find.
LEAST_SIZE, MOST_SIZE = math.log(0.955), math.log(1.12)
# A picture may be so many dB better than wanted.
SURPLUS = 0.2
# What is off by no more than these is mended, in so many choices, the first included.
_MENDED_SIZES = math.log(0.92), math.log(1.2)
_MENDED_SURPLUSES = -0.07, 0.45
_CHOICES = 4
# A stream grows by 2 to 5 % for 2 doublings, and shrinks by more.
_DOUBLINGS = 2


@dataclass(frozen=True)
class Attempt:
    """The stream that a quality gave, and of what was to be reached: log bytes, or dB."""

    quality: int
    payload: bytes
    value: float


Measure = Callable[[int], Attempt]
# From the doublings k that were tried, the first 0, and by how much more than what is wanted came
# of each: the next to try, or None to leave it at the last.
Next = Callable[[Sequence[float], Sequence[float]], float | None]


def size_attempts(codec: Codec, prepared: Prepared, wanted: float | None = None) -> Measure:
    """Return what encodes an image at a quality and takes the log bytes of the stream.

    It is mended where it is near what is `wanted`.
    """

    def log_bytes(stream: bytes) -> float:
        return math.log(len(stream) or 1)

    def measure(quality: int) -> Attempt:
        adjust = None if wanted is None else adjusting(log_bytes, wanted, next_for_size)
        payload = codec.encode_stream(prepared.pixels, quality, None, adjust)
        return Attempt(quality, payload, log_bytes(payload))

    return measure


def psnr_attempts(codec: Codec, prepared: Prepared, wanted: float | None = None) -> Measure:
    """Return what encodes an image at a quality and takes the decibels of its picture.

    It is mended where it is near what is `wanted`.
    """
    picture = np.empty_like(prepared.pixels)

    def decibels(_: bytes) -> float:
        return _decibels(prepared, picture)

    def measure(quality: int) -> Attempt:
        following = partial(next_for_psnr, quality)
        adjust = None if wanted is None else adjusting(decibels, wanted, following)
        payload = codec.encode_stream(prepared.pixels, quality, picture, adjust)
        return Attempt(quality, payload, decibels(payload))

    return measure


def adjusting(value: Callable[[bytes], float], wanted: float, following: Next) -> Adjust:
    """Return what :meth:`Codec.encode_stream` asks whether to choose the finest level again."""
    doublings: list[float] = [0.0]
    surpluses: list[float] = []

    def adjust(stream: bytes) -> float | None:
        surpluses.append(value(stream) - wanted)
        step = following(doublings, surpluses) if len(doublings) < _CHOICES else None
        if step is None:
            return None
        doublings.append(step)
        return math.pow(2, step)

    return adjust


def next_for_size(doublings: Sequence[float], surpluses: Sequence[float]) -> float | None:
    """Return the doublings to try next for a size, in the way of `Next`."""
    least, most = _MENDED_SIZES
    if least <= surpluses[-1] < LEAST_SIZE:
        return doublings[-1] + _DOUBLINGS
    if MOST_SIZE < surpluses[-1] <= most:
        return doublings[-1] - _DOUBLINGS
    return None


def next_for_psnr(
    quality: int, doublings: Sequence[float], surpluses: Sequence[float]
) -> float | None:
    """Return the doublings to try next for decibels, in the way of `Next`, at a quality."""
    first, last = surpluses[0], surpluses[-1]
    least, most = _MENDED_SURPLUSES
    if 0 <= last <= SURPLUS or not least <= first <= most:
        return None
    # k doublings less lose a k^1.5 dB; a is about as much at first, and known after a step.
    a = 0.1 + 0.19 * ((100 - quality) / 85) ** 3
    if first < 0:
        # One doubling gains about a / 2, and all that follow no more than that.
        tried = sorted(zip(doublings, surpluses, strict=True))
        below = [k for k, surplus in tried if surplus < 0]
        beyond = [k for k, surplus in tried if surplus > SURPLUS]
        if beyond:
            return (below[-1] + beyond[0]) / 2
        return below[-1] + (1 if last + a / 2 > SURPLUS / 10 else _DOUBLINGS)
    if doublings[-1]:
        a = max((first - last) / abs(doublings[-1]) ** 1.5, a / 4)
    return -math.pow((first - SURPLUS / 2) / a, 2 / 3)


def _decibels(prepared: Prepared, pixels: Pixels) -> float:
    """Return the PSNR of decoded pixels, uint8 `[H, W, 3]`, in dB."""
    original = prepared.pixels[..., 0] if prepared.gray else prepared.pixels
    decoded = np.asarray(assemble(pixels, gray=prepared.gray), np.float32)
    error = np.square(decoded - original).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else math.inf
