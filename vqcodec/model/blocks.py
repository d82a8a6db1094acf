"""Residual blocks, of a state on its grid and of the picture, in units of the quantisation step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.config import KNOTS, PLANES, SPREAD, Config, pixels_reached
from vqcodec.model.layers import (
    ACTIVATIONS,
    Conv2d,
    QualityTable,
    as_grid,
    columns_of,
    log_step_gain,
    module_list,
    planes_of,
    scaled_conv,
)

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
        change = self.branch(x, quality_weights).to(x.dtype)
        return as_grid(change.add_(columns_of(x)), *x.shape[2:])

    def branch(self, x: Tensor, quality_weights: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the columns that the block adds to `x`, those at `positions` `[N]` or all."""
        gain: Tensor = self.log_gain(quality_weights).exp()
        seen = self.mix.in_channels
        scale, shift = self.scale(quality_weights), self.shift(quality_weights)
        mixed = scaled_conv(self.mix, x[:, :seen], gain[:, :seen], 1 + scale, shift)
        hidden = columns_of(self.activation(mixed), positions)
        if len(gain) == 1:
            return functional.linear(hidden, self.out.weight / gain.T, self.out.bias / gain[0])
        change: Tensor = self.out(hidden) / gain[:, None]
        return change


class PictureBlock(nn.Module):
    """Residual block on a picture, at half its resolution, in units of the quantisation step.

    On a grid of positions an edge looks different at each of its places in a position; here it does
    not.
    """

    def __init__(self, config: Config, hidden: int, layers: int | None = None) -> None:
        """The block sees a picture and the state of the finest scale behind it.

        It has so many layers between its first and its last, or as many as the config says.
        """
        super().__init__()
        self.stride = config.strides[-1]
        layers = config.picture_layers if layers is None else layers
        self.margin = -(-pixels_reached(layers) // self.stride)  # positions
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

    def forward(self, x: Tensor, t: Tensor, quality_weights: Tensor, *halves: Tensor) -> Tensor:
        """Return what the block adds to `x` `[B, planes, H, W]`; `t` is the state behind it.

        `halves` are grids at half the resolution of `x` that a kind of block sees too.
        """
        if self.training:
            return self._change(x, t, quality_weights, *halves)
        # In strips, which need little memory, and a margin of what the convolutions reach.
        strips, margin = [], self.margin
        for start in range(0, t.shape[2], STRIP):
            first, stop = max(start - margin, 0), start + STRIP
            rows = slice(first, stop + margin)
            pixels = slice(self.stride * first, self.stride * rows.stop)
            seen = (half[:, :, pixels.start // 2 : pixels.stop // 2] for half in halves)
            change = self._change(x[:, :, pixels], t[:, :, rows], quality_weights, *seen)
            inner = slice(self.stride * (start - first), self.stride * (stop - first))
            strips.append(change[:, :, inner])
        return torch.cat(strips, 2)

    def _change(self, x: Tensor, t: Tensor, quality_weights: Tensor, *_: Tensor) -> Tensor:
        return self._out(self.out, self._hidden(x, t, quality_weights), quality_weights)

    def _hidden(self, x: Tensor, t: Tensor, quality_weights: Tensor) -> Tensor:
        """Return what the last convolution sees, at half the resolution of `x`."""
        gain: Tensor = self.log_gain(quality_weights).exp()
        spread = scaled_conv(self.spread, t, gain.expand(-1, t.shape[1]))
        state = functional.pixel_shuffle(spread, self.stride // 2)
        picture = functional.pixel_unshuffle(x, 2).to(state.dtype)
        # Joined with channels last, which they stay in: converting the whole takes twice as long.
        known = torch.cat([picture.contiguous(memory_format=torch.channels_last), state], 1)
        gains = [gain.expand(-1, picture.shape[1]), gain.new_ones(len(gain), state.shape[1])]
        hidden = self._activated(0, self.enter, known, quality_weights, torch.cat(gains, 1))
        for number, mix in enumerate(self.mix, 1):
            hidden = hidden + self._activated(number, mix, hidden, quality_weights)
        return hidden

    def _out(
        self, conv: Conv2d, hidden: Tensor, quality_weights: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """Return planes that a last convolution makes, of steps; `times` others at half size."""
        after = (-self.log_gain(quality_weights)).exp().expand(-1, conv.out_channels)
        change = scaled_conv(conv, hidden, after=after)
        return planes_of(change if times is None else change * times, 2)

    def _activated(
        self,
        number: int,
        conv: Conv2d,
        x: Tensor,
        quality_weights: Tensor,
        gain: Tensor | None = None,
    ) -> Tensor:
        scale, shift = (table[number](quality_weights) for table in (self.scale, self.shift))
        return self.activation(scaled_conv(conv, x, gain, 1 + scale, shift))
