"""Samples of an image: small pictures made of squares of it, to tell what the whole will give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vqcodec.codec.picture import bordered
from vqcodec.fileformat.image import Pixels, Prepared
from vqcodec.rate_control.forecast import SQUARE, activity

_FADE = 8  # pixels
# Squares: of fewer a sample says little, and more are not needed.
_FEWEST, _MOST = 4, 128


def sample(prepared: Prepared, share: int) -> Prepared | None:
    """Return a sample of an image, one pixel in `share`; none of a small image.

    It is `[rows * 64, columns * 64, 3]` of squares: of all there are, in the order of how busy they
    are, every so-many-th. Neighbours are faded into each other, since edges would cost more than
    anything in a smooth picture.
    """
    height, width = (side // SQUARE for side in prepared.pixels.shape[:2])
    places = [(SQUARE * row, SQUARE * column) for row in range(height) for column in range(width)]
    count = min(len(places) // share, _MOST)
    if count < _FEWEST:
        return None
    order = np.argsort(activity(prepared.pixels)[:height, :width], axis=None)
    across = math.isqrt(count)
    count = count // across * across
    chosen = order[((np.arange(count) + 0.5) * len(places) / count).astype(int)]
    squares = [_square(prepared, places[index]) for index in chosen]
    return replace(prepared, pixels=_faded(squares, across), alpha=None)


def _square(prepared: Prepared, place: tuple[int, int]) -> Pixels:
    spans = (slice(first - _FADE, first + SQUARE + _FADE) for first in place)
    return bordered(prepared.pixels, *spans)


def _faded(squares: Sequence[Pixels], across: int) -> Pixels:
    """Return squares, which have a margin, as one picture: margins overlap the next square."""
    side = SQUARE + 2 * _FADE
    ramp = np.minimum((np.arange(side) + 0.5) / (2 * _FADE), 1).astype(np.float32)
    weight = np.outer(ramp * ramp[::-1], ramp * ramp[::-1])[..., None]
    rows = len(squares) // across
    total = np.zeros((rows * SQUARE + 2 * _FADE, across * SQUARE + 2 * _FADE, 3), np.float32)
    weights = np.zeros((*total.shape[:2], 1), np.float32)
    for number, square in enumerate(squares):
        row, column = (SQUARE * index for index in divmod(number, across))
        total[row : row + side, column : column + side] += weight * square
        weights[row : row + side, column : column + side] += weight
    picture: Pixels = (total / weights).round().astype(np.uint8)
    return picture[_FADE:-_FADE, _FADE:-_FADE]
