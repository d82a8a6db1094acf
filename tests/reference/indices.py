"""Stream -> indices, in 64-bit integers: "From the stream to indices"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .arrays import Array
from .stream import Symbols, cumulative_frequencies

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


class Prior:
    """The integers of a weights file."""

    def __init__(self, arrays: Mapping[str, Array], phases: Sequence[Sequence[int]]) -> None:
        self._arrays, self._phases = arrays, phases
        self._tables = [
            [cumulative_frequencies(counts) for counts in groups(arrays, f"tables.{number}")]
            for number in range(sum(map(len, phases)))
        ]

    def indices(self, symbols: Symbols, quality: int, height: int, width: int) -> list[list[Array]]:
        """Return the indices of a picture of so many pixels, as `Reference.indices` does."""
        height, width = -(-height // 64), -(-width // 64)
        hats = [max(0, 99 - abs(2 * (quality - 1) - 99 * knot)) for knot in range(3)]
        planes = [(127 * 2 * hat + 99) // 198 for hat in hats]
        state = features = np.broadcast_to(planes, (height, width, 3))
        result: list[list[Array]] = []
        magnitudes: list[Array] = []
        values: list[Array] = []
        for scale, levels in enumerate(self._phases):
            if scale:
                known = np.concatenate([state, magnitudes[-1], *magnitudes[:-1], *values], -1)
                fine = self._layer("prior.upsample", known).reshape(height, width, -1, 8, 8)
                height, width = 8 * height, 8 * width
                fine = fine.transpose(0, 3, 1, 4, 2).reshape(height, width, -1)
                spread = np.broadcast_to(planes, (height, width, 3))
                features = np.concatenate([spread, fine], -1)
            for phases in levels:
                indices, state, magnitude, value = self._level(
                    len(result), phases, features, quality, symbols
                )
                features = np.concatenate([state, magnitude], -1)
                result.append(indices)
                magnitudes.append(magnitude)
                values.append(value)
        return result

    def _level(
        self, number: int, phases: int, features: Array, quality: int, symbols: Symbols
    ) -> tuple[list[Array], Array, Array, Array]:
        """Return a level's indices, the state of its first phase, its magnitudes and values."""
        height, width = features.shape[:2]
        tables = self._tables[number]
        indices = [np.zeros((len(table), height, width), int) for table in tables]
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
            books = [table for group in tables for table in group]
            chosen = [index for group in indices for index in group]
            for codebook, (table, index) in enumerate(zip(books, chosen, strict=True)):
                for class_ in np.unique(classes[coded, codebook]):
                    here = coded & (classes[..., codebook] == class_)
                    index[here] = symbols.read(table[class_].tolist(), int(here.sum()))
            known |= coded
            magnitude = self._planes(f"prior.{number}.magnitudes", indices, known)
            features = np.concatenate([state, magnitude], -1)
        value = self._planes(f"prior.{number}.values", indices, known)
        flat = [group.reshape(len(group), -1) for group in indices]
        return flat, state, magnitude, value

    def _planes(self, name: str, indices: list[Array], known: Array) -> Array:
        """Return the rows that indices select, side by side; 0 where nothing is known yet."""
        planes = [
            rows[index] * known[..., None]
            for tables, group in zip(groups(self._arrays, name), indices, strict=True)
            for rows, index in zip(tables, group, strict=True)
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
