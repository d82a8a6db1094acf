"""A top-down ladder of stochastic layers over photographs of any size: p(x | z) prod p(z_i | z_<i).

    image --opponent colours, Haar pyramid--> coarsest means, then details h, coarse to fine

The latents z are the coefficients of an orthonormal pyramid with a little noise. Going down, a
scale knows the picture at half its resolution, with neighbours on every side, and adds the details
in six stochastic layers: horizontal, vertical and diagonal ones of luma, then those of colour. The
prior of a layer is a mixture of logistics whose means and scales come from everything before it:
from linear predictors over pixels, and from features that run through the layers in residual blocks
and on to the next scale. The posterior weighs the image's coefficient against the prior by their
precisions, as in the ladder VAE (Sønderby et al. 2016; `vqcodec.density.posterior`). What is left
is p(x | z), a narrow mixture of discretised logistics around the inverse transform.

Of Gaussian coefficients the bound would be exact, whatever the noise: all that is lost is what the
priors do not know. `vqcodec.density.fitting` fits their linear parts by least squares, so that the
network is a fair lossless coder before its first training step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.density.bounds import Terms
from vqcodec.density.likelihoods import mixture_log_p, mixture_parameters
from vqcodec.density.posterior import Prior
from vqcodec.density.pyramid import CENTRE, DETAILS, PLANES, analyse, merge, to_rgb
from vqcodec.density.windows import Window, windows
from vqcodec.model.layers import Conv2d, module_list

# The details of each stochastic layer: bands of luma, then of both colours.
GROUPS = ((0,), (3,), (6,), (1, 2), (4, 5), (7, 8))
WINDOW = 5  # pixels a side that the linear predictors see
# Noise of a coefficient in grey levels: a bin of width 1 under a likelihood as narrow as the one
# below has a posterior of about this width, and nearly Gaussian.
NOISE = 0.4
LIKELIHOOD_SCALES = (0.13, 0.4)
# A prior has no use for scales far below the noise or above all grey levels, and gradients through
# them would explode: a layer's scale reaches all layers after it.
LOG_SCALES = (math.log(0.05), math.log(500.0))
# How far apart the log scales of the logistics of a mixture are at the start.
_SPREAD = 0.5
# Logarithms of local contrast begin here, in grey levels.
_FLOOR = 0.5
_BLUR = 3  # cells a side of its window


@dataclass(frozen=True)
class LadderConfig:
    """Sizes of the network: scales, channels of the features, residual blocks a layer.

    `components` are the logistics of a prior.
    """

    scales: int = 5
    width: int = 64
    blocks: int = 1
    components: int = 3


@dataclass(frozen=True)
class Maps:
    """The terms of log w of one sample, position by position, in nats.

    `reconstruction` is log p(x | z), `[B, H, W]`; `kl` holds log q - log p of each layer on its own
    grid, `[B, h, w]`, coarse to fine. All are of the tile that was asked for.
    """

    reconstruction: Tensor
    kl: tuple[Tensor, ...]


class Block(nn.Module):
    """A residual block that starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = Conv2d(width, width, 3, padding=1)
        self.out = Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.out(functional.silu(self.mix(functional.silu(x))))
        return x + change


class LinearPredictor(nn.Conv2d):
    """A window of grey levels -> grey levels, in float32: hundreds need more digits than bf16 has.

    Starts at zero. Weights are in units of 1 / UNIT, so that a step of Adam moves them little.
    """

    UNIT = 100.0

    def __init__(self, known: int, unknown: int) -> None:
        super().__init__(known, unknown, WINDOW, padding=WINDOW // 2, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x / self.UNIT)


class StochasticLayer(nn.Module):
    """One group of details: its prior's head, and what it tells the layers after it."""

    def __init__(self, channels: int, later: int, config: LadderConfig) -> None:
        super().__init__()
        self.components = config.components
        self.head = Conv2d(config.width, 3 * config.components * channels, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.log_noise = nn.Parameter(torch.full((channels, 1, 1), math.log(NOISE)))
        self.predict = LinearPredictor(channels, later) if later else None
        self.enter = Conv2d(4 * channels, config.width, 3, padding=1)
        self.blocks = _blocks(config)

    def prior(self, features: Tensor, predicted: Tensor) -> Prior:
        """Return the prior around a prediction `[B, C, h, w]`.

        The features give a scale, in units of which means are shifted, and the log scales of the
        logistics relative to it.
        """
        count = self.components
        told = self.head(features).float().unflatten(1, (3 * count, predicted.shape[1]))
        shift, log_scale, log_weight = told.split(count, 1)
        common = log_scale[:, :1]
        places = torch.arange(count, device=told.device)[:, None, None, None]
        log_scale = torch.cat([common, common + log_scale[:, 1:]], 1)
        log_scale = log_scale + _SPREAD * (places - (count - 1) / 2)
        mean = predicted[:, None] + shift * common.clamp(*LOG_SCALES).exp()
        return Prior(mean, log_scale.clamp(*LOG_SCALES), log_weight.log_softmax(1), self.log_noise)

    def advance(self, features: Tensor, z: Tensor, prior: Prior) -> Tensor:
        """Return the features once `z` is known."""
        mean, log_scale = prior.averages()
        missed = z - mean
        size = torch.log(_FLOOR + missed.abs())
        seen = torch.cat([torch.asinh(z), torch.asinh(missed), size, log_scale], 1)
        result: Tensor = self.blocks(features + self.enter(seen))
        return result


class Scale(nn.Module):
    """From a picture at half the resolution to the details that double it."""

    def __init__(self, config: LadderConfig, *, coarsest: bool) -> None:
        super().__init__()
        self.predict = LinearPredictor(PLANES, DETAILS)
        self.enter = Conv2d(2 * PLANES, config.width, 3, padding=1)
        self.from_coarser = None if coarsest else Conv2d(config.width, config.width, 1)
        self.blocks = _blocks(config)
        sizes = [len(group) for group in GROUPS]
        self.layers: Sequence[StochasticLayer] = module_list(
            StochasticLayer(size, sum(sizes[number + 1 :]), config)
            for number, size in enumerate(sizes)
        )

    def start(self, picture: Tensor, coarser: Tensor | None) -> Tensor:
        """Return the features before the first layer, from local contrast and activity."""
        contrast = picture - _blurred(picture)
        activity = torch.log(_FLOOR + _blurred(contrast.abs()))
        features: Tensor = self.enter(torch.cat([torch.asinh(contrast), activity], 1))
        if self.from_coarser is not None and coarser is not None:
            features = features + functional.interpolate(self.from_coarser(coarser), scale_factor=2)
        result: Tensor = self.blocks(features)
        return result

    def reach(self) -> int:
        """Return how many cells around a cell its details and features follow from."""
        contrast = 2 * (_BLUR // 2)
        seen = max(contrast + _reach(self.enter) + _reach(self.blocks), _reach(self.predict))
        for layer in self.layers:
            told = 0 if layer.predict is None else _reach(layer.predict)
            seen += max(told, _reach(layer.enter) + _reach(layer.blocks))
        return seen


# Called with a layer, its features, what is predicted linearly, and its details, before its prior.
Visit = Callable[[StochasticLayer, Tensor, Tensor, Tensor], None]
# Standard normal noise `[B, C, h, w]` of a layer, of C channels, in a window of the layer's grid.
Noise = Callable[[int, int, Window], Tensor]


class Ladder(nn.Module):
    """The whole model; latents, means and scales are in grey levels."""

    def __init__(self, config: LadderConfig) -> None:
        super().__init__()
        self.config = config
        self.top_mean = nn.Parameter(torch.zeros(PLANES, 1, 1))
        self.top_log_scale = nn.Parameter(torch.full((PLANES, 1, 1), math.log(CENTRE)))
        self.top_log_noise = nn.Parameter(torch.full((PLANES, 1, 1), math.log(NOISE)))
        self.scales: Sequence[Scale] = module_list(
            Scale(config, coarsest=number == 0) for number in range(config.scales)
        )
        components = len(LIKELIHOOD_SCALES)
        self.pixels = Conv2d(config.width, 4 * mixture_parameters(PLANES, components), 1)
        nn.init.zeros_(self.pixels.weight)
        nn.init.zeros_(self.pixels.bias)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Ladder:
        """Return a network of the sizes that a checkpoint has."""
        return cls(LadderConfig(**config))

    def forward(self, x: Tensor) -> Terms:
        """Return the terms of the bound for one sample of each image, uint8 `[B, 3, H, W]`."""
        maps = self.maps(x)
        sums = [x.flatten(1).sum(1, keepdim=True) for x in (maps.reconstruction, *maps.kl)]
        return Terms(sums[0], tuple(sums[1:]))

    def maps(
        self,
        x: Tensor,
        visit: Visit | None = None,
        *,
        tile: Window | None = None,
        noise: Noise | None = None,
    ) -> Maps:
        """Return the terms of one sample, position by position; `x` is uint8 `[B, 3, H, W]`.

        Sides are padded to multiples of 2^scales by repetition. Where a latent has no real pixel,
        its posterior is its prior, which costs nothing. Of a `tile` of the image, in pixels and
        with edges that are multiples of 2^scales or the image's own, the terms are those of the
        whole, if the `noise` is too; noise is drawn anew by default.
        """
        image = Window(0, x.shape[2], 0, x.shape[3])
        tile = tile or image
        views = windows(tile, image, [scale.reach() for scale in self.scales])
        stride = 1 << self.config.scales
        picture, bands = self._analyse(x, [view for view, _ in views])
        draw = partial(_draw, noise or partial(_fresh, x))
        features = None
        # What a grid has of the real picture, and of the tile.
        real, own = image.coarser(stride), tile.coarser(stride)
        top = Prior(
            self.top_mean[None, None], self.top_log_scale[None, None],
            self.top_log_scale.new_zeros(1, 1, 1, 1, 1), self.top_log_noise,
        )  # fmt: skip
        picture, kl = draw(0, picture, top, views[0][0], real)
        divergences = [own.cut(kl, views[0][0])]
        for scale, details, (view, right) in zip(self.scales, bands, views, strict=True):
            real, own = image.coarser(stride), tile.coarser(stride)
            features = scale.start(picture, features)
            predicted = scale.predict(picture)
            known = []
            for group, layer in zip(GROUPS, scale.layers, strict=True):
                h, ours = details[:, group], predicted[:, : len(group)]
                predicted = predicted[:, len(group) :]
                if visit is not None:
                    visit(layer, features, ours, h)
                prior = layer.prior(features, ours)
                z, kl = draw(len(divergences), h, prior, view, real)
                features = layer.advance(features, z, prior)
                if layer.predict is not None:
                    predicted = predicted + layer.predict(z)
                divergences.append(own.cut(kl, view))
                known.append(z)
            details = right.cut(torch.cat(known, 1), view)[:, _ORDER]
            picture = merge(right.cut(picture, view), details)
            features = right.cut(features, view)
            stride //= 2
        assert features is not None
        picture = tile.cut(picture, views[-1][1].finer(2))
        return Maps(self._log_likelihood(tile.cut(x, image), picture, features), (*divergences,))

    def _analyse(self, x: Tensor, views: Sequence[Window]) -> tuple[Tensor, list[Tensor]]:
        """Return the coarsest means and the details of each scale, in a window of each grid."""
        scales = self.config.scales
        image = Window(0, x.shape[2], 0, x.shape[3])
        region = views[0].finer(1 << scales)
        seen = region.within(image)
        padding = (0, region.right - seen.right, 0, region.bottom - seen.bottom)
        part = functional.pad(seen.cut(x, image).float(), padding, mode="replicate")
        pyramid = analyse(part, scales)
        bands = [
            view.cut(details, views[0].finer(1 << number)).contiguous()
            for number, (view, (_, details)) in enumerate(zip(views, pyramid, strict=True))
        ]
        return pyramid[0][0], bands

    def _log_likelihood(self, x: Tensor, picture: Tensor, features: Tensor) -> Tensor:
        """Return log p(x | z) `[B, H, W]`: mixtures whose means start at the picture itself."""
        height, width = x.shape[2:]
        changes = functional.pixel_shuffle(self.pixels(features), 2)[..., :height, :width].float()
        components = len(LIKELIHOOD_SCALES)
        x_hat = to_rgb(picture[..., :height, :width])
        start = x_hat.new_zeros(len(x), changes.shape[1], height, width)
        scales = torch.tensor(LIKELIHOOD_SCALES, device=x.device).log()
        for plane in range(PLANES):
            first = (1 + 2 * plane) * components
            start[:, first : first + components] = x_hat[:, plane, None]
            start[:, first + components : first + 2 * components] = scales[:, None, None]
        return mixture_log_p(x, start + changes, components)


# From the order of the layers back to that of the details.
_ORDER = [
    position
    for _, position in sorted(
        (detail, position) for position, detail in enumerate(d for group in GROUPS for d in group)
    )
]


def _draw(
    noise: Noise, layer: int, h: Tensor, prior: Prior, view: Window, real: Window
) -> tuple[Tensor, Tensor]:
    """Draw z from the posterior; also return log q - log p, summed over channels, `[B, h, w]`.

    In what a `view` has beyond the `real` picture the posterior is the prior.
    """
    normal = noise(layer, h.shape[1], view)
    z, kl = prior.draw(h, normal)
    if real.within(view) != view:
        inside = torch.zeros(view.shape, dtype=torch.bool, device=h.device)
        real.within(view).cut(inside, view).fill_(True)
        z = torch.where(inside, z, prior.sample(normal))
        kl = torch.where(inside, kl, 0.0)
    return z, kl.sum(1)


def _fresh(x: Tensor, _: int, channels: int, window: Window) -> Tensor:
    return torch.randn((len(x), channels, *window.shape), device=x.device)


def _reach(module: nn.Module) -> int:
    """Return how many cells to each side a chain of convolutions sees."""
    return sum(
        layer.kernel_size[0] // 2 for layer in module.modules() if isinstance(layer, nn.Conv2d)
    )


def _blurred(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, _BLUR, 1, _BLUR // 2, count_include_pad=False)


def _blocks(config: LadderConfig) -> nn.Sequential:
    return nn.Sequential(*(Block(config.width) for _ in range(config.blocks)))
