"""Indices -> pixels, in float32: "From indices to pixels". Planes are `[rows, columns, C]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Array
from .indices import positions


class Network:
    """The network of a weights file at one quality."""

    def __init__(
        self, arrays: Mapping[str, Array], config: Mapping[str, Any], quality: int
    ) -> None:
        self._arrays, self._config = arrays, config
        self._weights = np.maximum(0, 1 - abs((quality - 1) / 99 * 8 - np.arange(9)))

    def picture(self, indices: Sequence[Sequence[Array]], height: int, width: int) -> Array:
        """Return the RGB picture of `height` x `width` pixels, uint8 `[height, width, 3]`."""
        grid = -(-height // 64), -(-width // 64)
        t = np.zeros((*grid, 192), np.float32)
        coarse, fine = self._config["phases"]
        for level, phases in enumerate(coarse):
            t = self._level(f"levels.0.{level}", phases, t, indices[level])
        means = self._synthesis("synthesis.0", t)
        t = np.concatenate([means, np.zeros((*means.shape[:2], 189), np.float32)], -1)
        t = t + self._branch("expand", t)
        for level, phases in enumerate(fine):
            t = self._level(f"levels.1.{level}", phases, t, indices[len(coarse) + level])
            if level in (1, 3):
                x = self._synthesis("synthesis.1", t)
                change = self._picture_block(f"sharpen.{level // 2}", x, t)
                t = t + self._analysis("analysis.1", change)
        for block in range(self._config["synthesis_blocks"]):
            t = t + self._branch(f"decoder.{block}", t)
        x = self._synthesis("synthesis.1", t)
        x = (x + self._picture_block("finish", x, t)) / 4 + 0.5
        return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)[:height, :width]

    # a level

    def _level(self, name: str, phases: int, t: Array, indices: Sequence[Array]) -> Array:
        height, width = t.shape[:2]
        chosen = self._codewords(f"{name}.quantizer.parts", indices).reshape(height, width, -1)
        for phase in range(phases):
            coded = positions(phases, phase, height, width)
            t = t.copy()
            t[coded] += chosen[coded] / self._gain(name, t[coded]) @ self._array(f"{name}.put").T
            change = self._branch(f"{name}.refine.{phase}", t)
            if phase + 1 < phases:
                change[~positions(phases, phase + 1, height, width)] = 0
            t = t + change
        return t

    def _codewords(self, name: str, indices: Sequence[Array]) -> Array:
        """Return what indices select, side by side, `[positions, C]`."""
        selected = [
            codewords[index]
            for number, group in enumerate(indices)
            for codewords, index in zip(self._array(f"{name}.{number}.words"), group, strict=True)
        ]
        return np.concatenate(selected, -1)

    def _gain(self, name: str, t: Array) -> Array:
        theory = np.exp(self._weights @ self._array(f"{name}.log_step_gain"))
        activity = np.log1p(abs(theory * t))
        limit = self._config["gain_range"]
        following = limit * np.tanh(self._linear(f"{name}.adapt", activity) / limit)
        result: Array = np.exp(self._table(f"{name}.log_gain") + following)
        return result

    # blocks

    def _branch(self, name: str, t: Array) -> Array:
        gain = np.exp(self._table(f"{name}.log_gain"))
        seen = self._array(f"{name}.mix.weight").shape[1]
        hidden = self._convolution(f"{name}.mix", (t * gain)[..., :seen])
        hidden = self._activated(hidden, f"{name}.scale", f"{name}.shift")
        return self._linear(f"{name}.out", hidden) / gain

    def _picture_block(self, name: str, x: Array, t: Array) -> Array:
        gain = np.exp(self._table(f"{name}.log_gain"))
        seen = _spread(self._linear(f"{name}.spread", t * gain), 4)
        hidden = self._convolution(f"{name}.enter", np.dstack([_gathered(x * gain, 2), seen]))
        hidden = self._activated(hidden, f"{name}.scale.0", f"{name}.shift.0")
        for number in (1, 2):
            mixed = self._convolution(f"{name}.mix.{number - 1}", hidden)
            tables = f"{name}.scale.{number}", f"{name}.shift.{number}"
            hidden = hidden + self._activated(mixed, *tables)
        return _spread(self._convolution(f"{name}.out", hidden) / gain, 2)

    def _activated(self, hidden: Array, scale: str, shift: str) -> Array:
        hidden = hidden * (1 + self._table(scale)) + self._table(shift)
        power = np.square(hidden).mean(-1, keepdims=True)
        hidden = hidden * (1 + power / 4) ** -0.25
        return np.maximum(hidden, 0.1 * hidden)

    # transforms

    def _synthesis(self, name: str, t: Array) -> Array:
        return self._filtered(_spread(t @ self._array(f"{name}.basis").T, 8), name)

    def _analysis(self, name: str, x: Array) -> Array:
        result: Array = _gathered(self._filtered(x, name), 8) @ self._array(f"{name}.basis").T
        return result

    def _filtered(self, x: Array, name: str) -> Array:
        """Apply the boundary filter along rows, then along columns."""
        matrix = self._array(f"{name}.boundary")
        for _ in range(2):
            x = x.transpose(1, 0, 2).copy()
            for start in range(4, len(x) - 8, 8):
                x[start : start + 8] = np.einsum("ij,jck->ick", matrix, x[start : start + 8])
        return x

    # arrays

    def _array(self, name: str) -> Array:
        return self._arrays[f"network.{name}"]

    def _table(self, name: str) -> Array:
        result: Array = (self._weights @ self._array(f"{name}.table")).astype(np.float32)
        return result

    def _linear(self, name: str, planes: Array) -> Array:
        weight = self._array(f"{name}.weight")[:, :, 0, 0]
        result: Array = planes @ weight.T + self._array(f"{name}.bias")
        return result

    def _convolution(self, name: str, planes: Array) -> Array:
        weight, (height, width) = self._array(f"{name}.weight"), planes.shape[:2]
        padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
        total = self._array(f"{name}.bias")
        for row in range(3):
            for column in range(3):
                seen = padded[row : row + height, column : column + width]
                total = total + seen @ weight[:, :, row, column].T
        return total


def _spread(planes: Array, side: int) -> Array:
    """Turn channel `side^2 c + side i + j` into channel c at row i, column j of a position."""
    height, width = planes.shape[:2]
    cells = planes.reshape(height, width, -1, side, side).transpose(0, 3, 1, 4, 2)
    result: Array = cells.reshape(height * side, width * side, -1)
    return result


def _gathered(planes: Array, side: int) -> Array:
    """Undo `_spread`."""
    height, width = planes.shape[0] // side, planes.shape[1] // side
    cells = planes.reshape(height, side, width, side, -1).transpose(0, 2, 4, 1, 3)
    result: Array = cells.reshape(height, width, -1)
    return result
