"""Layers of integers, exact on every machine.

Activations are integers from 0 to 127 and weights int16; both are held in float32 only to use its
fast matrix product, which is exact because every partial sum is an integer below 2^24 (checked when
the weights are loaded).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.errors import ModelError

ACTIVATION_MAX = 127
SHIFT = 9  # weights are multiples of 2^-9

Activations = NDArray[np.float32]
# A grid of activations `[H, W, channels]` at rest; values of codewords may be int8 or float32.
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

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> Layer:
        """Build the layer of that name from a weights file's arrays; KeyError if it has none."""
        weight, bias = (arrays[f"{name}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        return cls(weight, bias)

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
