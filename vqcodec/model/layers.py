"""Layers shared by encoder and decoder: quality-conditioned tables and residual blocks.

Features and states are grids `[B, C, H, W]`, channels last in memory; some of their positions, or
all, are columns `[B, N, C]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

QUALITIES = 100
KNOTS = 9
SPREAD = 16  # channels that a picture's block sees of the state
MIXES = 2  # layers between its first and its last
STRIP = 16  # rows of the state that it works on at once
PIXELS_REACHED = 2 * (MIXES + 2)  # by its convolutions, at half the resolution

M = TypeVar("M")


def module_list(modules: Iterable[M]) -> Sequence[M]:
    """Return an `nn.ModuleList` as the typed sequence that it is."""
    return cast("Sequence[M]", nn.ModuleList(cast("Iterable[nn.Module]", modules)))


class Conv2d(nn.Conv2d):
    """A convolution that is known to have a bias."""

    bias: Tensor


class QualityTable(nn.Module):
    """A vector per channel that varies piecewise linearly with quality.

    `forward` maps the hat-function weights `[B, KNOTS]` of :func:`quality_weights` to
    `[B, channels]`, `on_grid` to `[B, channels, 1, 1]` and `on_columns` to `[B, 1, channels]`.
    """

    def __init__(self, init: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(init.clone())

    def forward(self, quality_weights: Tensor) -> Tensor:
        return quality_weights @ self.table

    def on_grid(self, quality_weights: Tensor) -> Tensor:
        return (quality_weights @ self.table)[:, :, None, None]

    def on_columns(self, quality_weights: Tensor) -> Tensor:
        return (quality_weights @ self.table)[:, None]


def quality_weights(quality: Tensor) -> Tensor:
    """Return the interpolation weights `[B, KNOTS]` of qualities 1..100, given as `[B]`."""
    position = (quality.float() - 1) / (QUALITIES - 1) * (KNOTS - 1)
    knots = torch.arange(KNOTS, device=quality.device)
    return (1 - (position[:, None] - knots).abs()).clamp(min=0)


def log_step_gain(lmbda_min: float, lmbda_max: float) -> Tensor:
    """Return the natural log of the gain that high-rate theory gives at each knot, `[KNOTS]`.

    Minimising R + lmbda * 255^2 * MSE with a uniform step D on unit-norm coefficients of an
    image scaled to [-2, 2] gives 1/D = 12.5 * sqrt(lmbda).
    """
    log_lmbda = torch.linspace(math.log(lmbda_min), math.log(lmbda_max), KNOTS)
    return math.log(12.5) + 0.5 * log_lmbda


class Block(nn.Module):
    """Residual block that works in units of the quantisation step, and looks one position away.

    Its branch grows like the square root of a large input, so that the closed loop of encoder and
    decoder stays a contraction on images unlike the training set.
    """

    def __init__(
        self, channels: int, hidden: int, log_gain: Tensor, inputs: int | None = None
    ) -> None:
        """The branch sees the first `inputs` of the channels, or all, and changes all."""
        super().__init__()
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.scale = QualityTable(torch.zeros(KNOTS, hidden))
        self.shift = QualityTable(torch.zeros(KNOTS, hidden))
        self.mix = Conv2d(inputs or channels, hidden, 3, padding=1)
        self.out = nn.Linear(hidden, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, quality_weights: Tensor) -> Tensor:
        """Return `x` with the branch added; both `[B, C, H, W]`."""
        return x + as_grid(self.branch(x, quality_weights), *x.shape[2:])

    def branch(self, x: Tensor, quality_weights: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the columns that the block adds to `x`, those at `positions` `[N]` or all."""
        gain: Tensor = self.log_gain(quality_weights).exp()
        seen = self.mix.in_channels
        hidden = columns_of(self.mix(x[:, :seen] * gain[:, :seen, None, None]), positions)
        scale, shift = (table.on_columns(quality_weights) for table in (self.scale, self.shift))
        hidden = activated(hidden, scale, shift, dim=2)
        change: Tensor = self.out(hidden) / gain[:, None]
        return change


class PictureBlock(nn.Module):
    """Residual block on a picture, at half its resolution, in units of the quantisation step.

    On a grid of positions an edge looks different at each of its places in a position; here it does
    not.
    """

    def __init__(
        self, planes: int, channels: int, stride: int, hidden: int, log_gain: Tensor
    ) -> None:
        """The block sees a picture of `planes` and the state behind it, of `channels`."""
        super().__init__()
        self.stride = stride  # pixels of a position
        self.log_gain = QualityTable(log_gain[:, None])
        self.spread = Conv2d(channels, SPREAD * (stride // 2) ** 2, 1)
        self.enter = Conv2d(4 * planes + SPREAD, hidden, 3, padding=1)
        self.mix = module_list(Conv2d(hidden, hidden, 3, padding=1) for _ in range(MIXES))
        self.out = Conv2d(hidden, 4 * planes, 3, padding=1)
        self.scale, self.shift = (
            module_list(QualityTable(torch.zeros(KNOTS, hidden)) for _ in range(1 + MIXES))
            for _ in range(2)
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        """Return what the block adds to `x` `[B, planes, H, W]`; `t` is the state behind it."""
        if self.training:
            return self._change(x, t, quality_weights)
        # In strips, which need little memory, and a margin of what the convolutions reach.
        strips, margin = [], -(-PIXELS_REACHED // self.stride)
        for start in range(0, t.shape[2], STRIP):
            first, stop = max(start - margin, 0), start + STRIP
            rows = slice(first, stop + margin)
            pixels = slice(self.stride * first, self.stride * rows.stop)
            change = self._change(x[:, :, pixels], t[:, :, rows], quality_weights)
            inner = slice(self.stride * (start - first), self.stride * (stop - first))
            strips.append(change[:, :, inner])
        return torch.cat(strips, 2)

    def _change(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        gain = self.log_gain.on_grid(quality_weights).exp()
        state = functional.pixel_shuffle(self.spread(t * gain), self.stride // 2)
        picture = functional.pixel_unshuffle(x * gain, 2).to(state.dtype)
        hidden = torch.cat([picture, state], 1).contiguous(memory_format=torch.channels_last)
        hidden = self._activated(0, self.enter(hidden), quality_weights)
        for number, mix in enumerate(self.mix, 1):
            hidden = hidden + self._activated(number, mix(hidden), quality_weights)
        change: Tensor = functional.pixel_shuffle(self.out(hidden) / gain, 2)
        return change

    def _activated(self, number: int, hidden: Tensor, quality_weights: Tensor) -> Tensor:
        tables = self.scale[number], self.shift[number]
        scale, shift = (table.on_grid(quality_weights) for table in tables)
        return activated(hidden, scale, shift, dim=1)


def activated(hidden: Tensor, scale: Tensor, shift: Tensor, dim: int) -> Tensor:
    """Return an activation that grows like the square root of a large input; `dim` is channels'."""
    hidden = torch.addcmul(shift, hidden, 1 + scale)
    power = hidden.square().mean(dim=dim, keepdim=True)
    # pow takes three times as long as two roots.
    return functional.leaky_relu_(hidden * (1 + power / 4).rsqrt().sqrt(), 0.1)


def columns_of(x: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return columns `[B, N, C]` of a grid: at raster positions `[N]`, or all, a view then."""
    columns = x.permute(0, 2, 3, 1).flatten(1, 2)
    if positions is None or len(positions) == columns.shape[1]:
        return columns
    return columns.index_select(1, positions)


def as_grid(columns: Tensor, height: int, width: int) -> Tensor:
    """Return the columns of all positions as a grid, a view; undoes :func:`columns_of`."""
    return torch.unflatten(columns.transpose(1, 2), 2, (height, width))


def add_at(x: Tensor, columns: Tensor, positions: Tensor) -> Tensor:
    """Return a grid with `columns` added at their positions, `[N]` in raster order."""
    everywhere = columns_of(x)
    if columns.shape[1] == everywhere.shape[1]:
        total = everywhere + columns
    else:
        total = everywhere.index_add(1, positions, columns)
    return as_grid(total, *x.shape[2:])
