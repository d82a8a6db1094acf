"""The network: a hierarchical VQ-VAE over a few scales, coded coarse to fine in a closed loop.

    image --transform--> h of the finest grid --transform of its means--> h of the next coarser …

Each scale is coded in levels. A level quantises what the decoder's state t does not yet explain of
the encoder's features h, adds the codewords to t, and refines t (`vqcodec.model.closed_loop`), so t
always predicts the levels to come, and stopping early leaves a coarser picture. The levels that
hold most of the bits are coded in phases, interleaved sets of positions, so that the later
positions are predicted from their neighbours too. The gain follows the activity of t. Blocks on the
picture that t stands for, at half its resolution, work in the loop, once after it, and once on the
image before it. All the residual blocks start as the identity and the rest starts as an exact
transform: before its first training step the network is a good transform codec. One set of weights
serves all qualities: gains and modulations are tables over quality.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqcodec.model.blocks import Block, PictureBlock
from vqcodec.model.closed_loop import Phase, full_precision
from vqcodec.model.config import PLANES, Config
from vqcodec.model.layers import (
    columns_of,
    module_list,
    quality_weights,
)
from vqcodec.model.level import Level
from vqcodec.model.prior import Prior
from vqcodec.model.transform import TRANSFORMS, opponent_matrix

if TYPE_CHECKING:
    from typing_extensions import Self

# Of a picture with values in [-2, 2], the last state behind it and weights of qualities.
Draw = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Output:
    """Of a batch: bits `[B]`, bits a phase `[B, phases]`, mse `[B]` on [0, 1], x_hat like x."""

    bits: Tensor
    phase_bits: Tensor
    mse: Tensor
    x_hat: Tensor


class VQVAE(nn.Module):
    """The codec's network.

    Images are float32 `[B, 3, H, W]` in [0, 1], H and W multiples of the config's `padding`. On the
    grid of scale s features and states are `[B, C, H, W]` with C = `config.state_channels(s)`.
    Positions, where nothing else is said, are those of the finest grid.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.works_on_picture = True
        scales = range(len(config.scales))
        finest = scales[-1]

        def blocks(scale: int, count: int) -> Sequence[Block]:
            width, inputs = config.hidden[scale][-1], config.block_inputs
            return module_list(Block(config, scale, width, inputs) for _ in range(count))

        mixes = [opponent_matrix() if scale == finest else torch.eye(PLANES) for scale in scales]
        transforms = [TRANSFORMS[name] for name in config.transforms]
        pairs = list(zip(transforms, mixes, config.strides, strict=True))
        self.analysis = module_list(pair[0](mix, stride) for pair, mix, stride in pairs)
        self.synthesis = module_list(pair[1](mix, stride) for pair, mix, stride in pairs)
        sharpen, finish, *enhance = config.pixel_hidden
        self.enhance = module_list(PictureBlock(config, width) for width in enhance)
        self.encoder = module_list(
            blocks(scale, config.analysis_blocks if scale == finest else 1) for scale in scales
        )
        self.expand = module_list(
            Block(config, scale, config.hidden[scale][-1], PLANES) for scale in scales[1:]
        )
        self.decoder = blocks(finest, config.synthesis_blocks)
        self.sharpened = config.sharpened
        self.sharpen = module_list(PictureBlock(config, sharpen) for _ in self.sharpened)
        self.finish = PictureBlock(config, finish)
        self.levels = module_list(
            Level(config, number) for number in range(config.scales[finest].stop)
        )
        self.prior = Prior(config, [level.quantizer.symbols for level in self.levels])

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Self:
        """Return a network of the sizes that a checkpoint has; raises as that of its config."""
        return cls(Config.from_dict(config))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what only encoding uses: what a decoder reads does not depend on it."""
        finest = len(self.config.scales) - 1
        for scale, analysis in enumerate(self.analysis):
            # The finest one takes changes of the picture back into the state, too.
            if scale < finest or not self.sharpened:
                yield from analysis.parameters()
        for module in (*self.enhance, *itertools.chain(*self.encoder)):
            yield from module.parameters()
        for level in self.levels:
            yield level.project

    def without_picture_blocks(self) -> VQVAE:
        """Return this network, with the same parameters, for pictures that are shown smaller.

        The blocks on the picture take half the time, and what they change is mostly detail.
        """
        sketch = copy.copy(self)
        sketch.works_on_picture = False
        return sketch

    def quality_weights(self, quality: int) -> Tensor:
        """Return the interpolation weights `[1, KNOTS]` of a quality, typed as the parameters."""
        parameter = self.levels[0].project
        return quality_weights(torch.tensor([quality], device=parameter.device)).to(parameter.dtype)

    # encoder

    def analyse(self, x: Tensor, quality_weights: Tensor) -> list[Tensor]:
        """Return the features of each scale, typed like `x`, coarse to fine."""
        fine = self.fine_features(x, quality_weights)
        return [*self.coarse_features(fine[:, :PLANES], quality_weights), fine]

    def fine_features(self, x: Tensor, quality_weights: Tensor) -> Tensor:
        """Return the features of `x` on the finest grid; the first three planes are means."""
        h = self.coefficients(x)
        for block in self.enhance:
            change = block(_centred(x), h, quality_weights).to(x.dtype)
            with full_precision(x):
                h = h + self.analysis[-1](change)
        return self._encoded(-1, h, quality_weights)

    def coarse_features(self, means: Tensor, quality_weights: Tensor) -> list[Tensor]:
        """Return the features of the coarser scales, coarse to fine, from the finest means."""
        features: list[Tensor] = []
        for scale in reversed(range(len(self.analysis) - 1)):
            with full_precision(means):
                h: Tensor = self.analysis[scale](means)
            features.insert(0, self._encoded(scale, h, quality_weights))
            means = features[0][:, :PLANES]
        return features

    def _encoded(self, scale: int, h: Tensor, quality_weights: Tensor) -> Tensor:
        features = h
        for block in self.encoder[scale]:
            features = block(features, quality_weights)
        return features.to(h.dtype)

    def coefficients(self, x: Tensor) -> Tensor:
        """Return the transform that analysis of `x` begins with, on the finest grid."""
        with full_precision(x):
            features: Tensor = self.analysis[-1](_centred(x))
        return features

    # closed loop and decoder

    def start(self, quality_weights: Tensor, height: int, width: int) -> Tensor:
        """Return the state before the first level, whose grid is `height` x `width`."""
        channels = self.config.state_channels(0)
        t = quality_weights.new_zeros(len(quality_weights), channels, height, width)
        return t.contiguous(memory_format=torch.channels_last)

    def means(self, t: Tensor, scale: int) -> Tensor:
        """Return the means `[B, 3, H, W]` on the grid of `scale` that the state above it holds."""
        with full_precision(t):
            means: Tensor = self.synthesis[scale - 1](t)
        return means

    def enter(self, means: Tensor, quality_weights: Tensor, scale: int) -> Tensor:
        """Return the state before the first level of a scale but the coarsest."""
        rest = self.config.state_channels(scale) - PLANES
        zeros = means.new_zeros(len(means), rest, *means.shape[2:])
        t = torch.cat([means, zeros], 1).contiguous(memory_format=torch.channels_last)
        fine: Tensor = self.expand[scale - 1](t, quality_weights)
        return fine.to(quality_weights.dtype)

    def refined(self, t: Tensor, quality_weights: Tensor, number: int, phase: int) -> Tensor:
        """Return the state refined after a phase of level `number`, counted from the coarsest."""
        level = self.levels[number]
        t = level.refined(t, quality_weights, phase)
        sharpened = self.works_on_picture and number in self.sharpened
        if sharpened and phase + 1 == len(level.refine):
            sharpen = self.sharpen[self.sharpened.index(number)]
            change = sharpen(self._pixels(t, quality_weights), t, quality_weights)
            with full_precision(t):
                t = t + self.analysis[-1](change.to(quality_weights.dtype))
        return t

    def synthesise(
        self,
        t: Tensor,
        quality_weights: Tensor,
        draw: Draw | None = None,
    ) -> Tensor:
        """Return the picture of a state of the finest scale, `[B, 3, H, W]`, unclamped.

        With what `draw` adds, if it is to have another look.
        """
        x, t = self.finished(t, quality_weights)
        if draw is not None:
            x = x + draw(x, t, quality_weights).to(x.dtype)
        return x / 4 + 0.5

    def finished(self, t: Tensor, quality_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture of a state, with values in [-2, 2], and the last state behind it."""
        for block in self.decoder:
            t = block(t, quality_weights)
        x = self._pixels(t, quality_weights)
        if self.works_on_picture:
            change: Tensor = self.finish(x, t, quality_weights)
            x = x + change.to(x.dtype)
        return x, t

    def _pixels(self, t: Tensor, quality_weights: Tensor) -> Tensor:
        with full_precision(t):
            x: Tensor = self.synthesis[-1](t.to(quality_weights.dtype))
            return x

    # training

    def forward(self, x: Tensor, quality: Tensor) -> Output:
        """Code `x` at `quality` (float32 `[B]`, 1..100), as training sees it."""
        t, bits = self.coded(x, quality)
        x_hat = self.synthesise(t, quality_weights(quality))
        mse = (x - x_hat).square().mean(dim=(1, 2, 3))
        return Output(bits.sum(1), bits.detach(), mse, x_hat)

    def coded(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state that `x` is coded to, and the bits of each phase, `[B, phases]`."""
        weights = quality_weights(quality)
        h = self.analyse(x, weights)
        t = self.start(weights, *h[0].shape[2:])
        bits: list[Tensor] = []

        def choose(scale: int, number: int, index: int, log_scale: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal t
            if scale and (number, index) == (self.config.scales[scale].start, 0):
                t = self.enter(self.means(t, scale), weights, scale)
            phase = Phase.enter(self, weights, t, number, index)
            level, positions = phase.level, phase.positions
            with full_precision(x):
                values, phase_bits = level.quantizer(
                    phase.latents(h[scale]),
                    level.error_cost(weights),
                    columns_of(log_scale, positions),
                )
            t = phase.decoded(values)
            bits.append(phase_bits)
            return positions, values.detach()

        height, width = h[0].shape[2:]
        self.prior.walk(quality, height, width, choose)
        return t, torch.stack(bits, dim=1)


def _centred(x: Tensor) -> Tensor:
    return (x - 0.5) * 4
