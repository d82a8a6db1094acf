"""The prior as files are coded with it: integer arithmetic in NumPy, exact on every machine.

`vqcodec.model.prior` is the same network as training sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.features import around, beside, look_up, quality_planes
from vqcodec.entropy.layer import Activations, Grid, Layer
from vqcodec.entropy.schedule import phase_positions
from vqcodec.entropy.threads import in_strips, one_blas_thread
from vqcodec.errors import ModelError

CLASSES = 64
CLASS_SHIFT = 1  # a class spans two activation values

# Indices or classes of a phase or a level: [codebooks, N], one array a group of codebooks. They are
# uint8, indices uint16 where a codebook has more than 256 codewords.
Symbols = list[NDArray[np.unsignedinteger[Any]]]
Indices = Sequence[Symbols]  # of all levels


@dataclass(frozen=True)
class PriorPhase:
    """The part of the prior that belongs to one phase of a level."""

    update: Layer
    hidden: Layer
    head: Layer
    slope: Activations

    def __post_init__(self) -> None:
        # At any quality the slope adds to the head's bias: together, too, they must stay exact.
        Layer(self.head.weight, np.abs(self.head.bias) + 100 * np.abs(self.slope))

    def classes(self, state: Activations, quality: int) -> NDArray[np.uint8]:
        """Return the classes `[codebooks, N]` at positions whose hidden state is `[N, width]`."""
        log_scales = self.head(self.hidden(state), self.slope * np.float32(quality))
        return np.ascontiguousarray(log_scales.T.astype(np.uint8) >> CLASS_SHIFT)


@dataclass(frozen=True)
class PriorLevel:
    """A level of the prior, and what its codewords look like to the levels after it.

    `magnitudes` and `values` hold one uint8 / int8 array `[codebooks, codewords, dim]` a group.
    """

    phases: Sequence[PriorPhase]
    magnitudes: Sequence[NDArray[np.uint8]]
    values: Sequence[NDArray[np.int8]]

    @property
    def groups(self) -> list[int]:
        """The number of codebooks of each group."""
        return [len(group) for group in self.magnitudes]

    @property
    def codewords(self) -> list[int]:
        """The number of codewords of each group's codebooks."""
        return [group.shape[1] for group in self.magnitudes]

    @property
    def index_types(self) -> list[type[np.unsignedinteger[Any]]]:
        """The type of the indices of each group."""
        return list(map(index_type, self.codewords))

    def room(self, size: int) -> Symbols:
        """Return zeros for the indices of so many positions."""
        typed = zip(self.groups, self.index_types, strict=True)
        return [np.zeros((count, size), kind) for count, kind in typed]

    def room_for_classes(self, size: int) -> Symbols:
        """Return zeros for the classes of so many positions."""
        return [np.zeros((count, size), np.uint8) for count in self.groups]

    @property
    def channels(self) -> int:
        """The number of values at a position."""
        return sum(len(group) * group.shape[-1] for group in self.magnitudes)


def index_type(codewords: int) -> type[np.unsignedinteger[Any]]:
    """Return the type of the indices of codebooks of so many codewords."""
    return np.uint8 if codewords <= 256 else np.uint16


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
            levels = [[_level(arrays, *next(books), size) for size in scale] for scale in phases]
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
        features = self.start(quality, height, width)
        indices: Indices = []
        visited = range(len(self.levels) if stop is None else stop)
        for scale, numbers in enumerate(self.scales):
            if numbers.start not in visited:
                break
            if scale:
                features = self.finer(scale, features, indices, quality)
            for number in range(numbers.start, min(numbers.stop, visited.stop)):
                one = range(number, number + 1)
                chosen, features = self.walk_levels(one, features, quality, code)
                indices = [*indices, *chosen]
                yield from chosen

    def replay(
        self, quality: int, height: int, width: int, indices: Indices, put: PutPhaseOfLevel
    ) -> None:
        """Tell `put` the classes of every phase of `indices` that are known, in order."""
        features = self.start(quality, height, width)
        for scale, numbers in enumerate(self.scales):
            if scale:
                features = self.finer(scale, features, indices[: numbers.start], quality)
            features = self.replay_levels(numbers, features, quality, indices, put)

    def replay_levels(
        self, numbers: range, features: Grid, quality: int, indices: Indices, put: PutPhaseOfLevel
    ) -> Grid:
        """Do the same for some levels of a grid; return the features then.

        `features` are those before, `indices` those of all levels.
        """
        with one_blas_thread:
            for number in numbers:
                state = _entered(self.levels[number], features)
                _replay_level(number, self.levels[number], state, quality, indices[number], put)
                features = self._left(number, state, indices[number])
        return features

    def start(self, quality: int, height: int, width: int) -> Grid:
        """Return the features that the coarsest grid begins with."""
        planes = quality_planes(quality)
        return np.broadcast_to(planes, (height, width, len(planes)))

    def walk_levels(
        self, numbers: range, features: Grid, quality: int, code: CodePhase
    ) -> tuple[Indices, Grid]:
        """Visit the phases of some levels of a grid; return their indices, and the features then.

        `features`, what is known before, may be those of a part of the grid that begins in an even
        row and column.
        """
        with one_blas_thread:
            result = []
            for number in numbers:
                state = _entered(self.levels[number], features)
                chosen = _walk_level(number, self.levels[number], state, quality, code)
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


def _entered(level: PriorLevel, features: Grid) -> Grid:
    """Return the state of a level's first phase."""
    height, width = features.shape[:2]
    update = level.phases[0].update
    state = np.empty((height, width, len(update.bias)), np.uint8)

    def enter_rows(rows: slice) -> None:
        state[rows] = update.rows(features, rows)

    in_strips(enter_rows, height, width)
    return state


def _walk_level(
    number: int, level: PriorLevel, state: Grid, quality: int, code: CodePhase
) -> Symbols:
    """Return the indices of a level."""
    indices = level.room(state.shape[0] * state.shape[1])

    def choose(phase: int, positions: NDArray[np.int64], classes: Symbols) -> None:
        for whole, group in zip(indices, code(number, phase, classes), strict=True):
            whole[:, positions] = group

    _visit(level, state, quality, indices, choose)
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

    _visit(level, state, quality, indices, tell)


def _visit(
    level: PriorLevel, state: Grid, quality: int, indices: Symbols, visit: VisitPhase
) -> None:
    """Visit the phases of a level; `indices` are those of all of it, a phase's after its visit."""
    for phase in range(len(level.phases)):
        positions = phase_positions(len(level.phases), phase, *state.shape[:2])
        # Without a name, or the classes of this phase would be held beside those of the next.
        visit(phase, positions, _classes(level, phase, positions, state, quality, indices))


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


def _level(
    arrays: Mapping[str, NDArray[Any]], number: int, counts: Sequence[int], phases: int
) -> PriorLevel:
    name = f"prior.{number}"

    def rows(what: str) -> list[NDArray[Any]]:
        """Return an array for every group; what its codebooks share is there once."""
        shared = (arrays[f"{name}.{what}.{group}"] for group in range(len(counts)))
        return [np.broadcast_to(a, (n, *a.shape[1:])) for a, n in zip(shared, counts, strict=True)]

    return PriorLevel(
        phases=[_phase(arrays, f"{name}.{phase}") for phase in range(phases)],
        magnitudes=rows("magnitudes"),
        values=rows("values"),
    )


def _phase(arrays: Mapping[str, NDArray[Any]], name: str) -> PriorPhase:
    return PriorPhase(
        update=Layer.from_arrays(arrays, f"{name}.update"),
        hidden=Layer.from_arrays(arrays, f"{name}.hidden"),
        head=Layer.from_arrays(arrays, f"{name}.head"),
        slope=arrays[f"{name}.slope"].astype(np.float32),
    )
