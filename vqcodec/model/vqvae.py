"""The network: a hierarchical VQ-VAE over two scales, coded coarse to fine in a closed loop.

    image --lapped transform--> h[1] (1/8) --lapped transform of its means--> h[0] (1/64)

Each scale is coded in levels. A level quantises what the decoder's state t does not yet explain of
the encoder's features h, adds the codewords to t, and refines t:

    y = gain * take(h - t)      z_q = codeword(y)      t <- refine(t + put(z_q / gain))

so t always predicts the levels to come, and stopping early leaves a coarser picture. The levels
that hold most of the bits are coded in phases, interleaved sets of positions, so that the later
positions are predicted from their neighbours too. The gain follows the activity of t. Twice in the
loop and once after it a block works on the picture that t stands for, at half its resolution, and
one before it on the image. All the residual blocks start as the identity and the rest starts as an
exact lapped transform: before its first training step the network is a good transform codec. One
set of weights serves all qualities: gains and modulations are tables over quality.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcodec.model.config import CHANNELS, PLANES, Config
from vqcodec.model.lapped import LappedAnalysis, LappedSynthesis, opponent_matrix
from vqcodec.model.layers import (
    Block,
    PixelBlock,
    add_at,
    log_step_gain,
    module_list,
    quality_weights,
    select,
)
from vqcodec.model.level import Level
from vqcodec.model.prior import Prior, PriorPhase, PriorState, magnitude
from vqcodec.model.quantizer import WIDTH_OFFSET, WIDTH_SLOPE

# After these levels of the 1/8 grid the picture is sharpened: the state has shapes, no detail, and
# all but the finest of it.
SHARPENED = (1, 3)
PICTURE_REACH = 2  # positions that a block on the picture looks away


@dataclass(frozen=True)
class Output:
    """Of a batch: bits `[B]`, bits a phase `[B, phases]`, mse `[B]` on [0, 1], x_hat like x."""

    bits: Tensor
    phase_bits: Tensor
    mse: Tensor
    x_hat: Tensor


class VQVAE(nn.Module):
    """The codec's network. Images are float32 `[B, 3, H, W]` in [0, 1], H and W multiples of 64."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        to_come = itertools.count(sum(map(len, config.channels)) - 1, -1)
        groups = iter(config.groups or [None] * sum(map(len, config.channels)))
        sizes = zip(config.channels, config.phases, config.hidden, strict=True)

        def blocks(scale: int, count: int) -> Sequence[Block]:
            return module_list(
                Block(CHANNELS, config.hidden[scale][-1], log_gain) for _ in range(count)
            )

        sharpen, finish, *enhance = config.pixel_hidden
        mixes = (torch.eye(PLANES), opponent_matrix())
        self.analysis = module_list(LappedAnalysis(PLANES, mix) for mix in mixes)
        self.synthesis = module_list(LappedSynthesis(PLANES, mix) for mix in mixes)
        self.enhance = module_list(
            PixelBlock(PLANES, CHANNELS, width, log_gain) for width in enhance
        )
        self.encoder = module_list([blocks(0, 1), blocks(1, config.analysis_blocks)])
        self.expand = Block(CHANNELS, config.hidden[1][-1], log_gain, inputs=PLANES)
        self.decoder = blocks(1, config.synthesis_blocks)
        self.sharpen = module_list(
            PixelBlock(PLANES, CHANNELS, sharpen, log_gain)
            for fine in SHARPENED
            if fine < len(config.channels[-1])
        )
        self.finish = PixelBlock(PLANES, CHANNELS, finish, log_gain)
        self.levels = module_list(
            module_list(
                Level(config, next(to_come), size, next(groups))
                for size in zip(*scale, strict=True)
            )
            for scale in sizes
        )
        symbols = [[level.quantizer.symbols for level in scale] for scale in self.levels]
        self.prior = Prior(
            config.channels, config.phases, symbols, config.prior_width, config.prior_head
        )

    def all_levels(self) -> list[Level]:
        """Return the levels of all scales, coarse to fine."""
        return [level for scale in self.levels for level in scale]

    def analyse(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        """Return the features `[B, 192, H, W]` of each scale, typed like `x`, coarse to fine."""
        fine = self.fine_features(x, weights)
        return [self.coarse_features(fine[:, :PLANES], weights), fine]

    def fine_features(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the features of `x` on the 1/8 grid; the first three planes are means."""
        h = self.coefficients(x)
        for block in self.enhance:
            change = block(_centred(x), h, weights).to(x.dtype)
            with _float32(x):
                h = h + self.analysis[1](change)
        return self._encoded(1, h, weights)

    def coarse_features(self, means: Tensor, weights: Tensor) -> Tensor:
        """Return the features of the 1/8 grid's means on the 1/64 grid."""
        with _float32(means):
            h: Tensor = self.analysis[0](means)
        return self._encoded(0, h, weights)

    def _encoded(self, scale: int, h: Tensor, weights: Tensor) -> Tensor:
        features = h
        for block in self.encoder[scale]:
            features = block(features, weights)
        return features.to(h.dtype)

    def coefficients(self, x: Tensor) -> Tensor:
        """Return the transform that analysis of `x` begins with, `[B, 192, H/8, W/8]`."""
        with _float32(x):
            features: Tensor = self.analysis[-1](_centred(x))
        return features

    def means(self, t: Tensor) -> Tensor:
        """Return the means on the 1/8 grid `[B, 3, H/8, W/8]` that the 1/64 grid's state holds."""
        with _float32(t):
            means: Tensor = self.synthesis[0](t)
        return means

    def enter_fine(self, means: Tensor, weights: Tensor) -> Tensor:
        """Return the decoder's state before the first level on the 1/8 grid."""
        rest = means.new_zeros(means.shape[0], CHANNELS - PLANES, *means.shape[2:])
        t = torch.cat([means, rest], 1).contiguous(memory_format=torch.channels_last)
        fine: Tensor = self.expand(t, weights)
        return fine.to(weights.dtype)

    def refined(self, t: Tensor, weights: Tensor, number: int, phase: int) -> Tensor:
        """Return the state refined after a phase of level `number`, counted from the coarsest."""
        level = self.all_levels()[number]
        t = level.refined(t, weights, phase)
        fine = number - len(self.levels[0])
        if fine in SHARPENED and phase + 1 == len(level.refine):
            sharpen = self.sharpen[SHARPENED.index(fine)]
            change = sharpen(self._pixels(t, weights), t, weights)
            with _float32(t):
                t = t + self.analysis[1](change.to(weights.dtype))
        return t

    def reach(self, levels: range) -> int:
        """Return how many positions away what is to come looks: these of the levels, and synthesis.

        The levels are of the 1/8 grid. Every phase and every block passes on what is one position
        away.
        """
        refined = (self.all_levels()[number] for number in levels)
        return sum(len(level.refine) for level in refined) + len(self.decoder) + PICTURE_REACH

    def sharpen_reach(self, levels: range) -> int:
        """Return how many positions more it is with the blocks on the picture in between."""
        after = (len(self.levels[0]) + fine for fine in SHARPENED)
        return PICTURE_REACH * sum(number in levels for number in after)

    def synthesise(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the picture of the finest state, `[B, 3, H, W]`, unclamped."""
        t = self._decoded(t, weights)
        x = self._pixels(t, weights)
        change: Tensor = self.finish(x, t, weights)
        return (x + change.to(x.dtype)) / 4 + 0.5

    def sketch(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the picture of a state without what works on the picture, like `synthesise`."""
        return self._pixels(self._decoded(t, weights), weights) / 4 + 0.5

    def _decoded(self, t: Tensor, weights: Tensor) -> Tensor:
        for block in self.decoder:
            t = block(t, weights)
        return t

    def _pixels(self, t: Tensor, weights: Tensor) -> Tensor:
        with _float32(t):
            x: Tensor = self.synthesis[1](t.to(weights.dtype))
            return x

    def forward(self, x: Tensor, quality: Tensor) -> Output:
        """Code `x` at `quality` (float32 `[B]`, 1..100), as training sees it."""
        weights = quality_weights(quality)
        h = self.analyse(x, weights)
        t = torch.zeros_like(h[0])
        state = self.prior.start(quality, *h[0].shape[2:])
        priors = iter(enumerate(self.prior.levels))
        bits = []
        for scale, levels in enumerate(self.levels):
            if scale:
                t = self.enter_fine(self.means(t), weights)
                state = self.prior.refine(state, quality)
            for level in levels:
                number, phases = next(priors)
                features = state.features
                z_q = t.new_zeros(len(t), len(level.take), *t.shape[2:])
                known: list[Tensor] = []
                for phase, prior in enumerate(phases):
                    hidden, width = prior(features, quality)
                    known = known or [hidden]
                    positions = level.positions(phase, t)
                    if not len(positions):
                        t = self.refined(t, weights, number, phase).float()
                        bits.append(t.new_zeros(len(t)))
                        continue
                    with _float32(x):
                        columns = select(t, positions)
                        gain = level.gain(columns, weights)
                        y = gain * level.residual(select(h[scale], positions), columns)
                        cost = level.error_cost(weights)
                        values, phase_bits = level.quantizer(y, cost, select(width, positions))
                        t = level.add(t, values / gain, positions)
                    t = self.refined(t, weights, number, phase).float()
                    z_q = add_at(z_q, values.detach(), positions)
                    features = torch.cat([*known, magnitude(z_q)], 1)
                    bits.append(phase_bits)
                state = PriorState(features, (*state.seen, z_q))
        x_hat = self.synthesise(t, weights)
        mse = (x - x_hat).square().mean(dim=(1, 2, 3))
        phase_bits = torch.stack(bits, dim=1)
        return Output(phase_bits.sum(1), phase_bits.detach(), mse, x_hat)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Choose each level's directions and first classes from a batch of images.

        A level takes whole coefficients, in order of falling variance; a coefficient's class
        starts as if its values were independent.
        """
        with _float32(x):
            fine = self.coefficients(x)
            features = [self.analysis[0](fine[:, :PLANES]), fine]
        priors = iter(self.prior.levels)
        for scale, levels in enumerate(self.levels):
            std = features[scale].std(dim=(0, 2, 3))
            order = torch.cat([std[:PLANES] + std.max(), std[PLANES:]]).argsort(descending=True)
            if scale:
                std[:PLANES] = 0.1  # the means are known from the scale above
            else:
                # Means range over hundreds of steps: a coarser step, mended on the finer scale.
                levels[0].log_gain.table[:, :PLANES] += math.log(0.2)
            for level in levels:
                channels = level.take.shape[0]
                own, order = order[:channels], order[channels:]
                level.take[torch.arange(channels), own] = 1
                level.put[own, torch.arange(channels)] = 1
                for prior in next(priors):
                    self._initialise_classes(prior, level, std[own])

    def _initialise_classes(self, prior: PriorPhase, level: Level, std: Tensor) -> None:
        table = level.log_gain.table / math.log(2)
        rise = (table[-1] - table[0]) / WIDTH_SLOPE
        # 0.45: a logistic distribution's scale is 0.55 of its deviation, and detail is sparse.
        middle = (torch.log2(0.45 * std) + table.mean(0) - WIDTH_OFFSET) / WIDTH_SLOPE
        # At zero or below a class would be stuck: the prior's activations are clamped there.
        lowest = (middle - rise / 2).clamp(min=0.25)
        prior.head.bias.copy_(lowest)
        prior.slope.copy_((middle + rise / 2).clamp(min=0.25) - lowest)


def _centred(x: Tensor) -> Tensor:
    return (x - 0.5) * 4


def _float32(x: Tensor) -> torch.autocast:
    """Return a context in which autocast does not lower the precision of the linear transforms."""
    return torch.autocast(x.device.type, enabled=False)
