"""The range coder: symbols with classes <-> bytes, each class one shipped frequency table.

A queue, so that a stream can be cut anywhere and read up to the cut. A phase is coded table by
table, of the symbols that share one flags first, then those that are coded, in the order of
`vqcodec.entropy.order`.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.levels import Symbols, index_type
from vqcodec.entropy.order import Order
from vqcodec.entropy.tables import FrequencyTables, Numbers, Tables, flag_tables
from vqcodec.errors import CorruptError

Positions = NDArray[np.int64]
_FLAGS = flag_tables()


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
            for own, table, class_, symbols in _in_order(tables, group, whole, positions):
                self._coder.encode(symbols.astype(np.int32), own.model(table, class_))

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
            for own, table, class_, symbols in _in_order(tables, group, whole, positions):
                costs = own.row_bits(table, class_)[symbols]
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
        indices = np.zeros(classes.shape, index_type(tables.codewords))
        for table, books in _sharing(tables, classes):
            order = Order(classes[books], tables.quiet[table])
            own = indices[books].reshape(-1)
            loud = self._next(_FLAGS.model(0, 0), order.flags)
            for class_, places in order.runs(loud):
                own[places] = self._next(tables.model(table, class_), len(places))
        return indices

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
) -> Iterator[tuple[FrequencyTables, int, int, Numbers]]:
    """Yield tables, which of them, class and the symbols that are coded at once, of a group."""
    for table, books in _sharing(tables, classes):
        order = Order(classes[books], tables.quiet[table])
        own = indices[books]

        def at(some: slice, own: Numbers = own) -> Numbers:
            return own[some] if positions is None else own[some][:, positions]

        loud = order.loud(at)
        yield _FLAGS, 0, 0, loud
        for class_, places in order.runs(loud):
            book, place = np.divmod(places, classes.shape[1])
            yield tables, table, class_, own[book, place if positions is None else positions[place]]


def _sharing(tables: FrequencyTables, classes: Numbers) -> Iterator[tuple[int, slice]]:
    """Yield each table that symbols of a phase have, and the codebooks that share it."""
    share = len(classes) // len(tables)
    if classes.size:
        for table in range(len(tables)):
            yield table, slice(table * share, (table + 1) * share)
