"""The order in which the positions of a level are coded.

A level codes its positions all at once, as the two colours of a checkerboard, or in three phases:
every second position of every second row, those diagonally between, and the rest. From the second
phase on every position has neighbours that are known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# By number of phases: the (row, column) of each phase's positions in every 2 x 2 square.
_CELLS = {
    1: (((0, 0), (0, 1), (1, 0), (1, 1)),),
    2: (((0, 0), (1, 1)), ((0, 1), (1, 0))),
    3: (((0, 0),), ((1, 1),), ((0, 1), (1, 0))),
}


def phase_positions(phases: int, phase: int, height: int, width: int) -> NDArray[np.int64]:
    """Return the raster positions of a phase on a `height` x `width` grid, ascending, `[N]`."""
    grid = np.arange(height * width).reshape(height, width)
    cells = [grid[row::2, column::2].reshape(-1) for row, column in _CELLS[phases][phase]]
    return np.sort(np.concatenate(cells))
