"""The order in which the positions of a level are coded, and the tiles of a large grid.

A level codes its positions all at once, as the two colours of a checkerboard, or in three phases:
every second position of every second row, those diagonally between, and the rest. From the second
phase on every position has neighbours that are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = tuple[slice, slice]  # rows and columns of a grid

SIDE = 64  # positions of a tile, which is coded without those around it
ONE_TILE = 160**2  # a grid of no more positions is one

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


def whole(height: int, width: int) -> Part:
    """Return the part that is all of a grid."""
    return slice(0, height), slice(0, width)


def coding_tiles(height: int, width: int) -> list[Part]:
    """Return the tiles that the finest grid is coded in, row by row."""
    if height * width <= ONE_TILE:
        return [whole(height, width)]
    spans = (
        [slice(start, min(start + SIDE, side)) for start in range(0, side, SIDE)]
        for side in (height, width)
    )
    return list(product(*spans))


def within(tiles: Sequence[Part], window: Part) -> list[Part]:
    """Return what a window of a grid has of its tiles, counted from the window's first position."""
    pairs = ([_common(*spans) for spans in zip(tile, window, strict=True)] for tile in tiles)
    return [(rows, columns) for rows, columns in pairs if rows.stop > 0 < columns.stop]


def _common(span: slice, window: slice) -> slice:
    """Return what two spans have in common, from the window's start; of no length, up to 0."""
    start, stop = max(span.start, window.start), min(span.stop, window.stop)
    return slice(start - window.start, stop - window.start) if start < stop else slice(0, 0)


def cut(level: Sequence[NDArray[Any]], size: tuple[int, int], part: Part) -> list[NDArray[Any]]:
    """Return what a part of a grid of that size has of a level's groups, `[codebooks, N]`."""
    rows, columns = part
    grids = (group.reshape(-1, *size)[:, rows, columns] for group in level)
    return [grid.reshape(len(grid), -1) for grid in grids]


def paste(
    level: Sequence[NDArray[Any]],
    part: Part,
    whole: Sequence[NDArray[Any]],
    size: tuple[int, int],
) -> None:
    """Write a part's groups into those of a grid of that size."""
    rows, columns = part
    for group, all_of_it in zip(level, whole, strict=True):
        place = all_of_it.reshape(-1, *size)[:, rows, columns]
        place[...] = group.reshape(place.shape)
