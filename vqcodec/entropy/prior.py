"""The prior as files are coded with it: integer arithmetic in NumPy, exact on every machine.

`vqcodec.model.prior` is the same network as training sees it. Here activations are integers from
0 to 127 and weights int16; both are held in float32 only to use its fast matrix product, which is
exact because every partial sum is an integer below 2^24 (checked when the weights are loaded).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.schedule import phase_positions
from vqcodec.entropy.threads import one_blas_thread
from vqcodec.errors import ModelError

ACTIVATION_MAX = 127
SHIFT = 9  # weights are multiples of 2^-9
CLASSES = 64
CLASS_SHIFT = 1  # a class spans two activation values
BLOCK = 8  # one step between the two grids

STRIP = 16384  # positions that are worked on at a time: what bounds the memory of float32

Parts = list[NDArray[np.uint8]]  # of a phase or a level, [codebooks, N] a part
Indices = list[Parts]
Activations = NDArray[np.float32]
# A grid of activations `[H, W, channels]` at rest; values of words may be int8 or float32.
Grid = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """An integer convolution: `weight` `[taps, inputs, outputs]` (taps 1 or 9), `bias` `[outputs]`.

    Raises ModelError if a partial sum could leave the range in which float32 is exact.
    """

    weight: Activations
    bias: Activations

    def __post_init__(self) -> None:
        reach = np.abs(self.weight.astype(np.int64)).sum((0, 1)) * ACTIVATION_MAX
        if (reach + np.abs(self.bias) + 2**SHIFT >= 2**24).any():
            raise ModelError("the prior's weights are too large for exact arithmetic")

    def __call__(self, x: Activations, offset: Activations | float = 0.0) -> Activations:
        """Map `[..., inputs]` with one tap to activations `[..., outputs]`."""
        return self._activate(x @ self.weight[0], offset)

    def rows(self, x: Grid, rows: slice) -> Activations:
        """Map some rows of a grid with nine taps, `[rows, W, outputs]`."""
        padded, width = _padded(x, rows)
        # The columns of the margin are computed too, and dropped.
        total = self._sum(padded, slice(0, (rows.stop - rows.start) * (width + 2)))
        total = total.reshape(-1, width + 2, total.shape[-1])[:, :width]
        return self._activate(np.ascontiguousarray(total), 0.0)

    def at(self, x: Grid, positions: NDArray[np.int64]) -> Activations:
        """Map raster positions `[N]` of a grid, ascending, with nine taps: `[N, outputs]`."""
        row, column = np.divmod(positions, x.shape[1])
        padded, width = _padded(x, slice(row[0], row[-1] + 1))
        return self._activate(self._sum(padded, (row - row[0]) * (width + 2) + column), 0.0)

    def _sum(self, padded: Activations, places: slice | NDArray[np.int64]) -> Activations:
        """Sum the nine taps at places of a padded grid, laid out in the order of its columns."""
        flat, width = padded.reshape(-1, padded.shape[-1]), padded.shape[1]
        total: Activations = flat[places] @ self.weight[0]
        for tap in range(1, 9):
            total += flat[tap // 3 * width + tap % 3 :][places] @ self.weight[tap]
        return total

    def _activate(self, total: Activations, offset: Activations | float) -> Activations:
        """Add the bias, then round and clamp, in place."""
        total += self.bias + (offset + 2 ** (SHIFT - 1))
        total *= 2.0**-SHIFT
        np.floor(total, out=total)
        np.clip(total, 0, ACTIVATION_MAX, out=total)
        return total


def _padded(x: Grid, rows: slice) -> tuple[Activations, int]:
    """Return rows of a grid with a margin, zeros or what is next to them, and the grid's width."""
    height, width, channels = x.shape
    padded = np.zeros((rows.stop - rows.start + 3, width + 2, channels), np.float32)
    top, bottom = max(rows.start - 1, 0), min(rows.stop + 1, height)
    start = top - rows.start + 1
    padded[start : start + bottom - top, 1 : width + 1] = x[top:bottom]
    return padded, width


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
        widths = self.head(self.hidden(state), self.slope * np.float32(quality))
        return np.ascontiguousarray(widths.T.astype(np.uint8) >> CLASS_SHIFT)


@dataclass(frozen=True)
class PriorLevel:
    """A level of the prior, and what its codewords look like to the levels after it.

    `magnitudes` and `values` hold one uint8 / int8 array `[codebooks, words, dim]` a part.
    """

    scale: int
    phases: Sequence[PriorPhase]
    magnitudes: Sequence[NDArray[np.uint8]]
    values: Sequence[NDArray[np.int8]]

    @property
    def parts(self) -> list[int]:
        """The number of codebooks of each part."""
        return [len(part) for part in self.magnitudes]

    @property
    def channels(self) -> int:
        """The number of values at a position."""
        return sum(len(part) * part.shape[-1] for part in self.magnitudes)


# Called with a level's number, the phase and its classes, uint8 [codebooks, N] a part; returns the
# indices of the phase's N positions.
CodePhase = Callable[[int, int, Parts], Parts]


class PriorNetwork:
    """The whole prior: walks through the levels, coarse to fine."""

    def __init__(self, levels: Sequence[PriorLevel], upsample: Layer) -> None:
        self.levels = levels
        self.upsample = upsample
        coarse = sum(level.scale == 0 for level in levels)
        # The numbers of the levels of the 1/64 grid, and of the 1/8 grid.
        self.coarse, self.fine = range(coarse), range(coarse, len(levels))

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        phases: Sequence[Sequence[int]],
    ) -> PriorNetwork:
        """Build it from a weights file's arrays; `phases[scale]` counts those of each level.

        Raises ModelError if an array is missing.
        """
        counts = [(scale, count) for scale, levels in enumerate(phases) for count in levels]
        try:
            levels = [
                _level(arrays, number, scale, count) for number, (scale, count) in enumerate(counts)
            ]
            return cls(levels, _layer(arrays, "prior.upsample"))
        except KeyError as error:
            raise ModelError(f"the weights file has no array {error}") from error

    def walk(self, quality: int, height: int, width: int, code: CodePhase) -> Indices:
        """Visit every phase in order and return all indices, `[level][part]` of `[codebooks, N]`.

        `height` and `width` are those of the coarsest grid. `code` is told the classes of a phase
        and returns its indices: the encoder chooses them, the decoder reads them.
        """
        features = self.start(quality, height, width)
        coarse, features = self.walk_levels(self.coarse, features, quality, code)
        features = self.finer(features, coarse, quality)
        return coarse + self.walk_levels(self.fine, features, quality, code)[0]

    def start(self, quality: int, height: int, width: int) -> Grid:
        """Return the features that the coarsest grid begins with."""
        planes = _quality_planes(quality)
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
                level = self.levels[number]
                # Room for what its indices look like, where anything is coded after them.
                last = number == self.fine[-1] and len(level.phases) == 1
                features = _entered(level, features, 0 if last else level.channels)
                result.append(_walk_level(number, level, features, quality, code))
            return result, features

    def finer(self, features: Grid, indices: Indices, quality: int) -> Grid:
        """Return the features of the next grid, eight times finer.

        `features` and `indices` are what :meth:`walk_levels` of the coarse one returned.
        """
        known = [features]
        levels = self.levels[: len(self.coarse)]
        looked_up = [level.magnitudes for level in levels[:-1]] + [x.values for x in levels]
        for tables, own in zip(looked_up, indices[:-1] + indices, strict=True):
            known.append(_look_up(tables, own).reshape(*features.shape[:2], -1))
        columns = np.concatenate(known, -1).astype(np.float32)
        with one_blas_thread:
            fine = self.upsample(columns).astype(np.uint8)
        height, width, channels = fine.shape
        fine = fine.reshape(height, width, channels // BLOCK**2, BLOCK, BLOCK)
        fine = fine.transpose(0, 3, 1, 4, 2).reshape(height * BLOCK, width * BLOCK, -1)
        spread = self.start(quality, *fine.shape[:2]).astype(np.uint8)
        return np.concatenate([spread, fine], -1)


def _entered(level: PriorLevel, features: Grid, seen: int) -> Grid:
    """Return the state of a level's first phase, and `seen` zeros for what it looks like."""
    height, width = features.shape[:2]
    step = max(1, STRIP // width)
    update = level.phases[0].update
    entered = update.bias.shape[0]
    known = np.zeros((height, width, entered + seen), np.uint8)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        known[rows, :, :entered] = update.rows(features, rows)
    return known


def _walk_level(
    number: int, level: PriorLevel, known: Grid, quality: int, code: CodePhase
) -> Parts:
    """Return the indices of a level, and enter what they look like into what is `known`."""
    height, width = known.shape[:2]
    count, entered = height * width, level.phases[0].update.bias.shape[0]
    columns = known.reshape(count, -1)
    bounds = np.cumsum(level.parts)
    indices: Parts = []
    for phase, prior in enumerate(level.phases):
        positions = phase_positions(len(level.phases), phase, height, width)
        strips = [slice(start, start + STRIP) for start in range(0, len(positions), STRIP)]
        classes = np.empty((bounds[-1], len(positions)), np.uint8)
        for part in strips:
            if phase == 0:
                state = columns[positions[part], :entered].astype(np.float32)
            else:
                state = prior.update.at(known, positions[part])
            classes[:, part] = prior.classes(state, quality)
        chosen = code(number, phase, np.split(classes, bounds[:-1]))
        for part in strips if known.shape[-1] > entered else ():
            own = [each[:, part] for each in chosen]
            columns[positions[part], entered:] = _look_up(level.magnitudes, own)
        if len(level.phases) == 1:
            indices = chosen
        else:
            indices = indices or [np.zeros((own, count), np.uint8) for own in level.parts]
            for whole, each in zip(indices, chosen, strict=True):
                whole[:, positions] = each
    return indices


def _look_up(tables: Sequence[NDArray[Any]], indices: Sequence[NDArray[np.uint8]]) -> Grid:
    """Return table entries of all codebooks of a level, `[N, channels]`."""
    parts = [
        table[np.arange(len(table))[:, None], index].transpose(1, 0, 2).reshape(index.shape[1], -1)
        for table, index in zip(tables, indices, strict=True)
    ]
    return np.concatenate(parts, -1)


def _quality_planes(quality: int) -> Activations:
    """Return the three hat functions over quality 1..100, integers 0..127."""
    position = 2 * (quality - 1)  # in units of 1/99
    hats = [max(0, 99 - abs(position - 99 * knot)) for knot in range(3)]
    return np.array([(hat * ACTIVATION_MAX * 2 + 99) // 198 for hat in hats], np.float32)


def _layer(arrays: Mapping[str, NDArray[Any]], name: str) -> Layer:
    return Layer(
        arrays[f"{name}.weight"].astype(np.float32), arrays[f"{name}.bias"].astype(np.float32)
    )


def _level(arrays: Mapping[str, NDArray[Any]], number: int, scale: int, phases: int) -> PriorLevel:
    name = f"prior.{number}"
    parts = sum(key.startswith(f"{name}.magnitudes.") for key in arrays)
    return PriorLevel(
        scale=scale,
        phases=[_phase(arrays, f"{name}.{phase}") for phase in range(phases)],
        magnitudes=[arrays[f"{name}.magnitudes.{part}"] for part in range(parts)],
        values=[arrays[f"{name}.values.{part}"] for part in range(parts)],
    )


def _phase(arrays: Mapping[str, NDArray[Any]], name: str) -> PriorPhase:
    return PriorPhase(
        update=_layer(arrays, f"{name}.update"),
        hidden=_layer(arrays, f"{name}.hidden"),
        head=_layer(arrays, f"{name}.head"),
        slope=arrays[f"{name}.slope"].astype(np.float32),
    )
