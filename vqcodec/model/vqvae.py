"""The network: a hierarchical VQ-VAE over two scales, coded coarse to fine in a closed loop.

    image --lapped transform--> h[1] (1/8) --lapped transform of its means--> h[0] (1/64)

Each scale is coded in levels. A level quantises what the decoder's state t does not yet explain of
the encoder's features h, adds the codewords to t, and refines t:

    y = gain * take(h - t)      z_q = codeword(y)      t <- refine(t + put(z_q / gain))

so t always predicts the levels to come, and stopping early leaves a coarser picture. All the
residual blocks start as the identity and the rest starts as an exact lapped transform: before its
first training step the network is a good transform codec. One set of weights serves all qualities:
gains and modulations are tables over quality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.errors import ModelError
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.lapped import BLOCK, LappedAnalysis, LappedSynthesis, opponent_matrix
from vqcodec.model.layers import (
    KNOTS,
    QUALITIES,
    Block,
    QualityTable,
    log_step_gain,
    module_list,
    quality_weights,
)
from vqcodec.model.prior import Prior, PriorLevel
from vqcodec.model.quantizer import (
    WIDTH_OFFSET,
    WIDTH_SLOPE,
    CodebookQuantizer,
    IntegerQuantizer,
)

STRIDE = BLOCK * BLOCK
PLANES = 3
CHANNELS = PLANES * BLOCK**2

# What a unit of squared error, in steps of the size that theory gives, costs in nats.
STEP_WEIGHT = 6.0

Groups = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    `channels[scale]` counts the values of each level, coarse to fine. `groups`, one entry a level,
    holds (dimension, number of codebooks) pairs; None means integers, the first stage of training.
    With `classical` codebooks assign and learn as in the plain VQ-VAE, for comparison.
    """

    lmbda_min: float = 0.0004
    lmbda_max: float = 0.08
    channels: tuple[tuple[int, ...], ...] = ((48, 144), (16, 32, 48, 64))
    hidden: tuple[int, int] = (96, 128)
    analysis_blocks: int = 2
    synthesis_blocks: int = 2
    prior_width: int = 64
    prior_head: int = 96
    groups: tuple[Groups, ...] | None = None
    classical: bool = False

    def lmbda(self, quality: Tensor) -> Tensor:
        """Return the Lagrange multiplier of qualities 1..100: bits per pixel per unit of 8-bit mse.

        Each step of quality multiplies it by the same factor.
        """
        ratio = self.lmbda_max / self.lmbda_min
        return self.lmbda_min * ratio ** ((quality.float() - 1) / (QUALITIES - 1))

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Config:
        """Build a config from parsed JSON (lists become tuples); raises TypeError on bad fields."""
        return cls(**{name: _as_tuple(value) for name, value in values.items()})  # type: ignore[arg-type]


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Output:
    """Of a batch: bits `[B]`, bits a level `[B, levels]`, mse `[B]` on [0, 1], x_hat like x."""

    bits: Tensor
    level_bits: Tensor
    mse: Tensor
    x_hat: Tensor


class Level(nn.Module):
    """One level: the directions of the features it codes, their gain, and how t is refined."""

    log_step_gain: Tensor

    def __init__(
        self,
        channels: int,
        hidden: int,
        log_gain: Tensor,
        groups: Groups | None,
        classical: bool,
    ) -> None:
        super().__init__()
        self.take = nn.Parameter(torch.zeros(channels, CHANNELS))
        self.put = nn.Parameter(torch.zeros(CHANNELS, channels))
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.register_buffer("log_step_gain", log_gain[:, None].clone())
        codebooks = ClassicalQuantizer if classical else CodebookQuantizer
        self.quantizer: IntegerQuantizer | CodebookQuantizer = (
            IntegerQuantizer(channels) if groups is None else codebooks(groups)
        )
        self.refine = Block(CHANNELS, hidden, log_gain)

    @property
    def codebooks(self) -> CodebookQuantizer:
        """The quantizer that files are coded with; raises ModelError in the first stage."""
        if not isinstance(self.quantizer, CodebookQuantizer):
            raise ModelError("the network has no codebooks yet: run train.codebooks first")
        return self.quantizer

    def residual(self, h: Tensor, t: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is to be quantised `[B, C, H, W]`, and its error's cost `[B, C, 1, 1]`."""
        log_gain: Tensor = self.log_gain(weights)
        y = functional.conv2d(h - t, self.take[:, :, None, None]) * log_gain.exp()
        theory = (weights @ self.log_step_gain)[:, :, None, None]
        return y, STEP_WEIGHT * (2 * (theory - log_gain.detach())).exp()

    def add(self, t: Tensor, z_q: Tensor, weights: Tensor) -> Tensor:
        """Return the decoder's state with the codewords `z_q` added, not yet refined."""
        residual = z_q / self.log_gain(weights).exp()
        return t + functional.conv2d(residual, self.put[:, :, None, None])


class VQVAE(nn.Module):
    """The codec's network. Images are float32 `[B, 3, H, W]` in [0, 1], H and W multiples of 64."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        groups = iter(config.groups or [None] * sum(map(len, config.channels)))

        def blocks(scale: int, count: int) -> Sequence[Block]:
            return module_list(
                Block(CHANNELS, config.hidden[scale], log_gain) for _ in range(count)
            )

        mixes = (torch.eye(PLANES), opponent_matrix())
        self.analysis = module_list(LappedAnalysis(PLANES, mix) for mix in mixes)
        self.synthesis = module_list(LappedSynthesis(PLANES, mix) for mix in mixes)
        self.encoder = module_list([blocks(0, 1), blocks(1, config.analysis_blocks)])
        self.expand = Block(CHANNELS, config.hidden[1], log_gain)
        self.decoder = blocks(1, config.synthesis_blocks)
        self.levels = module_list(
            module_list(
                Level(c, config.hidden[scale], log_gain, next(groups), config.classical)
                for c in channels
            )
            for scale, channels in enumerate(config.channels)
        )
        symbols = [[level.quantizer.symbols for level in scale] for scale in self.levels]
        self.prior = Prior(config.channels, symbols, config.prior_width, config.prior_head)

    def all_levels(self) -> list[Level]:
        """Return the levels of all scales, coarse to fine."""
        return [level for scale in self.levels for level in scale]

    def analyse(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        """Return the features `[B, 192, H, W]` of each scale, typed like `x`, coarse to fine."""
        h: list[Tensor] = []
        source = (x - 0.5) * 4
        for analysis, blocks in zip(reversed(self.analysis), reversed(self.encoder), strict=True):
            with _float32(x):
                features = analysis(source)
            for block in blocks:
                features = block(features, weights)
            h.insert(0, features.to(x.dtype))
            source = h[0][:, :PLANES]
        return h

    def enter_fine(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the decoder's state before the first level on the 1/8 grid, from the 1/64 one."""
        with _float32(t):
            means: Tensor = self.synthesis[0](t)
        rest = means.new_zeros(means.shape[0], CHANNELS - PLANES, *means.shape[2:])
        t = torch.cat([means, rest], 1).contiguous(memory_format=torch.channels_last)
        fine: Tensor = self.expand(t, weights)
        return fine.to(weights.dtype)

    def synthesise(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the picture of the finest state, `[B, 3, H, W]`, unclamped."""
        for block in self.decoder:
            t = block(t, weights)
        with _float32(t):
            x: Tensor = self.synthesis[1](t.to(weights.dtype))
            return x / 4 + 0.5

    def forward(self, x: Tensor, quality: Tensor) -> Output:
        """Code `x` at `quality` (float32 `[B]`, 1..100), as training sees it."""
        weights = quality_weights(quality)
        h = self.analyse(x, weights)
        t = torch.zeros_like(h[0])
        state = self.prior.start(quality, *h[0].shape[2:])
        priors = iter(self.prior.levels)
        bits = []
        for scale, levels in enumerate(self.levels):
            if scale:
                t = self.enter_fine(t, weights)
                state = self.prior.refine(state, quality)
            for level in levels:
                hidden, width = next(priors)(state.features, quality)
                with _float32(x):
                    y, cost = level.residual(h[scale], t, weights)
                    z_q, level_bits = level.quantizer(y, cost, width)
                    t = level.add(t, z_q, weights)
                t = level.refine(t, weights).float()
                state = self.prior.observe(state, hidden, z_q)
                bits.append(level_bits)
        x_hat = self.synthesise(t, weights)
        mse = (x - x_hat).square().mean(dim=(1, 2, 3))
        level_bits = torch.stack(bits, dim=1)
        return Output(level_bits.sum(1), level_bits.detach(), mse, x_hat)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Choose each level's directions and first classes from a batch of images.

        A level takes whole coefficients, in order of falling variance; a coefficient's class
        starts as if its values were independent.
        """
        with _float32(x):
            fine = self.analysis[1]((x - 0.5) * 4)
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
                self._initialise_classes(next(priors), level, std[own])

    def _initialise_classes(self, prior: PriorLevel, level: Level, std: Tensor) -> None:
        table = level.log_gain.table / math.log(2)
        rise = (table[-1] - table[0]) / WIDTH_SLOPE
        # 0.45: a logistic distribution's scale is 0.55 of its deviation, and detail is sparse.
        middle = (torch.log2(0.45 * std) + table.mean(0) - WIDTH_OFFSET) / WIDTH_SLOPE
        # At zero or below a class would be stuck: the prior's activations are clamped there.
        lowest = (middle - rise / 2).clamp(min=0.25)
        prior.head.bias.copy_(lowest)
        prior.slope.copy_((middle + rise / 2).clamp(min=0.25) - lowest)


def _float32(x: Tensor) -> torch.autocast:
    """Return a context in which autocast does not lower the precision of the linear transforms."""
    return torch.autocast(x.device.type, enabled=False)
