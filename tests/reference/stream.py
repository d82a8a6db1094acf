"""Segments and the range coder, in integers: "Segments" to "A stream that was cut"."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from .arrays import Array
from .container import Reader, Refused


class RangeDecoder:
    """Reads symbols from 32-bit words, which are followed by zeros without end."""

    def __init__(self, words: Sequence[int]) -> None:
        self._words = iter(words)
        self.range = 2**64 - 1
        self.offset = self._word() << 32 | self._word()

    def _word(self) -> int:
        return next(self._words, 0)

    def symbol(self, cumulative: Sequence[int]) -> int | None:
        """Return a symbol, or None for invalid data; `cumulative` runs from 0 to 2^24."""
        scale = self.range >> 24
        quantile = self.offset // scale
        if quantile >= 2**24:
            return None
        symbol = bisect_right(cumulative, quantile) - 1
        self.offset -= scale * cumulative[symbol]
        self.range = scale * (cumulative[symbol + 1] - cumulative[symbol])
        if self.range < 2**32:
            self.range <<= 32
            self.offset = self.offset << 32 | self._word()
        return symbol


class Symbols:
    """Reads symbols; of a cut stream those that do not depend on what is missing."""

    def __init__(self, stream: bytes, cut: bool) -> None:
        if not cut:
            stream += bytes(-len(stream) % 4)
        words: list[int] = np.frombuffer(stream[: len(stream) // 4 * 4], "<u4").tolist()
        endings = [[0] * 4, [2**32 - 1] * 4] if cut else [[]]
        self._decoders = [RangeDecoder(words + ending) for ending in endings]
        self._over = False

    def read(self, cumulative: Sequence[int], count: int) -> Array:
        """Return the next `count` symbols, which share a table."""
        if self._over:
            return np.zeros(count, np.int64)
        runs = [[decoder.symbol(cumulative) for _ in range(count)] for decoder in self._decoders]
        if any(None in run for run in runs):
            if len(runs) == 1:
                raise Refused("CorruptError", "an invalid stream")
            self._over = True
            return np.zeros(count, np.int64)
        symbols, last = np.array(runs[0], np.int64), np.array(runs[-1], np.int64)
        differs = np.flatnonzero(symbols != last)
        if len(differs):
            self._over = True
            symbols[differs[0] :] = 0
        return symbols


class Segments:
    """Takes a stream apart, from its front."""

    def __init__(self, stream: bytes, cut: bool) -> None:
        self._rest, self._cut = stream, cut

    def only(self) -> Symbols:
        """Return what reads the symbols of a stream of one segment."""
        return Symbols(self._rest, self._cut)

    def next(self) -> Symbols:
        """Return what reads the symbols of the next of several segments."""
        reader, size = Reader(self._rest), 0
        try:
            if self._rest:
                size = reader.varint()
        except Refused as refused:
            if refused.error != "TruncatedError" or not self._cut:
                raise Refused("CorruptError", "a size in the stream") from None
            reader.offset = len(self._rest)
        stop = reader.offset + size
        segment, is_cut = self._rest[reader.offset : stop], stop > len(self._rest)
        if is_cut and not self._cut:
            raise Refused("CorruptError", "a segment is not whole")
        self._rest = self._rest[stop:]
        return Symbols(segment, is_cut)

    def end(self) -> None:
        """Refuse a stream in which something is left."""
        if self._rest:
            raise Refused("CorruptError", "bytes after the last segment")


def cumulative_frequencies(counts: Array) -> Array:
    """Return the cumulative frequencies `[..., n + 1]` of counts `[..., n]` that sum to 2^24."""
    size = counts.shape[-1]
    before = np.cumsum(counts, -1) - counts
    whole = np.full((*counts.shape[:-1], 1), 2**24)
    cumulative = (before * (2**24 - size) >> 24) + np.arange(size)
    return np.concatenate([cumulative, whole], -1)
