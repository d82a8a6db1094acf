"""The noise that the natural look is drawn from.

It is integers of a file's checksum and the place of a pixel (docs/format.md): neither tiles nor
regions change it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROW, _COLUMN = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)
# Four bytes add up to so much on average, and deviate by so much.
_MEAN, _DEVIATION = 510, 148
_BYTES = np.uint32(0x00FF00FF)


def noise(seed: int, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Return noise of about unit variance for some pixels, of rows and columns that begin evenly.

    In blocks of 2x2 pixels, as the block on the picture sees them: `[1, 4, H / 2, W / 2]`.
    """
    height, width = ((span.stop - span.start) // 2 for span in (rows, columns))
    planes = np.empty((1, 4, height, width), np.float32)
    for plane in range(4):
        down, across = divmod(plane, 2)
        y = np.arange(rows.start + down, rows.stop, 2, dtype=np.uint32)[:, None]
        x = np.arange(columns.start + across, columns.stop, 2, dtype=np.uint32)
        mixed = _mixed(_mixed(y * _ROW ^ np.uint32(seed)) ^ x * _COLUMN)
        pairs = (mixed & _BYTES) + (mixed >> np.uint32(8) & _BYTES)
        total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
        np.subtract(total, _MEAN, out=planes[0, plane], casting="unsafe", dtype=np.float32)
    planes /= _DEVIATION
    return planes


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return 32-bit numbers of which every bit depends on all bits of those given."""
    x = x ^ x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x
