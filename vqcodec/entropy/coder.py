"""The range coder: symbols with classes <-> bytes, each class one shipped frequency table.

A queue, so that a stream can be cut anywhere and read up to the cut. Symbols of a codebook are
coded class by class (one call of the coder a class), in raster order within a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.prior import CLASSES
from vqcodec.errors import CorruptError, ModelError

FREQUENCY_BITS = 24


class FrequencyTables:
    """Frequencies of the words of every codebook of one part, one row a class.

    `counts` is uint32 `[codebooks, CLASSES, words]`; each row is positive and sums to 2^24.
    Raises ModelError otherwise.
    """

    def __init__(self, counts: NDArray[np.uint32]) -> None:
        rows = counts.astype(np.int64)
        if rows.ndim != 3 or rows.shape[1] != CLASSES:
            raise ModelError("the frequency tables have the wrong shape")
        if (rows < 1).any() or (rows.sum(-1) != 1 << FREQUENCY_BITS).any():
            raise ModelError("a frequency table does not sum to 2^24")
        self.words = rows.shape[-1]
        self._counts = counts
        self._models: dict[tuple[int, int], constriction.stream.model.Categorical] = {}

    def model(self, codebook: int, class_: int) -> constriction.stream.model.Categorical:
        """Return the coder's model of a row; built once, then kept."""
        key = codebook, class_
        if key not in self._models:
            # Exact: the counts are integers below 2^24, and only divided by a power of two.
            row = self._counts[key].astype(np.float64) / (1 << FREQUENCY_BITS)
            self._models[key] = constriction.stream.model.Categorical(row, perfect=False)
        return self._models[key]

    def bits(self, classes: NDArray[np.uint8], indices: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the information content of `indices`, in bits; all are `[codebooks, N]`."""
        codebooks = np.arange(len(classes))[:, None]
        bits: NDArray[np.float64] = FREQUENCY_BITS - np.log2(
            self._counts[codebooks, classes, indices]
        )
        return bits


class Encoder:
    """Collects symbols; `finish` returns the stream."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def put(
        self,
        tables: FrequencyTables,
        classes: NDArray[np.uint8],
        indices: NDArray[np.uint8],
    ) -> None:
        """Append `indices` `[codebooks, N]` whose classes are `classes`."""
        for codebook, (own, symbols) in enumerate(zip(classes, indices, strict=True)):
            order = np.argsort(own, kind="stable")
            ordered = symbols[order].astype(np.int32)
            for class_, start, stop in _runs(own):
                self._coder.encode(ordered[start:stop], tables.model(codebook, class_))

    def copy(self) -> Encoder:
        """Return an encoder that goes on from here by itself."""
        twin = Encoder()
        twin._coder = self._coder.clone()
        return twin

    def finish(self) -> bytes:
        """Return the stream: little-endian 32-bit words without the zero bytes at their end."""
        stream: bytes = self._coder.get_compressed().astype("<u4").tobytes()
        return stream.rstrip(b"\0")


class Decoder:
    """Reads the symbols of a stream in the order in which they were put.

    A stream with `partial` may have been cut: it is read with the lowest and the highest possible
    continuation, and the indices from where these two part are 0.
    """

    def __init__(self, stream: bytes, *, partial: bool = False) -> None:
        if partial:
            words = np.frombuffer(stream[: len(stream) // 4 * 4], "<u4").astype(np.uint32)
            tails = [np.full(4, value, np.uint32) for value in (0, 0xFFFFFFFF)]
            streams = [np.concatenate([words, tail]) for tail in tails]
        else:
            streams = [np.frombuffer(stream + bytes(-len(stream) % 4), "<u4").astype(np.uint32)]
        self._coders = [constriction.stream.queue.RangeDecoder(words) for words in streams]
        self._partial = partial
        self._ended = False

    def get(self, tables: FrequencyTables, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the next indices, `[codebooks, N]` like `classes`.

        Raises CorruptError for a stream that no encoder makes.
        """
        indices = np.empty_like(classes)
        for codebook, own in enumerate(classes):
            order = np.argsort(own, kind="stable")
            ordered = np.empty(len(own), np.uint8)
            for class_, start, stop in _runs(own):
                model = tables.model(codebook, class_)
                ordered[start:stop] = self._next(model, stop - start)
            indices[codebook, order] = ordered
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


def _runs(classes: NDArray[np.uint8]) -> Sequence[tuple[int, int, int]]:
    """Return (class, start, stop) of each class that occurs, once the symbols are sorted."""
    counts = np.bincount(classes, minlength=CLASSES)
    stops = np.cumsum(counts)
    used = np.flatnonzero(counts)
    return [(int(k), int(stops[k] - counts[k]), int(stops[k])) for k in used]
