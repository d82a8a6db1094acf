"""The order in which the symbols of a phase that share a table are coded, and which are not.

Class by class, codebook by codebook and in raster order within a class. Most symbols are 0 and of a
class that says so, a quiet one. They are not coded one by one: for every block of a codebook that
has many symbols of quiet classes a flag tells whether one of these is anything but 0. If none is,
none of them is coded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.levels import CLASSES
from vqcodec.entropy.tables import Numbers

# Symbols of a codebook that share a flag, and how many of quiet classes must be among them: one by
# one fewer would take less than the flag.
BLOCK = 2048
FEWEST = 256
# Symbols that are looked through or coded at a time, in up to thirty bytes each, and those that are
# sorted at a time, in four: a large phase is looked through once for every so many.
PIECE = 2**18
SORTED = 2**24

Marks = NDArray[np.bool_]
Places = NDArray[np.int64] | NDArray[np.uint32]  # in a row of the symbols that share a table


class Order:
    """The order of the symbols of one table, which have `classes`, `[codebooks, N]`.

    `quiet` tells which classes are, bool `[CLASSES]`.
    """

    def __init__(self, classes: Numbers, quiet: Marks) -> None:
        self._classes = classes
        self._quiet = quiet
        self._starts = np.arange(0, classes.shape[1], BLOCK)
        shape = len(classes), len(self._starts)
        self._asked = np.zeros(shape, np.bool_)
        if quiet.any():
            for books in self._strips():
                self._asked[books] = self._in_blocks(quiet[classes[books]]) >= FEWEST
        self.flags = int(self._asked.sum())

    def loud(self, indices: Callable[[slice], Numbers]) -> NDArray[np.uint8]:
        """Return the flags, 0 or 1, of `indices`, `[codebooks, N]` of some of the codebooks."""
        loud = np.zeros_like(self._asked)
        if self.flags:
            for books in self._strips():
                said = (indices(books) != 0) & self._quiet[self._classes[books]]
                loud[books] = self._in_blocks(said) > 0
        return loud[self._asked].astype(np.uint8)

    def runs(self, loud: NDArray[np.integer[Any]]) -> Iterator[tuple[int, Places]]:
        """Yield class and places, in the codebooks end to end, of symbols that are coded at once.

        `loud` are the flags.
        """
        silent = self._asked.copy()
        silent[self._asked] = loud == 0
        row = _Row(self._classes, self._quiet, silent, self._starts)
        counts = np.zeros(CLASSES + 1, np.int64)
        for start in row.starts():
            counts += np.bincount(row.piece(start), minlength=CLASSES + 1)
        for span in _spans(counts[:CLASSES]):
            runs: Iterator[tuple[int, Places]]
            if len(span) == 1:  # which may be all symbols, and are found in order
                runs = ((span.start, _places(row, start, span)[0]) for start in row.starts())
            else:
                runs = _sorted(row, span, counts[span.start : span.stop])
            for class_, places in runs:
                if places.size:
                    yield class_, places

    def _strips(self) -> Iterator[slice]:
        """Yield some codebooks after the other, with about as many symbols as a piece has."""
        count, size = self._classes.shape
        step = max(1, PIECE // max(1, size))
        return (slice(first, first + step) for first in range(0, count, step))

    def _in_blocks(self, marks: Marks) -> NDArray[np.int16]:
        """Return how many marks `[codebooks, N]` each block has, `[codebooks, blocks]`."""
        return np.add.reduceat(marks, self._starts, axis=1, dtype=np.int16)


class _Row:
    """The classes of a table's symbols end to end, CLASSES where a symbol is not coded."""

    def __init__(
        self, classes: Numbers, quiet: Marks, silent: Marks, starts: NDArray[np.int64]
    ) -> None:
        self._classes = classes.reshape(-1)
        self._quiet = quiet
        self._silent = silent.reshape(-1)
        books = np.arange(len(classes))[:, None] * classes.shape[1]
        self._edges = np.append((books + starts).reshape(-1), self._classes.size)
        self._any = bool(silent.any())
        self._piece = self._classes[:0], -1  # the last one that was asked for, which may be all

    def starts(self) -> range:
        """Return where the pieces begin."""
        return range(0, self._classes.size, PIECE)

    def piece(self, start: int) -> Numbers:
        """Return the piece that begins at `start`."""
        if self._piece[1] != start:
            self._piece = self._marked(start), start
        return self._piece[0]

    def _marked(self, start: int) -> Numbers:
        piece = self._classes[start : start + PIECE]
        if not self._any:
            return piece
        stop = start + piece.size
        first, last = np.searchsorted(self._edges, (start, stop - 1), "right") - 1
        sizes = np.diff(self._edges[first : last + 2].clip(start, stop))
        silent = np.repeat(self._silent[first : last + 1], sizes)
        return np.where(silent & self._quiet[piece], piece.dtype.type(CLASSES), piece)


def _spans(counts: NDArray[np.int64]) -> Iterator[range]:
    """Yield the classes whose symbols are sorted at once: one, or those of few enough."""
    first, total = 0, 0
    for class_, count in enumerate(counts):
        if total + count > SORTED and class_ > first:
            yield range(first, class_)
            first, total = class_, 0
        total += count
    yield range(first, CLASSES)


def _sorted(
    row: _Row, span: range, counts: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield class and places of the symbols of some classes, of which there are so many."""
    stops = np.cumsum(counts)
    # All places in one block: as many small ones as there are pieces would leave gaps in memory.
    order, ends = np.empty(stops[-1], np.uint32), stops - counts
    for start in row.starts():
        for class_, places in enumerate(_places(row, start, span)):
            order[ends[class_] : ends[class_] + len(places)] = places
            ends[class_] += len(places)
    for class_, count, stop in zip(span, counts, stops, strict=True):
        for first in range(stop - count, stop, PIECE):
            yield class_, order[first : min(first + PIECE, stop)]


def _places(row: _Row, start: int, span: range) -> list[NDArray[np.int64]]:
    """Return where each of some classes is in the piece of a row that begins at `start`."""
    piece = row.piece(start)
    inside = np.flatnonzero((piece >= span.start) & (piece < span.stop))
    groups = piece[inside] - span.start
    ordered = start + inside[np.argsort(groups, kind="stable")]
    return np.split(ordered, np.cumsum(np.bincount(groups, minlength=len(span)))[:-1])
