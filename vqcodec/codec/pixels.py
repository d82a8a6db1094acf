"""Pixels of an image and of its tiles, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.codec.tiles import Tile, overlap
from vqcodec.fileformat.image import Pixels


def bordered(pixels: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """Return rows and columns of an image; where they lie beyond it its border is repeated.

    A view, which is not to be written to, where nothing does.
    """
    part = pixels
    for axis, span in enumerate((rows, columns)):
        side = pixels.shape[axis]
        if span.start < 0 or span.stop > side:
            part = part.take(np.arange(span.start, span.stop).clip(0, side - 1), axis)
        else:
            part = part[span] if axis == 0 else part[:, span]
    return part


def place(shown: Pixels, tile: Tile, picture: Pixels, rows: slice, columns: slice) -> None:
    """Write a tile's pixels, which have its margin, into `picture` of some rows and columns."""
    stride = shown.shape[0] // (tile.wide_rows.stop - tile.wide_rows.start)
    down = overlap(tile.rows, tile.wide_rows, rows, stride)
    across = overlap(tile.columns, tile.wide_columns, columns, stride)
    picture[down[1], across[1]] = shown[down[0], across[0]]


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """Return `[H, W]` or `[H, W, 3]` so many times smaller, means of squares, sides rounded up."""
    return pixels if factor == 1 else np.array(Image.fromarray(pixels).reduce(factor))
