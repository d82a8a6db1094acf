"""How the finest grid is divided, so that the memory an image takes hardly grows with it.

Positions are those of the finest grid, each of `stride` x `stride` pixels. A tile is worked on with
a margin that is thrown away after: what lies beyond has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, product
from operator import index

import numpy as np

from vqcodec.entropy.levels import Symbols
from vqcodec.entropy.schedule import ONE_TILE, cut, paste
from vqcodec.errors import RegionError

SIDE = 128  # positions
# Of a tile that is decoded: what its state takes is what bounds it, 768 bytes a position. A stage
# works on it in pieces, of which smaller ones touch less memory and larger ones have less margin.
DECODED_SIDE = 384
PIECE_SIDE = 96

Region = tuple[int, int, int, int]  # left, upper, width, height; pixels


@dataclass(frozen=True)
class Tile:
    """Rows and columns that a tile is for, and those with its margin, which begin at even ones."""

    rows: slice
    columns: slice
    wide_rows: slice
    wide_columns: slice

    @classmethod
    def whole(cls, height: int, width: int) -> Tile:
        """Return the tile that is a whole grid."""
        rows, columns = slice(0, height), slice(0, width)
        return cls(rows, columns, rows, columns)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the rows and columns lie among those with the margin."""
        return _shifted(self.rows, self.wide_rows), _shifted(self.columns, self.wide_columns)

    @property
    def bare(self) -> Tile:
        """The tile without a margin."""
        return replace(self, wide_rows=self.rows, wide_columns=self.columns)

    def narrowed(self, margin: int) -> Tile:
        """Return the tile with no more of its margin than that, and one to begin at even ones."""
        return Tile(
            self.rows,
            self.columns,
            _widened(self.rows, margin, self.wide_rows),
            _widened(self.columns, margin, self.wide_columns),
        )

    def within(self, wider: Tile) -> tuple[slice, slice]:
        """Return where this tile with its margin lies in the same one with a wider margin."""
        return (
            _shifted(self.wide_rows, wider.wide_rows),
            _shifted(self.wide_columns, wider.wide_columns),
        )

    def cut(self, level: Symbols, size: tuple[int, int]) -> Symbols:
        """Return the indices of a level for this tile, with its margin, of a grid of that size."""
        return cut(level, size, (self.wide_rows, self.wide_columns))

    def paste(self, level: Symbols, whole: Symbols, size: tuple[int, int]) -> None:
        """Write what this tile, with its margin, has of a level into that of the grid."""
        wide = [span.stop - span.start for span in (self.wide_rows, self.wide_columns)]
        inner = cut(level, (wide[0], wide[1]), self.inner)
        paste(inner, (self.rows, self.columns), whole, size)


def split(
    height: int, width: int, rows: slice, columns: slice, margin: int, side: int | None = None
) -> list[Tile]:
    """Return the tiles, with a margin, for some rows and columns of a grid of `height` x `width`.

    They have at most `side` positions a side, SIDE if it is None. It is one without a margin if the
    whole grid is asked for and small enough.
    """
    whole = Tile.whole(height, width)
    if (rows, columns) == (whole.rows, whole.columns) and is_one_tile(height, width):
        return [whole]
    return _divided(rows, columns, whole, margin, side or SIDE)


def pieces(tile: Tile, wider: Tile, margin: int) -> list[Tile]:
    """Return the pieces of a tile with its margin, each with a margin within that of a `wider` one.

    One piece of all that is there if the tile is small enough.
    """
    rows, columns = tile.wide_rows, tile.wide_columns
    if is_one_tile(rows.stop - rows.start, columns.stop - columns.start):
        return [replace(wider, rows=rows, columns=columns)]
    return _divided(rows, columns, wider, margin, PIECE_SIDE)


def _divided(rows: slice, columns: slice, within: Tile, margin: int, side: int) -> list[Tile]:
    return [
        replace(within, rows=down, columns=across).narrowed(margin)
        for down, across in product(_spans(rows, side), _spans(columns, side))
    ]


def is_one_tile(height: int, width: int) -> bool:
    """Return whether a grid of `height` x `width` is small enough to be worked on as a whole."""
    return height * width <= ONE_TILE


def box(region: Region | None, width: int, height: int) -> tuple[slice, slice]:
    """Return the rows and columns of a region, of all if it is None.

    Raises RegionError if it is empty or not within an image of `width` x `height`, TypeError if it
    is no four whole numbers.
    """
    numbers = (0, 0, width, height) if region is None else region
    try:
        left, upper, across, down = map(index, numbers)
    except (TypeError, ValueError):
        raise TypeError(f"a region is four whole numbers, not {region!r}") from None
    right, lower = left + across, upper + down
    if not (0 <= left < right <= width and 0 <= upper < lower <= height):
        place = f"{across}x{down} at {left},{upper}"
        raise RegionError(f"the region {place} is not within the image, {width}x{height}")
    return slice(upper, lower), slice(left, right)


def covering(pixels: slice, stride: int) -> slice:
    """Return the positions that cover some rows or columns of pixels."""
    return slice(pixels.start // stride, -(-pixels.stop // stride))


def overlap(covered: slice, wide: slice, asked: slice, stride: int) -> tuple[slice, slice]:
    """Return where the pixels `asked` for that positions cover are.

    Among the pixels of the `wide` positions, and among those asked for.
    """
    start = max(stride * covered.start, asked.start)
    stop = min(stride * covered.stop, asked.stop)
    first = stride * wide.start
    return slice(start - first, stop - first), slice(start - asked.start, stop - asked.start)


def _spans(span: slice, side: int) -> list[slice]:
    count = -(-(span.stop - span.start) // side)
    edges = np.linspace(span.start, span.stop, count + 1).astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _widened(span: slice, margin: int, most: slice) -> slice:
    start = max(span.start - margin, most.start) // 2 * 2
    return slice(start, min(span.stop + margin, most.stop))


def _shifted(span: slice, by: slice) -> slice:
    return slice(span.start - by.start, span.stop - by.start)
