"""The prior over code indices: the scale of each symbol's distribution, given what is decoded.

This is the training view, in floating point, of a network that runs on integers when files are
coded (`vqcodec.entropy.prior`): activations are multiples of 1/16 from 0 to 127/16, weights
multiples of 1/512. It sees only decoded codewords, never the synthesis state. For each symbol it
gives log_scale, a position on a logarithmic axis; integer classes of it select rows of the shipped
frequency tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.entropy.levels import CLASS_SHIFT
from vqcodec.model.config import QUALITIES, Config
from vqcodec.model.layers import Conv2d, add_at, module_list

ACTIVATION_MAX = 127
ACTIVATION_UNIT = 1 / 16
WEIGHT_UNIT = 1 / 512
UPSAMPLED = 16  # channels handed from one scale to the next
QUALITY_CHANNELS = 3

_TOP = ACTIVATION_MAX * ACTIVATION_UNIT

# Called with a scale, a level of it, a phase and log_scale `[B, symbols, H, W]`; returns the raster
# positions of the phase, `[N]`, and the codewords that are decoded there, `[B, N, C]`.
Choose = Callable[[int, int, int, Tensor], tuple[Tensor, Tensor]]


def relu(x: Tensor) -> Tensor:
    """Return `x` clamped to what an integer activation can hold."""
    return x.clamp(0, _TOP)


def magnitude(z_q: Tensor) -> Tensor:
    """Return the logarithmic magnitude that the prior sees of decoded values."""
    return relu(torch.log2(1 + z_q.abs()))


def quality_channels(quality: Tensor) -> Tensor:
    """Return constant planes `[B, QUALITY_CHANNELS, 1, 1]` that tell `quality`, `[B]`."""
    position = (quality.float() - 1) / (QUALITIES - 1) * (QUALITY_CHANNELS - 1)
    knots = torch.arange(QUALITY_CHANNELS, device=quality.device)
    return (1 - (position[:, None] - knots).abs()).clamp(min=0)[:, :, None, None] * _TOP


@dataclass(frozen=True)
class PriorState:
    """What the prior knows before a level is decoded: its features, and all values of the scale."""

    features: Tensor
    seen: tuple[Tensor, ...] = ()


class PriorPhase(nn.Module):
    """The part of the prior for one phase of a level: features -> state -> log_scale."""

    def __init__(self, inputs: int, width: int, head: int, symbols: int) -> None:
        super().__init__()
        self.update = Conv2d(inputs, width, 3, padding=1)
        self.hidden = Conv2d(width, head, 1)
        self.head = Conv2d(head, symbols, 1)
        nn.init.zeros_(self.head.weight)
        self.slope = nn.Parameter(torch.zeros(symbols))

    def forward(self, features: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden state and log_scale `[B, symbols, H, W]`, 0..127/16."""
        state = relu(self.update(features))
        log_scale = self.head(relu(self.hidden(state))).float()
        slope = self.slope[:, None, None] * (quality.float() / QUALITIES)[:, None, None, None]
        return state, relu(log_scale + slope)


class Prior(nn.Module):
    """The prior of all levels, the coarsest first.

    One hidden state runs through the levels of a scale, which a level's first phase updates; its
    other phases see what is decoded of the level beside that state. Between scales the state is
    brought to the finer grid.
    """

    def __init__(self, config: Config, symbols: Sequence[int]) -> None:
        """`symbols` counts those of each level's quantizer."""
        super().__init__()
        width, head = config.prior_width, config.prior_head
        levels = []
        for scale, numbers in enumerate(config.scales):
            inputs = QUALITY_CHANNELS + (UPSAMPLED if scale else 0)
            sizes = zip(numbers, config.channels[scale], config.phases[scale], strict=True)
            for number, values, phases in sizes:
                seen = width + values
                levels.append(
                    module_list(
                        PriorPhase(seen if phase else inputs, width, head, symbols[number])
                        for phase in range(phases)
                    )
                )
                inputs = seen
        self.levels = module_list(levels)
        self.scales, self.strides = config.scales, config.strides
        self.values = [count for counts in config.channels for count in counts]
        self.upsample = module_list(
            Conv2d(width + 2 * sum(values), UPSAMPLED * stride**2, 1)
            for values, stride in zip(config.channels[:-1], config.strides, strict=False)
        )

    def walk(self, quality: Tensor, height: int, width: int, choose: Choose) -> None:
        """Go through all phases, coarse to fine; the coarsest grid is `height` x `width`."""
        state = self._start(quality, height, width)
        for scale, numbers in enumerate(self.scales):
            if scale:
                state = self._refine(state, quality, scale)
            for number in numbers:
                state = self._level(state, quality, scale, number, choose)

    def _level(
        self, state: PriorState, quality: Tensor, scale: int, number: int, choose: Choose
    ) -> PriorState:
        features = state.features
        known: list[Tensor] = []
        z_q = features.new_zeros(len(features), self.values[number], *features.shape[2:])
        for index, phase in enumerate(self.levels[number]):
            hidden, log_scale = phase(features, quality)
            known = known or [hidden]
            positions, values = choose(scale, number, index, log_scale)
            z_q = add_at(z_q, values, positions)
            features = torch.cat([*known, magnitude(z_q)], 1)
        return PriorState(features, (*state.seen, z_q))

    def _start(self, quality: Tensor, height: int, width: int) -> PriorState:
        """Return the state before the coarsest level, whose grid is `height` x `width`."""
        planes = quality_channels(quality)
        return PriorState(planes.expand(*planes.shape[:2], height, width))

    def _refine(self, state: PriorState, quality: Tensor, scale: int) -> PriorState:
        """Return the state before the first level of `scale`, from that after the last one."""
        limit = ACTIVATION_MAX
        signed = [z_q.clamp(-limit, limit) * ACTIVATION_UNIT for z_q in state.seen]
        magnitudes = [magnitude(z_q) for z_q in state.seen[:-1]]
        fine = self.upsample[scale - 1](torch.cat([state.features, *magnitudes, *signed], 1))
        fine = relu(functional.pixel_shuffle(fine, self.strides[scale - 1]).float())
        planes = quality_channels(quality).expand(-1, -1, *fine.shape[2:])
        return PriorState(torch.cat([planes, fine], 1))


def class_centres(classes: Tensor) -> Tensor:
    """Return log_scale (0..127/16) in the middle of integer classes."""
    return ((classes * (1 << CLASS_SHIFT)) + ((1 << CLASS_SHIFT) - 1) / 2) * ACTIVATION_UNIT
