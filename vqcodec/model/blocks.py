"""Residual blocks, of a state on its grid and of the picture, in units of the quantisation step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.config import KNOTS, PLANES, Config
from vqcodec.model.layers import (
    ACTIVATIONS,
    Conv2d,
    QualityTable,
    as_grid,
    columns_of,
    folded,
    folds,
    log_step_gain,
    module_list,
)

SPREAD = 16  # channels that a block on the picture sees of the state
STRIP = 16  # rows of the state that it works on at once


class Block(nn.Module):
    """Residual block that works in units of the quantisation step, and looks one position away.

    Its branch grows like the square root of a large input, so that the closed loop of encoder and
    decoder stays a contraction on images unlike the training set.
    """

    def __init__(self, config: Config, scale: int, hidden: int, inputs: int | None = None) -> None:
        """The branch sees the first `inputs` of a scale's channels, or all, and changes all."""
        super().__init__()
        channels = config.state_channels(scale)
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        self.activation = ACTIVATIONS[config.activation]
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.scale = QualityTable(torch.zeros(KNOTS, hidden))
        self.shift = QualityTable(torch.zeros(KNOTS, hidden))
        self.mix = Conv2d(min(inputs or channels, channels), hidden, 3, padding=1)
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
        if folds(self.activation, quality_weights):
            scale, shift = self.scale(quality_weights), self.shift(quality_weights)
            grid = folded(self.mix, x[:, :seen], gain[:, :seen], scale, shift)
            weight, bias = self.out.weight / gain.T, self.out.bias / gain[0]
            return functional.linear(columns_of(grid, positions), weight, bias)
        hidden = columns_of(self.mix(x[:, :seen] * gain[:, :seen, None, None]), positions)
        scale, shift = (table.on_columns(quality_weights) for table in (self.scale, self.shift))
        hidden = self.activation(hidden, scale, shift, 2)
        change: Tensor = self.out(hidden) / gain[:, None]
        return change


class PictureBlock(nn.Module):
    """Residual block on a picture, at half its resolution, in units of the quantisation step.

    On a grid of positions an edge looks different at each of its places in a position; here it does
    not.
    """

    def __init__(self, config: Config, hidden: int) -> None:
        """The block sees a picture and the state of the finest scale behind it."""
        super().__init__()
        self.stride, layers = config.strides[-1], config.picture_layers
        self.margin = -(-config.pixels_reached // self.stride)  # positions
        channels = config.state_channels(len(config.strides) - 1)
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        self.activation = ACTIVATIONS[config.activation]
        self.log_gain = QualityTable(log_gain[:, None])
        self.spread = Conv2d(channels, SPREAD * (self.stride // 2) ** 2, 1)
        self.enter = Conv2d(4 * PLANES + SPREAD, hidden, 3, padding=1)
        self.mix = module_list(Conv2d(hidden, hidden, 3, padding=1) for _ in range(layers))
        self.out = Conv2d(hidden, 4 * PLANES, 3, padding=1)
        self.scale, self.shift = (
            module_list(QualityTable(torch.zeros(KNOTS, hidden)) for _ in range(1 + layers))
            for _ in range(2)
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        """Return what the block adds to `x` `[B, planes, H, W]`; `t` is the state behind it."""
        if self.training:
            return self._change(x, t, quality_weights)
        # In strips, which need little memory, and a margin of what the convolutions reach.
        strips, margin = [], self.margin
        for start in range(0, t.shape[2], STRIP):
            first, stop = max(start - margin, 0), start + STRIP
            rows = slice(first, stop + margin)
            pixels = slice(self.stride * first, self.stride * rows.stop)
            change = self._change(x[:, :, pixels], t[:, :, rows], quality_weights)
            inner = slice(self.stride * (start - first), self.stride * (stop - first))
            strips.append(change[:, :, inner])
        return torch.cat(strips, 2)

    def _change(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        if folds(self.activation, quality_weights):
            return self._folded_change(x, t, quality_weights)
        gain = self.log_gain.on_grid(quality_weights).exp()
        state = functional.pixel_shuffle(self.spread(t * gain), self.stride // 2)
        picture = functional.pixel_unshuffle(x * gain, 2).to(state.dtype)
        hidden = torch.cat([picture, state], 1).contiguous(memory_format=torch.channels_last)
        hidden = self._activated(0, self.enter(hidden), quality_weights)
        for number, mix in enumerate(self.mix, 1):
            hidden = hidden + self._activated(number, mix(hidden), quality_weights)
        change: Tensor = functional.pixel_shuffle(self.out(hidden) / gain, 2)
        return change

    def _folded_change(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        """Do the same at one quality, where gains cost nothing on the picture."""
        gain = self.log_gain(quality_weights).exp()
        spread = functional.conv2d(t, self.spread.weight * gain, self.spread.bias)
        state = functional.pixel_shuffle(spread, self.stride // 2)
        picture = functional.pixel_unshuffle(x, 2).to(state.dtype)
        hidden = torch.cat([picture, state], 1).contiguous(memory_format=torch.channels_last)
        gains = torch.cat([gain.expand(1, picture.shape[1]), gain.new_ones(1, state.shape[1])], 1)
        for number, conv in enumerate((self.enter, *self.mix)):
            scale, shift = self.scale[number](quality_weights), self.shift[number](quality_weights)
            if number:
                hidden = hidden + folded(conv, hidden, None, scale, shift)
            else:
                hidden = folded(conv, hidden, gains, scale, shift)
        weight, bias = self.out.weight / gain, self.out.bias / gain[0]
        return functional.pixel_shuffle(functional.conv2d(hidden, weight, bias, padding=1), 2)

    def _activated(self, number: int, hidden: Tensor, quality_weights: Tensor) -> Tensor:
        tables = self.scale[number], self.shift[number]
        scale, shift = (table.on_grid(quality_weights) for table in tables)
        return self.activation(hidden, scale, shift, 1)
