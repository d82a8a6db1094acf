"""The range coder: symbols with classes <-> bytes, each class one shipped frequency table.

A queue, so that a stream can be cut anywhere and read up to the cut. A phase is coded table by
table, the symbols that share one class by class, codebook by codebook and in raster order within a
class.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.prior import CLASSES, Symbols, index_type
from vqcodec.entropy.tables import FrequencyTables, Numbers, Tables
from vqcodec.errors import CorruptError

# Symbols that are looked through or coded at a time, in up to thirty bytes each, and those that are
# sorted at a time, in four: a large phase is looked through once for every so many.
PIECE = 2**18
SORTED = 2**24

Positions = NDArray[np.int64]
Places = NDArray[np.int64] | NDArray[np.uint32]  # in a row of the symbols that share a table


class Encoder:
    """Collects symbols; `finish` returns the stream."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(
        self, level: int, classes: Symbols, indices: Symbols, positions: Positions | None = None
    ) -> None:
        """Append the indices of a phase, which have these classes.

        With `positions` they are those that `indices` of the whole level has there.
        """
        for tables, group, whole in zip(self._tables[level], classes, indices, strict=True):
            for table, class_, symbols in _in_order(tables, group, whole, positions):
                self._coder.encode(symbols.astype(np.int32), tables.model(table, class_))

    def copy(self) -> Encoder:
        """Return an encoder that goes on from here by itself."""
        twin = Encoder(self._tables)
        twin._coder = self._coder.clone()
        return twin

    def finish(self) -> bytes:
        """Return the stream: little-endian 32-bit words without the zero bytes at their end."""
        stream: bytes = self._coder.get_compressed().astype("<u4").tobytes()
        return stream.rstrip(b"\0")


class Counter:
    """Counts what symbols take, as an encoder is given them: `bits`, level by level.

    By the tables, without the coder's own overhead. What follows the last index that is not 0 takes
    nothing: a stream ends in no zero bytes.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.bits = np.zeros(len(tables))
        self._trailing = np.zeros(len(tables))

    def put(
        self, level: int, classes: Symbols, indices: Symbols, positions: Positions | None = None
    ) -> None:
        """Add the indices of a phase, as an encoder is given them."""
        for tables, group, whole in zip(self._tables[level], classes, indices, strict=True):
            for table, class_, symbols in _in_order(tables, group, whole, positions):
                costs = tables.row_bits(table, class_)[symbols]
                used = np.flatnonzero(symbols)
                if used.size:
                    self.bits += self._trailing
                    self._trailing[:] = 0
                stop = used[-1] + 1 if used.size else 0
                self.bits[level] += costs[:stop].sum()
                self._trailing[level] += costs[stop:].sum()


class Decoder:
    """Reads the symbols of a stream in the order in which they were put.

    A stream with `partial` may have been cut: it is read with the lowest and the highest possible
    continuation, and the indices from where these two part are 0.
    """

    def __init__(self, tables: Tables, stream: bytes, *, partial: bool = False) -> None:
        if partial:
            words = np.frombuffer(stream[: len(stream) // 4 * 4], "<u4").astype(np.uint32)
            tails = [np.full(4, value, np.uint32) for value in (0, 0xFFFFFFFF)]
            streams = [np.concatenate([words, tail]) for tail in tails]
        else:
            streams = [np.frombuffer(stream + bytes(-len(stream) % 4), "<u4").astype(np.uint32)]
        self._tables = tables
        self._coders = [constriction.stream.queue.RangeDecoder(words) for words in streams]
        self._partial = partial
        self._ended = False

    def get(self, level: int, classes: Symbols) -> Symbols:
        """Return the indices of the next phase, which have these classes.

        Raises CorruptError for a stream that no encoder makes.
        """
        groups = zip(self._tables[level], classes, strict=True)
        return [self._group(tables, group) for tables, group in groups]

    def _group(self, tables: FrequencyTables, classes: Numbers) -> Numbers:
        indices = np.empty((len(tables), classes.size // len(tables)), index_type(tables.codewords))
        for table, class_, places in _runs(classes.reshape(indices.shape)):
            indices[table, places] = self._next(tables.model(table, class_), len(places))
        return indices.reshape(classes.shape)

    def _next(self, model: constriction.stream.model.Categorical, count: int) -> NDArray[np.int32]:
        if self._ended:
            return np.zeros(count, np.int32)
        try:
            symbols, *others = [coder.decode(model, count) for coder in self._coders]
        except AssertionError as error:  # how constriction reports invalid data
            if self._partial:
                self._ended = True
                return np.zeros(count, np.int32)
            raise CorruptError("the index stream is not valid") from error
        for other in others:
            differs = np.flatnonzero(symbols != other)
            if differs.size:
                self._ended = True
                symbols[differs[0] :] = 0
        return np.asarray(symbols, np.int32)


def _in_order(
    tables: FrequencyTables, classes: Numbers, indices: Numbers, positions: Positions | None
) -> Iterator[tuple[int, int, Numbers]]:
    """Yield table, class and the symbols that are coded at once, of the indices of a group."""
    rows = classes.reshape(len(tables), -1)
    for table, class_, places in _runs(rows):
        codebook, place = np.divmod(table * rows.shape[1] + places, classes.shape[1])
        yield table, class_, indices[codebook, place if positions is None else positions[place]]


def _runs(classes: Numbers) -> Iterator[tuple[int, int, Places]]:
    """Yield table, class and places of the symbols that are coded at once."""
    for table, row in enumerate(classes):
        pieces = range(0, len(row), PIECE)
        counts = np.zeros(CLASSES, np.int64)
        for start in pieces:
            counts += np.bincount(row[start : start + PIECE], minlength=CLASSES)
        for span in _spans(counts):
            runs: Iterator[tuple[int, Places]]
            if len(span) == 1:  # which may be all symbols, and are found in order
                runs = ((span.start, _places(row, start, span)[0]) for start in pieces)
            else:
                runs = _sorted(row, span, counts[span.start : span.stop])
            for class_, places in runs:
                if places.size:
                    yield table, class_, places


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
    row: Numbers, span: range, counts: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield class and places of the symbols of some classes, of which there are so many."""
    stops = np.cumsum(counts)
    # All places in one block: as many small ones as there are pieces would leave gaps in memory.
    order, ends = np.empty(stops[-1], np.uint32), stops - counts
    for start in range(0, len(row), PIECE):
        for class_, places in enumerate(_places(row, start, span)):
            order[ends[class_] : ends[class_] + len(places)] = places
            ends[class_] += len(places)
    for class_, count, stop in zip(span, counts, stops, strict=True):
        for first in range(stop - count, stop, PIECE):
            yield class_, order[first : min(first + PIECE, stop)]


def _places(row: Numbers, start: int, span: range) -> list[NDArray[np.int64]]:
    """Return where each of some classes is in the piece of a row that begins at `start`."""
    piece = row[start : start + PIECE]
    inside = np.flatnonzero((piece >= span.start) & (piece < span.stop))
    groups = piece[inside] - span.start
    ordered = start + inside[np.argsort(groups, kind="stable")]
    return np.split(ordered, np.cumsum(np.bincount(groups, minlength=len(span)))[:-1])
