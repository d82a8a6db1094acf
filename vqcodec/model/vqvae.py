"""The network: a hierarchical VQ-VAE over two scales, coded coarse to fine in a closed loop.

    image --lapped transform--> h[1] (1/8) --lapped transform of its means--> h[0] (1/64)

Each scale is coded in levels. A level quantises what the decoder's state t does not yet explain of
the encoder's features h, adds the codewords to t, and refines t:

    y = gain * take(h - t)      z_q = codeword(y)      t <- refine(t + put(z_q / gain))

so t always predicts the levels to come, and stopping early leaves a coarser picture. The levels
that hold most of the bits are coded in phases, interleaved sets of positions, so that the later
positions are predicted from their neighbours too. The gain follows the activity of t. Once in the
loop and once at its end a block works on the picture that t stands for, at half its resolution. All
the residual blocks start as the identity and the rest starts as an exact lapped transform: before
its first training step the network is a good transform codec. One set of weights serves all
qualities: gains and modulations are tables over quality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
    Conv2d,
    PixelBlock,
    QualityTable,
    add_at,
    log_step_gain,
    module_list,
    quality_weights,
    select,
)
from vqcodec.model.prior import Prior, PriorPhase, PriorState, magnitude
from vqcodec.model.quantizer import (
    WIDTH_OFFSET,
    WIDTH_SLOPE,
    CodebookQuantizer,
    Group,
    IntegerQuantizer,
)
from vqcodec.phases import phase_positions

STRIDE = BLOCK * BLOCK
PLANES = 3
CHANNELS = PLANES * BLOCK**2

# After this level of the 1/8 grid the state has shapes, no detail: there the picture is sharpened.
SHARPENED = 1

# What a unit of squared error, in steps of the size that theory gives, costs in nats. By the
# Lagrangian it is 6; but the choice is greedy, and a value is worth more to those it predicts.
STEP_WEIGHT = 20.0

Groups = tuple[Group, ...]


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    `channels[scale]` counts the values of each level, coarse to fine, and `phases[scale]` the parts
    in which its positions are coded; `hidden` and `pixel_hidden` are widths of residual blocks.
    `groups`, one entry a level, holds (dimension, words, number) of its codebooks; None means
    integers, the first stage of training.
    `gain_range` bounds by how much, in nats, the gain follows the picture.
    With `classical` codebooks assign and learn as in the plain VQ-VAE, for comparison.
    """

    lmbda_min: float = 0.0004
    lmbda_max: float = 0.08
    channels: tuple[tuple[int, ...], ...] = ((48, 144), (6, 10, 12, 20, 112))
    phases: tuple[tuple[int, ...], ...] = ((1, 1), (3, 2, 2, 2, 1))
    hidden: tuple[tuple[int, ...], ...] = ((96, 96), (48, 128, 64, 128, 128))
    hidden_between_phases: int = 48
    pixel_hidden: tuple[int, ...] = (32, 48)
    analysis_blocks: int = 3
    synthesis_blocks: int = 2
    prior_width: int = 64
    prior_head: int = 96
    gain_range: float = 1.0
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
        """Build a config from parsed JSON (lists become tuples).

        Raises TypeError on bad fields, ValueError on sizes that no network of ours has: a weights
        file may come from anyone, and the network is laid out in memory by its config.
        """
        config = cls(**{name: _as_tuple(value) for name, value in values.items()})  # type: ignore[arg-type]
        for name, most in _MOST.items():
            sizes = list(_numbers(getattr(config, name)))
            if len(sizes) > _MOST_SIZES or any(not 1 <= size <= most for size in sizes):
                raise ValueError(f"{name} is out of bounds")
        return config


_MOST = {
    "channels": CHANNELS, "phases": 3, "hidden": 512, "hidden_between_phases": 512,
    "pixel_hidden": 512, "analysis_blocks": 8, "synthesis_blocks": 8,
    "prior_width": 512, "prior_head": 512, "groups": 256,
}  # fmt: skip
_MOST_SIZES = 256  # in all levels


def _numbers(value: object) -> Iterator[int]:
    """Yield the whole numbers in nested tuples; raises TypeError for anything else but None."""
    if isinstance(value, tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int):
        yield value
    elif value is not None:
        raise TypeError(f"{value!r} is no size")


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Output:
    """Of a batch: bits `[B]`, bits a phase `[B, phases]`, mse `[B]` on [0, 1], x_hat like x."""

    bits: Tensor
    phase_bits: Tensor
    mse: Tensor
    x_hat: Tensor


class Level(nn.Module):
    """One level: the directions of the features it codes, their gain, and how t is refined.

    `refine` holds a block for each phase. All but the last predict the positions of the next phase
    and leave the others as they are.
    """

    log_step_gain: Tensor

    def __init__(
        self, config: Config, channels: int, phases: int, hidden: int, groups: Groups | None
    ) -> None:
        super().__init__()
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        self.take = nn.Parameter(torch.zeros(channels, CHANNELS))
        self.put = nn.Parameter(torch.zeros(CHANNELS, channels))
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.register_buffer("log_step_gain", log_gain[:, None].clone())
        self.gain_range = config.gain_range
        self.adapt = Conv2d(CHANNELS, channels, 1)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)
        codebooks = ClassicalQuantizer if config.classical else CodebookQuantizer
        self.quantizer: IntegerQuantizer | CodebookQuantizer = (
            IntegerQuantizer(channels) if groups is None else codebooks(groups)
        )
        between = [config.hidden_between_phases] * (phases - 1)
        self.refine = module_list(Block(CHANNELS, width, log_gain) for width in (*between, hidden))

    @property
    def codebooks(self) -> CodebookQuantizer:
        """The quantizer that files are coded with; raises ModelError in the first stage."""
        if not isinstance(self.quantizer, CodebookQuantizer):
            raise ModelError("the network has no codebooks yet: run train.codebooks first")
        return self.quantizer

    def positions(self, phase: int, t: Tensor) -> Tensor:
        """Return the raster positions that a phase codes, int64 `[N]`."""
        positions = phase_positions(len(self.refine), phase, *t.shape[2:])
        return torch.from_numpy(positions).to(t.device)

    def gain(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the inverse of the step, `[B, C, H, W]`: finer where the state is smooth, say.

        It depends on its own column of `t` alone: that of :func:`select`-ed columns is the same.
        """
        theory = (weights @ self.log_step_gain)[:, :, None, None].exp()
        activity = torch.log1p((theory * t).abs())
        log_gain: Tensor = self.log_gain(weights)
        following = self.gain_range * torch.tanh(self.adapt(activity) / self.gain_range)
        return (log_gain + following).exp()

    def error_cost(self, weights: Tensor) -> Tensor:
        """Return what a unit of squared error of y costs in nats, `[B, C, 1, 1]`.

        Where the gain follows the picture, errors matter as much in finer steps as in coarser ones.
        """
        theory = (weights @ self.log_step_gain)[:, :, None, None]
        log_gain: Tensor = self.log_gain(weights)
        return STEP_WEIGHT * (2 * (theory - log_gain.detach())).exp()

    def residual(self, h: Tensor, t: Tensor) -> Tensor:
        """Return what the state does not explain of the features, `[B, C, H, W]`, by column too."""
        return functional.conv2d(h - t, self.take[:, :, None, None])

    def add(self, t: Tensor, residual: Tensor, positions: Tensor) -> Tensor:
        """Return the decoder's state with decoded columns of the residual added, not refined."""
        return add_at(t, functional.conv2d(residual, self.put[:, :, None, None]), positions)

    def refined(self, t: Tensor, weights: Tensor, phase: int) -> Tensor:
        """Return the state refined after a phase."""
        block = self.refine[phase]
        if phase + 1 == len(self.refine):
            refined: Tensor = block(t, weights)
            return refined
        positions = self.positions(phase + 1, t)
        return add_at(t, block.branch(t, weights, positions).to(t.dtype), positions)


class VQVAE(nn.Module):
    """The codec's network. Images are float32 `[B, 3, H, W]` in [0, 1], H and W multiples of 64."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        groups = iter(config.groups or [None] * sum(map(len, config.channels)))
        sizes = zip(config.channels, config.phases, config.hidden, strict=True)

        def blocks(scale: int, count: int) -> Sequence[Block]:
            return module_list(
                Block(CHANNELS, config.hidden[scale][-1], log_gain) for _ in range(count)
            )

        mixes = (torch.eye(PLANES), opponent_matrix())
        self.analysis = module_list(LappedAnalysis(PLANES, mix) for mix in mixes)
        self.synthesis = module_list(LappedSynthesis(PLANES, mix) for mix in mixes)
        self.encoder = module_list([blocks(0, 1), blocks(1, config.analysis_blocks)])
        self.expand = Block(CHANNELS, config.hidden[1][-1], log_gain, inputs=PLANES)
        self.decoder = blocks(1, config.synthesis_blocks)
        self.sharpen, self.finish = (
            PixelBlock(PLANES, CHANNELS, hidden, log_gain) for hidden in config.pixel_hidden
        )
        self.levels = module_list(
            module_list(Level(config, *size, next(groups)) for size in zip(*scale, strict=True))
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
        return self._features(1, _centred(x), weights)

    def coarse_features(self, means: Tensor, weights: Tensor) -> Tensor:
        """Return the features of the 1/8 grid's means on the 1/64 grid."""
        return self._features(0, means, weights)

    def _features(self, scale: int, source: Tensor, weights: Tensor) -> Tensor:
        with _float32(source):
            features: Tensor = self.analysis[scale](source)
        for block in self.encoder[scale]:
            features = block(features, weights)
        return features.to(source.dtype)

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
        if number == len(self.levels[0]) + SHARPENED and phase + 1 == len(level.refine):
            change = self.sharpen(self._pixels(t, weights), t, weights)
            with _float32(t):
                t = t + self.analysis[1](change.to(weights.dtype))
        return t

    def synthesise(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the picture of the finest state, `[B, 3, H, W]`, unclamped."""
        for block in self.decoder:
            t = block(t, weights)
        x = self._pixels(t, weights)
        change: Tensor = self.finish(x, t, weights)
        return (x + change.to(x.dtype)) / 4 + 0.5

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
