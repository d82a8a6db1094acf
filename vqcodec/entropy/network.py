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

from vqcodec.errors import ModelError

ACTIVATION_MAX = 127
SHIFT = 9  # weights are multiples of 2^-9
CLASSES = 32
CLASS_SHIFT = 2  # a class spans four activation values
BLOCK = 8  # one step between the two grids

Indices = list[list[NDArray[np.uint8]]]
Activations = NDArray[np.float32]


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
        """Map `[H, W, inputs]` to rounded, clamped activations `[H, W, outputs]`."""
        total: Activations = (
            _convolve(x, self.weight) if len(self.weight) == 9 else x @ self.weight[0]
        )
        total += self.bias + (offset + 2 ** (SHIFT - 1))
        total *= 2.0**-SHIFT
        np.floor(total, out=total)
        np.clip(total, 0, ACTIVATION_MAX, out=total)
        return total


def _convolve(x: Activations, weight: Activations) -> Activations:
    """Return the 3x3 convolution, zero padded: plain matrix products of shifted views."""
    height, width, channels = x.shape
    padded = np.zeros((height + 3, width + 2, channels), np.float32)
    padded[1 : height + 1, 1 : width + 1] = x
    flat = padded.reshape(-1, channels)
    count = height * (width + 2)
    total = flat[:count] @ weight[0]
    for tap in range(1, 9):
        start = (tap // 3) * (width + 2) + tap % 3
        total += flat[start : start + count] @ weight[tap]
    return np.ascontiguousarray(total.reshape(height, width + 2, -1)[:, :width])


@dataclass(frozen=True)
class PriorLevel:
    """A level of the prior, and what its codewords look like to the levels after it.

    `magnitudes` and `values` hold one uint8 / int8 array `[codebooks, words, dim]` a part.
    """

    scale: int
    update: Layer
    hidden: Layer
    head: Layer
    slope: Activations
    magnitudes: Sequence[NDArray[np.uint8]]
    values: Sequence[NDArray[np.int8]]

    def __post_init__(self) -> None:
        # At any quality the slope adds to the head's bias: together, too, they must stay exact.
        Layer(self.head.weight, np.abs(self.head.bias) + 100 * np.abs(self.slope))

    @property
    def parts(self) -> list[int]:
        """The number of codebooks of each part."""
        return [len(part) for part in self.magnitudes]


# Called with a level's number and its classes, uint8 [codebooks, H*W] a part; returns the indices.
CodeLevel = Callable[[int, list[NDArray[np.uint8]]], list[NDArray[np.uint8]]]


class PriorNetwork:
    """The whole prior: walks through the levels, coarse to fine."""

    def __init__(self, levels: Sequence[PriorLevel], upsample: Layer) -> None:
        self.levels = levels
        self.upsample = upsample

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], scales: Sequence[int]) -> PriorNetwork:
        """Build it from a weights file's arrays; `scales` gives the scale of each level.

        Raises ModelError if an array is missing.
        """
        try:
            levels = [_level(arrays, number, scale) for number, scale in enumerate(scales)]
            return cls(levels, _layer(arrays, "prior.upsample"))
        except KeyError as error:
            raise ModelError(f"the weights file has no array {error}") from error

    def walk(self, quality: int, height: int, width: int, code: CodeLevel) -> Indices:
        """Visit every level in order and return all indices, `[level][part]` of `[codebooks, N]`.

        `height` and `width` are those of the coarsest grid. `code` is told the classes of a level
        and returns its indices: the encoder chooses them, the decoder reads them.
        """
        planes = _quality_planes(quality)
        features = np.broadcast_to(planes, (height, width, len(planes)))
        magnitudes: list[Activations] = []
        values: list[Activations] = []
        scale, result = 0, []
        for number, level in enumerate(self.levels):
            if level.scale != scale:
                scale = level.scale
                known = [features, *magnitudes[:-1], *values]
                features = self._finer(np.concatenate(known, -1), planes)
            state = level.update(np.ascontiguousarray(features, np.float32))
            offset = level.slope * np.float32(quality)
            widths = level.head(level.hidden(state), offset)
            classes = widths.astype(np.uint8).reshape(-1, widths.shape[-1]).T >> CLASS_SHIFT
            bounds = np.cumsum(level.parts)[:-1]
            indices = code(number, np.split(np.ascontiguousarray(classes), bounds))
            result.append(indices)
            grid = state.shape[:2]
            magnitudes.append(_look_up(level.magnitudes, indices, grid))
            features = np.concatenate([state, magnitudes[-1]], -1)
            if scale == 0:
                values.append(_look_up(level.values, indices, grid))
        return result

    def _finer(self, x: Activations, planes: Activations) -> Activations:
        """Return the features of the next grid, eight times finer."""
        fine = self.upsample(x)
        height, width, channels = fine.shape
        fine = fine.reshape(height, width, channels // BLOCK**2, BLOCK, BLOCK)
        fine = fine.transpose(0, 3, 1, 4, 2).reshape(height * BLOCK, width * BLOCK, -1)
        spread = np.broadcast_to(planes, (*fine.shape[:2], len(planes)))
        return np.concatenate([spread, fine], -1)


def _look_up(
    tables: Sequence[NDArray[Any]], indices: Sequence[NDArray[np.uint8]], grid: tuple[int, int]
) -> Activations:
    """Return table entries of all codebooks of a level, float32 `[H, W, channels]`."""
    parts = [
        table[np.arange(len(table))[:, None], index].transpose(1, 0, 2).reshape(*grid, -1)
        for table, index in zip(tables, indices, strict=True)
    ]
    return np.concatenate(parts, -1).astype(np.float32)


def _quality_planes(quality: int) -> Activations:
    """Return the three hat functions over quality 1..100, integers 0..127."""
    position = 2 * (quality - 1)  # in units of 1/99
    hats = [max(0, 99 - abs(position - 99 * knot)) for knot in range(3)]
    return np.array([(hat * ACTIVATION_MAX * 2 + 99) // 198 for hat in hats], np.float32)


def _layer(arrays: Mapping[str, NDArray[Any]], name: str) -> Layer:
    return Layer(
        arrays[f"{name}.weight"].astype(np.float32), arrays[f"{name}.bias"].astype(np.float32)
    )


def _level(arrays: Mapping[str, NDArray[Any]], number: int, scale: int) -> PriorLevel:
    name = f"prior.{number}"
    parts = sum(key.startswith(f"{name}.magnitudes.") for key in arrays)
    return PriorLevel(
        scale=scale,
        update=_layer(arrays, f"{name}.update"),
        hidden=_layer(arrays, f"{name}.hidden"),
        head=_layer(arrays, f"{name}.head"),
        slope=arrays[f"{name}.slope"].astype(np.float32),
        magnitudes=[arrays[f"{name}.magnitudes.{part}"] for part in range(parts)],
        values=[arrays[f"{name}.values.{part}"] for part in range(parts)],
    )
