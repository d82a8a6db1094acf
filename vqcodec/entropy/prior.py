"""The prior as files are coded with it: integer arithmetic in NumPy, exact on every machine.

`vqcodec.model.prior` is the same network as training sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.features import around, beside, look_up, quality_planes
from vqcodec.entropy.layer import Grid, Layer
from vqcodec.entropy.levels import Indices, PriorLevel, Symbols, level_of
from vqcodec.entropy.schedule import Part, cut, phase_positions, whole
from vqcodec.entropy.threads import in_strips, one_blas_thread
from vqcodec.errors import ModelError

# Called with a level's number, the phase and its classes; returns the indices of its N positions.
CodePhase = Callable[[int, int, Symbols], Symbols]
# Told a level's number, classes and indices of a phase.
PutPhase = Callable[[int, Symbols, Symbols], None]
# The same with the indices of the whole level, of which the phase has those at its positions.
PutPhaseOfLevel = Callable[[int, Symbols, Symbols, NDArray[np.int64]], None]
# Told a phase, its positions and classes.
VisitPhase = Callable[[int, NDArray[np.int64], Symbols], None]


class PriorNetwork:
    """The whole prior: walks through the levels, coarse to fine.

    `levels[scale]` are those of a scale, each position of which is one of `strides[scale]` x
    `strides[scale]` of a position of the scale above it, brought there by `upsample[scale - 1]`.
    """

    def __init__(
        self,
        levels: Sequence[Sequence[PriorLevel]],
        upsample: Sequence[Layer],
        strides: Sequence[int],
    ) -> None:
        self.levels = [level for scale in levels for level in scale]
        bounds = accumulate(map(len, levels), initial=0)
        self.scales = [range(first, stop) for first, stop in pairwise(bounds)]
        self.upsample = upsample
        self._strides = strides

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        phases: Sequence[Sequence[int]],
        strides: Sequence[int],
        counts: Sequence[Sequence[int]],
    ) -> PriorNetwork:
        """Build it from a weights file's arrays.

        `phases[scale]` counts those of each level, `counts[number]` the codebooks of each group.
        Raises ModelError if an array is missing, ValueError if one has another shape.
        """
        books = iter(enumerate(counts))
        try:
            levels = [[level_of(arrays, *next(books), size) for size in scale] for scale in phases]
            upsample = [
                Layer.from_arrays(arrays, f"prior.upsample.{i}") for i in range(len(phases) - 1)
            ]
        except KeyError as error:
            raise ModelError(f"the weights file has no array {error}") from error
        return cls(levels, upsample, strides)

    def walk(
        self, quality: int, height: int, width: int, code: CodePhase, stop: int | None = None
    ) -> Iterator[Symbols]:
        """Visit the phases of the first `stop` levels, or all; yield each level's indices.

        `height` and `width` are those of the coarsest grid. `code` is told the classes of a phase
        and returns its indices: the encoder chooses them, the decoder reads them.
        """
        stop = len(self.levels) if stop is None else stop
        features = yield from self.walk_coarse(quality, height, width, code, stop)
        for number in range(self.scales[-1].start, stop):
            one = range(number, number + 1)
            chosen, features = self.walk_levels(one, features, quality, code)
            yield from chosen

    def walk_coarse(
        self, quality: int, height: int, width: int, code: CodePhase, stop: int
    ) -> Generator[Symbols, None, Grid]:
        """Do the same for all scales but the finest; return the features that this begins with.

        They mean nothing if not all levels before it are among the first `stop`.
        """
        features = self.start(quality, height, width)
        indices: Indices = []
        for scale, numbers in enumerate(self.scales[:-1]):
            for number in range(numbers.start, min(numbers.stop, stop)):
                one = range(number, number + 1)
                chosen, features = self.walk_levels(one, features, quality, code)
                indices = [*indices, *chosen]
                yield from chosen
            if stop <= numbers.stop:
                break
            features = self.finer(scale + 1, features, indices, quality)
        return features

    def replay_levels(
        self, numbers: range, features: Grid, quality: int, indices: Indices, put: PutPhaseOfLevel
    ) -> Grid:
        """Tell `put` the classes of every phase of `indices`, of some levels of a grid, in order.

        `features` are those before, `indices` those of all levels. Return the features then.
        """
        with one_blas_thread:
            for number in numbers:
                state = _entered(self.levels[number], features, [whole(*features.shape[:2])])
                _replay_level(number, self.levels[number], state, quality, indices[number], put)
                features = self._left(number, state, indices[number])
        return features

    def finest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the finest grid where the coarsest has `size`, rows and columns."""
        times = math.prod(self._strides[: len(self.scales) - 1])
        return size[0] * times, size[1] * times

    def start(self, quality: int, height: int, width: int) -> Grid:
        """Return the features that the coarsest grid begins with."""
        planes = quality_planes(quality)
        return np.broadcast_to(planes, (height, width, len(planes)))

    def walk_levels(
        self,
        numbers: range,
        features: Grid,
        quality: int,
        code: CodePhase,
        tiles: Sequence[Part] | None = None,
    ) -> tuple[Indices, Grid]:
        """Visit the phases of some levels of a grid; return their indices, and the features then.

        `features`, what is known before, may be those of a part of the grid that begins in an even
        row and column. It may have several tiles, which know nothing of each other, or parts of
        some, and is one if none are given.
        """
        tiles = tiles or [whole(*features.shape[:2])]
        with one_blas_thread:
            result = []
            for number in numbers:
                state = _entered(self.levels[number], features, tiles)
                chosen = _walk_level(number, self.levels[number], state, quality, code, tiles)
                features = self._left(number, state, chosen)
                result.append(chosen)
            return result, features

    def _left(self, number: int, state: Grid, indices: Symbols) -> Grid:
        """Return the features after a level: its state, and beside it what its indices look like.

        After the last level the state alone: the rest would be most of the memory, for nothing.
        """
        last = number + 1 == len(self.levels)
        return state if last else beside(state, self.levels[number].magnitudes, indices)

    def finer(self, scale: int, features: Grid, indices: Indices, quality: int) -> Grid:
        """Return the features that `scale` begins with.

        From those after the scale above it, and the indices of all levels so far.
        """
        known = [features]
        numbers = self.scales[scale - 1]
        levels, chosen = self.levels[numbers.start : numbers.stop], indices[numbers.start :]
        looked_up = [level.magnitudes for level in levels[:-1]] + [x.values for x in levels]
        for tables, symbols in zip(looked_up, [*chosen[:-1], *chosen], strict=True):
            known.append(look_up(tables, symbols).reshape(*features.shape[:2], -1))
        columns = np.concatenate(known, -1).astype(np.float32)
        with one_blas_thread:
            fine = self.upsample[scale - 1](columns).astype(np.uint8)
        height, width, channels = fine.shape
        stride = self._strides[scale - 1]
        fine = fine.reshape(height, width, channels // stride**2, stride, stride)
        fine = fine.transpose(0, 3, 1, 4, 2).reshape(height * stride, width * stride, -1)
        spread = self.start(quality, *fine.shape[:2]).astype(np.uint8)
        return np.concatenate([spread, fine], -1)


def _entered(level: PriorLevel, features: Grid, tiles: Sequence[Part]) -> Grid:
    """Return the state of a level's first phase."""
    height, width = features.shape[:2]
    update = level.phases[0].update
    state = np.empty((height, width, len(update.bias)), np.uint8)
    for tile in tiles:
        own, known = state[tile], features[tile]

        def enter_rows(rows: slice, own: Grid = own, known: Grid = known) -> None:
            own[rows] = update.rows(known, rows)

        in_strips(enter_rows, *own.shape[:2])
    return state


def _walk_level(
    number: int,
    level: PriorLevel,
    state: Grid,
    quality: int,
    code: CodePhase,
    tiles: Sequence[Part],
) -> Symbols:
    """Return the indices of a level."""
    indices = level.room(math.prod(state.shape[:2]))

    def choose(phase: int, positions: NDArray[np.int64], classes: Symbols) -> None:
        for group, chosen in zip(indices, code(number, phase, classes), strict=True):
            group[:, positions] = chosen

    _visit(level, state, quality, indices, tiles, choose)
    return indices


def _replay_level(
    number: int,
    level: PriorLevel,
    state: Grid,
    quality: int,
    indices: Symbols,
    put: PutPhaseOfLevel,
) -> None:
    """Tell `put` the classes of a level's indices."""

    def tell(_: int, positions: NDArray[np.int64], classes: Symbols) -> None:
        put(number, classes, indices, positions)

    _visit(level, state, quality, indices, [whole(*state.shape[:2])], tell)


def _visit(
    level: PriorLevel,
    state: Grid,
    quality: int,
    indices: Symbols,
    tiles: Sequence[Part],
    visit: VisitPhase,
) -> None:
    """Visit the phases of a level; `indices` are those of all of it, a phase's after its visit."""
    for phase in range(len(level.phases)):
        positions = phase_positions(len(level.phases), phase, *state.shape[:2])
        # Without a name, or the classes of this phase would be held beside those of the next.
        visit(
            phase,
            positions,
            _classes_of_tiles(level, phase, positions, state, quality, indices, tiles),
        )


def _classes_of_tiles(
    level: PriorLevel,
    phase: int,
    positions: NDArray[np.int64],
    state: Grid,
    quality: int,
    indices: Symbols,
    tiles: Sequence[Part],
) -> Symbols:
    """Return the classes of a phase, of all tiles in the order of the grid."""
    if len(tiles) == 1:
        return _classes(level, phase, positions, state, quality, indices)
    size = state.shape[:2]
    joined = [group.reshape(-1, *size) for group in level.room_for_classes(math.prod(size))]
    for tile in tiles:
        own = state[tile]
        places = phase_positions(len(level.phases), phase, *own.shape[:2])
        rows, columns = np.divmod(places, own.shape[1])
        found = _classes(level, phase, places, own, quality, cut(indices, size, tile))
        for group, part in zip(joined, found, strict=True):
            group[:, tile[0], tile[1]][:, rows, columns] = part
    return [group.reshape(len(group), -1)[:, positions] for group in joined]


def _classes(
    level: PriorLevel,
    phase: int,
    positions: NDArray[np.int64],
    state: Grid,
    quality: int,
    indices: Symbols,
) -> Symbols:
    """Return the classes of a phase; `state` is that of the first one."""
    prior = level.phases[phase]
    classes = np.empty((len(prior.slope), len(positions)), np.uint8)

    def classify(strip: slice) -> None:
        if phase == 0:
            own = state.reshape(-1, state.shape[-1])[positions[strip]].astype(np.float32)
        else:
            known, first = around(
                positions[strip], state, level.magnitudes, indices, len(level.phases), phase
            )
            own = prior.update.at(known, positions[strip] - first)
        classes[:, strip] = prior.classes(own, quality)

    in_strips(classify, len(positions))
    return list(np.split(classes, np.cumsum(level.groups)[:-1]))
