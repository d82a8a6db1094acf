"""Streams: the indices of all levels, in one segment or several.

A small image has one segment. The finest grid of a large one is coded in tiles that know nothing of
each other: a segment for all grids before it, then for each of its levels one for each tile. So a
part of the image is read without the rest, and several threads read at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial as partial_of

import numpy as np
from numpy.typing import NDArray

from vqcodec import threads
from vqcodec.entropy import coder
from vqcodec.entropy.layer import Grid
from vqcodec.entropy.levels import Indices, Symbols
from vqcodec.entropy.prior import CodePhase, PriorNetwork, PutPhaseOfLevel
from vqcodec.entropy.schedule import Part, coding_tiles, cut, paste, within
from vqcodec.entropy.tables import Tables
from vqcodec.entropy.threads import side_by_side
from vqcodec.errors import CorruptError
from vqcodec.varint import read_varint, varint

Size = tuple[int, int]  # rows and columns
Seen = Callable[[int], Part]  # by the number of a level, a part of the finest grid
PutOf = Callable[[int], PutPhaseOfLevel]  # by the number of a segment


def segment(tiles: int, done: int, place: int) -> int:
    """Return which segment a tile's part of a level is in, after `done` levels of the finest grid.

    `place` is that of the tile among so many.
    """
    return 0 if tiles == 1 else 1 + done * tiles + place


def join(segments: Sequence[bytes]) -> bytes:
    """Return the stream of some segments."""
    if len(segments) == 1:
        return segments[0]
    return b"".join(varint(len(each)) + each for each in segments).rstrip(b"\0")


def split(stream: bytes, count: int, *, partial: bool) -> list[tuple[bytes, bool]]:
    """Return the `count` segments of a stream, and of each whether it may have been cut.

    Raises CorruptError for a stream that cannot be made of so many.
    """
    if count == 1:
        return [(stream, partial)]
    segments, offset = [], 0

    def next_byte() -> int:
        nonlocal offset
        offset += 1
        return stream[offset - 1]

    for _ in range(count):
        size: int | None = 0
        if offset < len(stream):  # zeros at the end are left out
            try:
                size = read_varint(next_byte)
            except IndexError:
                if not partial:
                    raise CorruptError("the index stream ends within a size") from None
                offset = len(stream)
        if size is None:
            raise CorruptError("a size in the index stream is not in its shortest form")
        is_cut = offset + size > len(stream)
        if is_cut and not partial:
            raise CorruptError("the index stream ends within a segment")
        segments.append((stream[offset : offset + size], is_cut))
        offset = min(offset + size, len(stream))
    if offset < len(stream):
        raise CorruptError("bytes follow the last segment of the index stream")
    return segments


def read(
    prior: PriorNetwork,
    tables: Tables,
    stream: bytes,
    quality: int,
    size: Size,
    *,
    partial: bool = False,
    stop: int | None = None,
    seen: Seen | None = None,
) -> Iterator[Symbols]:
    """Yield the indices of the first `stop` levels, or of all.

    `size` is that of the coarsest grid. Where the finest has several tiles, a level's tiles that
    have nothing of what is `seen` of it are left out, and their indices are 0; of a later level
    nothing may be seen that is not seen of the one before. Raises CorruptError for a stream that no
    encoder makes.
    """
    fine, grid = prior.scales[-1], prior.finest(size)
    tiles = coding_tiles(*grid)
    stop = fine.stop if stop is None else stop
    count = 1 if len(tiles) == 1 else 1 + len(fine) * len(tiles)
    segments = split(stream, count, partial=partial)
    if len(tiles) == 1:
        yield from prior.walk(quality, *size, _reading(tables, *segments[0]), stop)
        return
    features = yield from prior.walk_coarse(quality, *size, _reading(tables, *segments[0]), stop)
    known = {place: features[tile] for place, tile in enumerate(tiles)}

    def read_tile(number: int, level: Symbols, place: int) -> None:
        data = segments[segment(len(tiles), number - fine.start, place)]
        one = range(number, number + 1)
        code = _reading(tables, *data)
        (found,), known[place] = prior.walk_levels(one, known[place], quality, code)
        paste(found, tiles[place], level, grid)

    for number in range(fine.start, stop):
        if seen is not None:
            part = seen(number)
            for place in [each for each in known if not within([tiles[each]], part)]:
                del known[place]
        level = prior.levels[number].room(math.prod(grid))
        work = partial_of(read_tile, number, level)
        side_by_side(work, list(known), max(1, min(threads.number(), len(known))))
        yield level


def replay(prior: PriorNetwork, quality: int, size: Size, indices: Indices, put_of: PutOf) -> None:
    """Tell the classes of every phase of `indices` to what a segment's number gives.

    In the order of the stream within each segment. `size` is that of the coarsest grid.
    """
    features = prior.start(quality, *size)
    for scale, numbers in enumerate(prior.scales[:-1]):
        features = prior.replay_levels(numbers, features, quality, indices, put_of(0))
        features = prior.finer(scale + 1, features, indices[: numbers.stop], quality)
    replay_finest(prior, quality, features, indices, put_of)


def replay_finest(
    prior: PriorNetwork, quality: int, features: Grid, indices: Indices, put_of: PutOf
) -> None:
    """Do the same for the finest grid, which begins with `features`."""
    fine, grid = prior.scales[-1], (features.shape[0], features.shape[1])
    tiles = coding_tiles(*grid)
    for place, tile in enumerate(tiles):
        known = features[tile]
        for done, number in enumerate(fine):
            own = [*indices[:number], cut(indices[number], grid, tile)]
            one = range(number, number + 1)
            known = prior.replay_levels(
                one, known, quality, own, put_of(segment(len(tiles), done, place))
            )


def bits(
    prior: PriorNetwork, tables: Tables, quality: int, size: Size, indices: Indices
) -> NDArray[np.float64]:
    """Return what indices take by the tables, in bits, level by level."""
    counters = defaultdict[int, coder.Counter](lambda: coder.Counter(tables))
    replay(prior, quality, size, indices, lambda number: counters[number].put)
    return sum((counter.bits for counter in counters.values()), np.zeros(len(tables)))


def _reading(tables: Tables, data: bytes, partial: bool) -> CodePhase:
    """Return what reads the indices of a segment's phases."""
    decoder = coder.Decoder(tables, data, partial=partial)

    def code(number: int, _: int, classes: Symbols) -> Symbols:
        return decoder.get(number, classes)

    return code
