"""The sample of an image: a small picture of squares of it, to tell what the whole will give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vqcodec.codec.pixels import bordered
from vqcodec.fileformat.image import Pixels, Prepared
from vqcodec.rate_control.forecast import SQUARE, activity

_FADE = 8  # pixels
_SIDE = SQUARE + 2 * _FADE
# Squares: of fewer a sample says little, and more are not needed.
_FEWEST, _MOST = 4, 128


def sample(prepared: Prepared, share: int) -> Prepared | None:
    """Return a sample of an image, one pixel in `share`; None of a small image.

    It is `[rows * 64, columns * 64, 3]` of squares: of all there are, in the order of how busy they
    are, every so-many-th. Neighbours are faded into each other, since edges would cost more than
    anything in a smooth picture.
    """
    rows, columns = (side // SQUARE for side in prepared.pixels.shape[:2])
    count = min(rows * columns // share, _MOST)
    if count < _FEWEST:
        return None
    order = np.argsort(activity(prepared.pixels)[:rows, :columns], axis=None)
    across = math.isqrt(count)
    count = count // across * across
    chosen = order[((np.arange(count) + 0.5) * rows * columns / count).astype(int)]
    squares = [_square(prepared.pixels, *divmod(int(index), columns)) for index in chosen]
    return replace(prepared, pixels=_faded(squares, across), alpha=None)


def _square(pixels: Pixels, *index: int) -> Pixels:
    spans = (slice(SQUARE * i - _FADE, SQUARE * (i + 1) + _FADE) for i in index)
    return bordered(pixels, *spans)


def _faded(squares: Sequence[Pixels], across: int) -> Pixels:
    """Return squares, which have a margin, as one picture: margins overlap the next square."""
    ramp = np.minimum((np.arange(_SIDE) + 0.5) / (2 * _FADE), 1).astype(np.float32)
    weight = np.outer(ramp * ramp[::-1], ramp * ramp[::-1])[..., None]
    shape = SQUARE * (len(squares) // across) + 2 * _FADE, SQUARE * across + 2 * _FADE
    total, weights = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 1), np.float32)
    for number, square in enumerate(squares):
        spans = tuple(slice(SQUARE * i, SQUARE * i + _SIDE) for i in divmod(number, across))
        total[spans] += weight * square
        weights[spans] += weight
    picture: Pixels = (total / weights).round().astype(np.uint8)
    return picture[_FADE:-_FADE, _FADE:-_FADE]
