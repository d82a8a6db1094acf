"""Stream -> indices, in 64-bit integers: "From the stream to indices"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .arrays import Array
from .config import Config
from .stream import Segments, Symbols, cumulative_frequencies

SIDE, ONE_TILE = 64, 25600
BLOCK, FEWEST = 2048, 256
FLAGS = cumulative_frequencies(np.array([2**24 - 2**19, 2**19]))
_CELLS = {
    1: [[(0, 0), (0, 1), (1, 0), (1, 1)]],
    2: [[(0, 0), (1, 1)], [(0, 1), (1, 0)]],
    3: [[(0, 0)], [(1, 1)], [(0, 1), (1, 0)]],
}


def positions(phases: int, phase: int, height: int, width: int) -> Array:
    """Return which positions of a grid a phase holds, bool `[height, width]`."""
    mask = np.zeros((height, width), bool)
    for row, column in _CELLS[phases][phase]:
        mask[row::2, column::2] = True
    return mask


def groups(arrays: Mapping[str, Array], name: str) -> list[Array]:
    """Return `name.0`, `name.1`, ... as far as there are any."""
    result: list[Array] = []
    while f"{name}.{len(result)}" in arrays:
        result.append(arrays[f"{name}.{len(result)}"])
    return result


def _silent(symbols: Symbols, quiet: Array, coded: Array) -> Array:
    """Read the flags of a table; return which symbols `[codebooks, height, width]` they spare."""
    spared = np.zeros_like(quiet)
    blocks = []
    for book in range(len(quiet)):
        row, column = np.nonzero(coded)
        for start in range(0, len(row), BLOCK):
            block = book, row[start : start + BLOCK], column[start : start + BLOCK]
            if quiet[block].sum() >= FEWEST:
                blocks.append(block)
    for block, flag in zip(blocks, symbols.read(FLAGS.tolist(), len(blocks)), strict=True):
        spared[block] = quiet[block] & (flag == 0)
    return spared


class Prior:
    """The integers of a weights file."""

    def __init__(self, arrays: Mapping[str, Array], config: Config) -> None:
        self._arrays, self._config = arrays, config
        self._tables = [
            [cumulative_frequencies(counts) for counts in groups(arrays, f"tables.{number}")]
            for number in range(len(config.groups))
        ]
        self._quiet = [
            [counts[..., 0] >= 2**24 - 2**13 for counts in groups(arrays, f"tables.{number}")]
            for number in range(len(config.groups))
        ]

    def indices(
        self, segments: Segments, quality: int, height: int, width: int
    ) -> list[list[Array]]:
        """Return the indices of a picture of so many pixels, as `Reference.indices` does."""
        strides = self._config.strides
        height, width = (-(-side // math.prod(strides)) for side in (height, width))
        times = math.prod(strides[:-1])
        in_tiles = times * height * times * width > ONE_TILE
        symbols = segments.next() if in_tiles else segments.only()
        hats = [max(0, 99 - abs(2 * (quality - 1) - 99 * knot)) for knot in range(3)]
        planes = [(127 * 2 * hat + 99) // 198 for hat in hats]
        features = np.broadcast_to(planes, (height, width, 3))
        result: list[list[Array]] = []
        for grid, levels in enumerate(self._config.phases):
            if grid:
                stride, levels_above = strides[grid - 1], len(self._config.phases[grid - 1])
                known = self._known(features, levels_above, result)
                fine = self._layer(f"prior.upsample.{grid - 1}", known)
                fine = fine.reshape(height, width, -1, stride, stride).transpose(0, 3, 1, 4, 2)
                height, width = stride * height, stride * width
                spread = np.broadcast_to(planes, (height, width, 3))
                features = np.concatenate([spread, fine.reshape(height, width, -1)], -1)
            if in_tiles and levels is self._config.phases[-1]:
                result += self._in_tiles(len(result), levels, features, quality, segments)
                break
            for phases in levels:
                indices, features = self._level(len(result), phases, features, quality, symbols)
                result.append(indices)
        return [[group.reshape(len(group), -1) for group in level] for level in result]

    def _in_tiles(
        self, first: int, levels: Sequence[int], features: Array, quality: int, segments: Segments
    ) -> list[list[Array]]:
        """Return the indices of the finest grid, whose first level is `first`."""
        height, width = features.shape[:2]
        corners = [(y, x) for y in range(0, height, SIDE) for x in range(0, width, SIDE)]
        tiles = {(y, x): features[y : y + SIDE, x : x + SIDE] for y, x in corners}
        result = []
        for number, phases in enumerate(levels, first):
            counts = [count for _, _, count in self._config.groups[number]]
            whole = [np.zeros((count, height, width), int) for count in counts]
            for y, x in corners:
                symbols = segments.next()
                found, tiles[y, x] = self._level(number, phases, tiles[y, x], quality, symbols)
                for group, indices in zip(whole, found, strict=True):
                    group[:, y : y + SIDE, x : x + SIDE] = indices
            result.append(whole)
        segments.end()
        return result

    def _known(self, features: Array, count: int, levels: Sequence[Sequence[Array]]) -> Array:
        """Return features, magnitudes of the last `count` levels but one, and values of all."""
        whole, numbers = np.ones(features.shape[:2], bool), range(len(levels))[-count:]
        looked_up = [(f"prior.{number}.magnitudes", number) for number in numbers[:-1]]
        looked_up += [(f"prior.{number}.values", number) for number in numbers]
        planes = [self._planes(name, levels[number], whole) for name, number in looked_up]
        return np.concatenate([features, *planes], -1)

    def _level(
        self, number: int, phases: int, features: Array, quality: int, symbols: Symbols
    ) -> tuple[list[Array], Array]:
        """Return a level's indices, `[codebooks, height, width]`, and the features after it."""
        height, width = features.shape[:2]
        tables = self._tables[number]
        counts = [count for _, _, count in self._config.groups[number]]
        indices = [np.zeros((count, height, width), int) for count in counts]
        known = np.zeros((height, width), bool)
        state = np.zeros(0)
        for phase in range(phases):
            name = f"prior.{number}.{phase}"
            updated = self._layer(f"{name}.update", features)
            if phase == 0:
                state = updated
            hidden = self._layer(f"{name}.hidden", updated)
            offset = self._arrays[f"{name}.slope"] * quality
            classes = self._layer(f"{name}.head", hidden, offset) >> 1
            coded = positions(phases, phase, height, width)
            planes = np.moveaxis(classes, -1, 0)
            for group, quiet, index in zip(tables, self._quiet[number], indices, strict=True):
                own, planes = planes[: len(index)], planes[len(index) :]
                shape = len(group), -1, height, width  # by the table that codebooks share
                rows = zip(group, quiet, index.reshape(shape), own.reshape(shape), strict=True)
                for table, hushed, chosen, class_of in rows:
                    there = coded & ~_silent(symbols, hushed[class_of], coded)
                    for class_ in np.unique(class_of[there]):
                        here = there & (class_of == class_)
                        chosen[here] = symbols.read(table[class_].tolist(), int(here.sum()))
            known |= coded
            magnitude = self._planes(f"prior.{number}.magnitudes", indices, known)
            features = np.concatenate([state, magnitude], -1)
        return indices, features

    def _planes(self, name: str, indices: Sequence[Array], known: Array) -> Array:
        """Return the rows that indices select, side by side; 0 where nothing is known yet."""
        planes = [
            tables[codebook % len(tables), index] * known[..., None]
            for tables, group in zip(groups(self._arrays, name), indices, strict=True)
            for codebook, index in enumerate(group)
        ]
        return np.concatenate(planes, -1)

    def _layer(self, name: str, planes: Array, offset: Array | int = 0) -> Array:
        weight, bias = self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]
        height, width = planes.shape[:2]
        if len(weight) == 1:
            total = planes @ weight[0]
        else:
            padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
            total = sum(
                padded[tap // 3 :][:height, tap % 3 :][:, :width] @ weight[tap] for tap in range(9)
            )
        activations: Array = np.clip((total + bias + offset + 256) >> 9, 0, 127)
        return activations
