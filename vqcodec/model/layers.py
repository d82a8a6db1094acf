"""Small layers shared by analysis and synthesis: quality-conditioned gains and residual blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.lapped import BLOCK

QUALITIES = 100
KNOTS = 9
SPREAD = 16  # channels that a picture's block sees of the state
MIXES = 2  # layers between its first and its last
STRIP = 16  # rows of the state that it works on at once

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
    `[B, channels, 1, 1]`.
    """

    def __init__(self, init: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(init.clone())

    def forward(self, weights: Tensor) -> Tensor:
        return (weights @ self.table)[:, :, None, None]


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
    """Residual block that works in units of the quantisation step.

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
        self.out = Conv2d(hidden, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return `x` with the branch added; both `[B, C, H, W]`."""
        return x + self.branch(x, weights)

    def branch(self, x: Tensor, weights: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return what the block adds to `x`, or of that the columns at `positions` `[N]` alone."""
        gain: Tensor = self.log_gain(weights).exp()
        seen = self.mix.in_channels
        hidden: Tensor = self.mix(x[:, :seen] * gain[:, :seen])
        if positions is not None:
            hidden = select(hidden, positions)
        hidden = activated(hidden, self.scale(weights), self.shift(weights))
        change: Tensor = self.out(hidden) / gain
        return change


class PixelBlock(nn.Module):
    """Residual block on a picture, at half its resolution, in units of the quantisation step.

    On the 1/8 grid an edge looks different at each of its 64 places in a block; here it does not.
    """

    def __init__(self, planes: int, channels: int, hidden: int, log_gain: Tensor) -> None:
        """The block sees a picture of `planes` and the state behind it, of `channels`."""
        super().__init__()
        self.log_gain = QualityTable(log_gain[:, None])
        self.spread = Conv2d(channels, SPREAD * (BLOCK // 2) ** 2, 1)
        self.enter = Conv2d(4 * planes + SPREAD, hidden, 3, padding=1)
        self.mix = module_list(Conv2d(hidden, hidden, 3, padding=1) for _ in range(MIXES))
        self.out = Conv2d(hidden, 4 * planes, 3, padding=1)
        self.scale, self.shift = (
            module_list(QualityTable(torch.zeros(KNOTS, hidden)) for _ in range(1 + MIXES))
            for _ in range(2)
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, weights: Tensor) -> Tensor:
        """Return what the block adds to `x`, `[B, planes, H, W]`; `t` is `[B, C, H/8, W/8]`."""
        if self.training:
            return self._change(x, t, weights)
        # In strips, which need little memory. Four convolutions reach no further than a position.
        strips = []
        for start in range(0, t.shape[2], STRIP):
            first, stop = max(start - 1, 0), start + STRIP
            wide = slice(BLOCK * first, BLOCK * (stop + 1))
            change = self._change(x[:, :, wide], t[:, :, first : stop + 1], weights)
            own = slice(BLOCK * (start - first), BLOCK * (stop - first))
            strips.append(change[:, :, own])
        return torch.cat(strips, 2)

    def _change(self, x: Tensor, t: Tensor, weights: Tensor) -> Tensor:
        gain: Tensor = self.log_gain(weights).exp()
        state = functional.pixel_shuffle(self.spread(t * gain), BLOCK // 2)
        picture = functional.pixel_unshuffle(x * gain, 2).to(state.dtype)
        hidden = torch.cat([picture, state], 1).contiguous(memory_format=torch.channels_last)
        hidden = self._activated(0, self.enter(hidden), weights)
        for number, mix in enumerate(self.mix, 1):
            hidden = hidden + self._activated(number, mix(hidden), weights)
        change: Tensor = functional.pixel_shuffle(self.out(hidden) / gain, 2)
        return change

    def _activated(self, number: int, hidden: Tensor, weights: Tensor) -> Tensor:
        return activated(hidden, self.scale[number](weights), self.shift[number](weights))


def activated(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return an activation that grows like the square root of a large input."""
    hidden = torch.addcmul(shift, hidden, 1 + scale)
    power = hidden.square().mean(dim=1, keepdim=True)
    # pow takes three times as long as two roots.
    return functional.leaky_relu_(hidden * (1 + power / 4).rsqrt().sqrt(), 0.1)


def select(x: Tensor, positions: Tensor) -> Tensor:
    """Return the columns of `[B, C, H, W]` at raster positions `[N]`, `[B, C, 1, N]`."""
    if len(positions) == x.shape[2] * x.shape[3]:
        return x
    columns = _columns(x).index_select(1, positions)
    return columns.transpose(1, 2)[:, :, None]


def add_at(x: Tensor, columns: Tensor, positions: Tensor) -> Tensor:
    """Return `x` with `columns`, as from :func:`select`, added at their positions."""
    if columns.shape == x.shape:
        return x + columns
    total = _columns(x).index_add(1, positions, columns[:, :, 0].transpose(1, 2))
    return torch.unflatten(total.transpose(1, 2), 2, x.shape[2:])


def _columns(x: Tensor) -> Tensor:
    """Return `[B, C, H, W]` as `[B, H*W, C]`, a view if the memory format is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
