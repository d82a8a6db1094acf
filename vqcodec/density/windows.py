"""Windows: the part of each grid of the ladder that the terms of a tile of the image follow from.

A scale spoils what lies within its reach of a window's edge, so its window is wider by that than
what the next finer scale is to be told. The margins of the fine scales, where the work is, are
narrow, and those of the coarse ones wide: an exact tile of 1024x1024 pixels costs a third more than
one that knows nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

# Cells a side that share a random generator.
_NOISE_BLOCK = 64


@dataclass(frozen=True)
class Window:
    """Some rows and columns of a grid, from `top` and `left` up to before `bottom` and `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def finer(self, factor: int) -> Window:
        """Return the window on a grid of `factor` times as many rows and columns."""
        return Window(*(factor * edge for edge in (self.top, self.bottom, self.left, self.right)))

    def coarser(self, factor: int) -> Window:
        """Return the cells of `factor` x `factor` that cover this window."""
        return Window(
            self.top // factor, -(-self.bottom // factor),
            self.left // factor, -(-self.right // factor),
        )  # fmt: skip

    def wider(self, margin: int) -> Window:
        """Return the window with a margin on every side, which may be beyond the grid."""
        return Window(
            self.top - margin, self.bottom + margin, self.left - margin, self.right + margin
        )

    def within(self, other: Window) -> Window:
        """Return what both windows have in common."""
        return Window(
            max(self.top, other.top), min(self.bottom, other.bottom),
            max(self.left, other.left), min(self.right, other.right),
        )  # fmt: skip

    def cut(self, planes: Tensor, whole: Window) -> Tensor:
        """Return this part of planes `[..., h, w]` that cover the window `whole`."""
        rows = slice(self.top - whole.top, self.bottom - whole.top)
        columns = slice(self.left - whole.left, self.right - whole.left)
        return planes[..., rows, columns]


def windows(tile: Window, image: Window, reaches: Sequence[int]) -> list[tuple[Window, Window]]:
    """Return what each scale works on and what of it is right, on the scale's grid, coarse to fine.

    `tile` is a part of the `image`, in pixels; `reaches` are those of the scales, coarse to fine,
    in cells of their own grids. At the image's own border nothing needs a margin.
    """
    found: list[tuple[Window, Window]] = []
    grid = image.coarser(1 << len(reaches)).finer(1 << len(reaches))
    asked = tile
    for reach in reversed(reaches):
        right, grid = asked.coarser(2), grid.coarser(2)
        # Even edges, so that the next coarser grid can tell about all of it.
        asked = right.wider(reach).coarser(2).finer(2).within(grid)
        found.insert(0, (asked, right))
    return found


def tiles(height: int, width: int, side: int) -> Iterator[Window]:
    """Yield the tiles, at most `side` x `side`, of an image of `height` x `width`."""
    image = Window(0, height, 0, width)
    for top, left in product(range(0, height, side), range(0, width, side)):
        yield Window(top, top + side, left, left + side).within(image)


class PositionNoise:
    """Standard normal noise that is a function of layer and position, whatever window asks.

    Every `seed`, a few whole numbers, has noise of its own.
    """

    def __init__(self, *seed: int) -> None:
        self.seed = seed

    def __call__(self, layer: int, channels: int, window: Window) -> Tensor:
        """Return the noise of a layer, float32 `[1, channels, h, w]`."""
        blocks = window.coarser(_NOISE_BLOCK)
        whole = blocks.finer(_NOISE_BLOCK)
        noise = np.empty((channels, *whole.shape), np.float32)
        for row, column in np.ndindex(*blocks.shape):
            key = (*self.seed, layer, blocks.top + row, blocks.left + column)
            block = np.random.default_rng(key).standard_normal(
                (channels, _NOISE_BLOCK, _NOISE_BLOCK), np.float32
            )
            top, left = row * _NOISE_BLOCK, column * _NOISE_BLOCK
            noise[:, top : top + _NOISE_BLOCK, left : left + _NOISE_BLOCK] = block
        return window.cut(torch.from_numpy(noise), whole)[None]
