"""Indices -> pixels, in float32: "From indices to pixels". Planes are `[rows, columns, C]`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from . import transforms
from .arrays import Array
from .config import Config
from .indices import positions
from .transforms import gathered, spread


def noise(seed: int, height: int, width: int) -> Array:
    """Return the noise of a picture, float32 `[height, width]`."""
    rows, columns = np.arange(height, dtype=np.uint64), np.arange(width, dtype=np.uint64)
    mixed = _mixed(
        _mixed(rows[:, None] * 0x9E3779B1 % 2**32 ^ np.uint64(seed))
        ^ (columns * 0x85EBCA6B % 2**32)
    )
    total = sum((mixed >> shift) & 255 for shift in (0, 8, 16, 24))
    return ((np.asarray(total, np.float64) - 510) / 148).astype(np.float32)


def _mixed(h: Array) -> Array:
    h = h ^ h >> 16
    h = h * 0x7FEB352D % 2**32
    h = h ^ h >> 15
    h = h * 0x846CA68B % 2**32
    result: Array = h ^ h >> 16
    return result


class Network:
    """The network of a weights file at one quality."""

    def __init__(self, arrays: Mapping[str, Array], config: Config, quality: int) -> None:
        self._arrays, self._config = arrays, config
        self._finest = len(config.strides) - 1
        self._weights = np.maximum(0, 1 - abs((quality - 1) / 99 * 8 - np.arange(9)))

    def picture(
        self,
        indices: Sequence[Sequence[Array]],
        height: int,
        width: int,
        seed: int | None = None,
    ) -> Array:
        """Return the RGB picture of `height` x `width` pixels, uint8 `[height, width, 3]`.

        With the seed of its noise, it is the natural look.
        """
        config = self._config
        rows, columns = (-(-side // math.prod(config.strides)) for side in (height, width))
        t = np.zeros((rows, columns, 3 * config.strides[0] ** 2), np.float32)
        number = 0
        sharpened = [level for level in config.picture_after if level < len(config.phases[-1])]
        for grid, levels in enumerate(config.phases):
            if grid:
                means = self._synthesis(grid - 1, t)
                rest = 3 * config.strides[grid] ** 2 - 3
                t = np.dstack([means, np.zeros((*means.shape[:2], rest), np.float32)])
                t = t + self._branch(f"expand.{grid - 1}", t)
            for level, phases in enumerate(levels):
                t = self._level(f"levels.{number}", phases, t, indices[number])
                number += 1
                if grid == self._finest and level in sharpened:
                    t = t + self._sharpened(sharpened.index(level), t)
        for block in range(config.synthesis_blocks):
            t = t + self._branch(f"decoder.{block}", t)
        x = self._synthesis(self._finest, t)
        x = x + self._picture_block("finish", x, t)
        if seed is not None:
            x = x + self._picture_block("natural", x, t, noise(seed, *x.shape[:2]))
        return np.rint(np.clip(x / 4 + 0.5, 0, 1) * 255).astype(np.uint8)[:height, :width]

    def _sharpened(self, block: int, t: Array) -> Array:
        """Return what a block on the picture that t stands for changes of t."""
        change = self._picture_block(f"sharpen.{block}", self._synthesis(self._finest, t), t)
        name, kind = f"analysis.{self._finest}", self._config.transforms[-1]
        basis, boundary = self._array(f"{name}.basis"), self._boundary(name)
        return transforms.analysis(kind, change, self._config.strides[-1], basis, boundary)

    # a level

    def _level(self, name: str, phases: int, t: Array, indices: Sequence[Array]) -> Array:
        height, width = t.shape[:2]
        chosen = self._codewords(f"{name}.quantizer.groups", indices).reshape(height, width, -1)
        for phase in range(phases):
            coded = positions(phases, phase, height, width)
            t = t.copy()
            added = chosen[coded] / self._gain(name, t[coded])
            t[coded] += added @ self._array(f"{name}.unproject").T
            change = self._branch(f"{name}.refine.{phase}", t)
            if phase + 1 < phases:
                change[~positions(phases, phase + 1, height, width)] = 0
            t = t + change
        return t

    def _codewords(self, name: str, indices: Sequence[Array]) -> Array:
        """Return what indices select, side by side, `[positions, C]`."""
        selected = []
        for number, group in enumerate(indices):
            codewords = self._array(f"{name}.{number}.codewords")
            selected += [codewords[book % len(codewords), i] for book, i in enumerate(group)]
        return np.concatenate(selected, -1)

    def _gain(self, name: str, t: Array) -> Array:
        theory = np.exp(self._weights @ self._array(f"{name}.log_step_gain"))
        activity = np.log1p(abs(theory * t))
        limit = self._config.gain_range
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

    def _picture_block(self, name: str, x: Array, t: Array, drawn: Array | None = None) -> Array:
        gain = np.exp(self._table(f"{name}.log_gain"))
        stride = self._config.strides[-1]
        seen = spread(self._linear(f"{name}.spread", t * gain), stride // 2)
        hidden = self._convolution(f"{name}.enter", np.dstack([gathered(x * gain, 2), seen]))
        hidden = self._activated(hidden, f"{name}.scale.0", f"{name}.shift.0")
        layer = 0
        while f"network.{name}.mix.{layer}.weight" in self._arrays:
            mixed = self._convolution(f"{name}.mix.{layer}", hidden)
            layer += 1
            tables = f"{name}.scale.{layer}", f"{name}.shift.{layer}"
            hidden = hidden + self._activated(mixed, *tables)
        change = self._convolution(f"{name}.out", hidden)
        if drawn is not None:
            grain = self._convolution(f"{name}.grain", gathered(drawn[..., None], 2))
            change = change + self._convolution(f"{name}.strength", hidden) * grain
        return spread(change / gain, 2)

    def _activated(self, hidden: Array, scale: str, shift: str) -> Array:
        hidden = hidden * (1 + self._table(scale)) + self._table(shift)
        if self._config.activation == "relu":
            return np.maximum(hidden, 0)
        power = np.square(hidden).mean(-1, keepdims=True)
        hidden = hidden * (1 + power / 4) ** -0.25
        return np.maximum(hidden, 0.1 * hidden)

    # transforms

    def _synthesis(self, grid: int, t: Array) -> Array:
        name, kind = f"synthesis.{grid}", self._config.transforms[grid]
        basis, boundary = self._array(f"{name}.basis"), self._boundary(name)
        return transforms.synthesis(kind, t, self._config.strides[grid], basis, boundary)

    def _boundary(self, name: str) -> Array | None:
        return self._arrays.get(f"network.{name}.boundary")

    # arrays

    def _array(self, name: str) -> Array:
        return self._arrays[f"network.{name}"]

    def _table(self, name: str) -> Array:
        result: Array = (self._weights @ self._array(f"{name}.table")).astype(np.float32)
        return result

    def _linear(self, name: str, planes: Array) -> Array:
        bias = self._array(f"{name}.bias")
        weight = self._array(f"{name}.weight").reshape(len(bias), -1)
        result: Array = planes @ weight.T + bias
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
