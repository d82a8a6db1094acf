"""Layers shared by encoder and decoder: quality-conditioned tables, activations, grids and columns.

Features and states are grids `[B, C, H, W]`, channels last in memory; some of their positions, or
all, are columns `[B, N, C]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.config import KNOTS, QUALITIES

M = TypeVar("M")
Activation = Callable[[Tensor], Tensor]


def module_list(modules: Iterable[M]) -> Sequence[M]:
    """Return an `nn.ModuleList` as the typed sequence that it is."""
    return cast("Sequence[M]", nn.ModuleList(cast("Iterable[nn.Module]", modules)))


class Conv2d(nn.Conv2d):
    """A convolution that is known to have a bias."""

    bias: Tensor


class QualityTable(nn.Module):
    """A vector per channel that varies piecewise linearly with quality.

    `forward` maps the hat-function weights `[B, KNOTS]` of :func:`quality_weights` to
    `[B, channels]` and `on_columns` to `[B, 1, channels]`.
    """

    def __init__(self, init: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(init.clone())

    def forward(self, quality_weights: Tensor) -> Tensor:
        return quality_weights @ self.table

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


def rooted(hidden: Tensor) -> Tensor:
    """Return an activation `[B, C, H, W]` that grows like the square root of a large input."""
    power = hidden.square().mean(dim=1, keepdim=True)
    # pow takes three times as long as two roots.
    return functional.leaky_relu_(hidden * (1 + power / 4).rsqrt().sqrt(), 0.1)


ACTIVATIONS: dict[str, Activation] = {"rooted": rooted, "relu": functional.relu_}


def scaled_conv(
    conv: Conv2d,
    x: Tensor,
    before: Tensor | None = None,
    after: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Return `conv(x * before) * after + shift`, all of which are `[B, channels]`.

    At one quality they become part of the convolution's weights, which costs nothing on a wide map.
    """
    if len(x) == 1:
        weight, bias = conv.weight, conv.bias
        if before is not None:
            weight = weight * before[0, :, None, None]
        if after is not None:
            weight, bias = weight * after[0, :, None, None, None], bias * after[0]
        if shift is not None:
            bias = bias + shift[0]
        if weight.shape[2] == 1:
            return linear(x, weight[:, :, 0, 0], bias)
        return functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    y: Tensor = conv(x if before is None else x * before[:, :, None, None])
    y = y if after is None else y * after.to(y.dtype)[:, :, None, None]
    return y if shift is None else y + shift.to(y.dtype)[:, :, None, None]


def columns_of(x: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return columns `[B, N, C]` of a grid: at raster positions `[N]`, or all, a view then."""
    columns = x.permute(0, 2, 3, 1).flatten(1, 2)
    if positions is None or len(positions) == columns.shape[1]:
        return columns
    return columns.index_select(1, positions)


def as_grid(columns: Tensor, height: int, width: int) -> Tensor:
    """Return the columns of all positions as a grid, a view; undoes :func:`columns_of`."""
    return torch.unflatten(columns.transpose(1, 2), 2, (height, width))


def blocks_of(x: Tensor, side: int) -> Tensor:
    """Return the blocks of planes `[B, planes, H, W]` as a grid, `[B, planes * side^2, h, w]`.

    Channels run plane by plane, row by row, column by column, as those of `pixel_unshuffle`.
    """
    blocks = torch.unflatten(torch.unflatten(x, 3, (-1, side)), 2, (-1, side))
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).permute(0, 3, 1, 2)


def planes_of(blocks: Tensor, side: int) -> Tensor:
    """Return the planes that blocks are of, each whole in memory; undoes :func:`blocks_of`."""
    parts = torch.unflatten(blocks.permute(0, 2, 3, 1), 3, (-1, side, side))
    return parts.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a linear map of every position of a grid; `weight` is `[channels, inputs]`."""
    return functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def add_at(x: Tensor, columns: Tensor, positions: Tensor) -> Tensor:
    """Return a grid with `columns` added at their positions, `[N]` in raster order.

    In inference mode the grid itself is changed, where its channels are last in memory: to copy a
    wide one takes longer than to add.
    """
    everywhere = columns_of(x)
    # To ask for the mode would cut the graph that torch.compile makes of training in pieces.
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        total = everywhere.index_add_(1, positions, columns)
    elif columns.shape[1] == everywhere.shape[1]:
        total = everywhere + columns
    else:
        total = everywhere.index_add(1, positions, columns)
    return as_grid(total, *x.shape[2:])
