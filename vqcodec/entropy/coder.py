"""The range coder: symbols with classes <-> bytes, each class one shipped frequency table.

A queue, so that a stream can be cut anywhere and read up to the cut. A phase is coded table by
table, the symbols that share one class by class (one call of the coder a class), codebook by
codebook and in raster order within a class.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.prior import CLASSES, Symbols, index_type
from vqcodec.entropy.tables import FrequencyTables, Numbers, Tables
from vqcodec.errors import CorruptError

# Symbols that are sorted at a time, in eight bytes each.
PIECE = 2**22


class Encoder:
    """Collects symbols; `finish` returns the stream."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(self, level: int, classes: Symbols, indices: Symbols) -> None:
        """Append the indices of a phase, which have these classes."""
        for tables, group, symbols in zip(self._tables[level], classes, indices, strict=True):
            rows = symbols.reshape(len(tables), -1)
            for table, class_, places in _runs(group.reshape(rows.shape)):
                ordered = rows[table, places].astype(np.int32)
                self._coder.encode(ordered, tables.model(table, class_))

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

    def put(self, level: int, classes: Symbols, indices: Symbols) -> None:
        """Add the indices of a phase, which have these classes."""
        for tables, group, symbols in zip(self._tables[level], classes, indices, strict=True):
            rows = len(tables), group.size // len(tables)
            order = np.argsort(group.reshape(rows), axis=-1, kind="stable")
            bits = tables.bits(group, symbols).reshape(rows)
            costs = np.take_along_axis(bits, order, -1)
            used = np.flatnonzero(np.take_along_axis(symbols.reshape(rows), order, -1))
            if used.size:
                self.bits += self._trailing
                self._trailing[:] = 0
            stop = used[-1] + 1 if used.size else 0
            self.bits[level] += costs.flat[:stop].sum()
            self._trailing[level] += costs.flat[stop:].sum()


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


def _runs(classes: Numbers) -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
    """Yield table, class and places of the symbols that are coded at once."""
    for table, row in enumerate(classes):
        pieces = [row[start : start + PIECE] for start in range(0, len(row), PIECE)]
        counts = [np.bincount(piece, minlength=CLASSES) for piece in pieces]
        total = np.array(counts, np.int64).reshape(-1, CLASSES).sum(0)
        stops = np.cumsum(total)
        order, ends = np.empty(len(row), np.uint32), stops - total
        for number, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
            places = number * PIECE + np.argsort(piece, kind="stable")
            parts = np.split(places, np.cumsum(count)[:-1])
            for class_ in np.flatnonzero(count):
                order[ends[class_] : ends[class_] + count[class_]] = parts[class_]
            ends += count
        for class_ in np.flatnonzero(total):
            yield table, int(class_), order[stops[class_] - total[class_] : stops[class_]]
