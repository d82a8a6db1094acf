"""The VAE of the IWAE paper: one or two Gaussian layers between dense tanh layers, binary pixels.

One layer: 784-200-200-z50; two: 784-200-200-z100-100-100-z50. The decoder mirrors the encoder. The
notation is the paper's, but for z_1, the layer next to the image, and z_2 above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vqcodec.density.bounds import Terms
from vqcodec.density.likelihoods import bernoulli_log_p
from vqcodec.model.layers import module_list

_LOG_2PI = math.log(2 * math.pi)
# A pixel that is always black in the training images must not be impossible in others.
_LEAST_MEAN = 1e-3


@dataclass(frozen=True)
class DenseConfig:
    """Sizes of the network, from the image upwards: each stochastic layer and the hidden ones."""

    pixels: int = 784
    latents: tuple[int, ...] = (50,)
    hidden: tuple[int, ...] = (200,)

    @classmethod
    def of_layers(cls, layers: int) -> DenseConfig:
        """Return the paper's network with 1 or 2 stochastic layers."""
        return (cls(), cls(latents=(100, 50), hidden=(200, 100)))[layers - 1]

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> DenseConfig:
        """Return the config that `dataclasses.asdict` and JSON made a dict of."""
        sizes = {name: tuple(config[name]) for name in ("latents", "hidden")}
        return cls(pixels=config["pixels"], **sizes)


class Gaussian(nn.Module):
    """Two tanh layers, then the mean and the log standard deviation of a diagonal Gaussian."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.body = _body(inputs, hidden)
        self.head = nn.Linear(hidden, 2 * outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.head(self.body(x)).float().chunk(2, -1)
        return mean, log_std


class DenseVAE(nn.Module):
    """p(x | z_1) p(z_1 | z_2) p(z_2), and q(z_1 | x) q(z_2 | z_1); or without z_2."""

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.pixels, *config.latents)
        levels = list(zip(sizes[:-1], config.hidden, sizes[1:], strict=True))
        self.encoder: Sequence[Gaussian] = module_list(Gaussian(*level) for level in levels)
        # The prior of each latent layer but the last, given the one above it.
        self.prior: Sequence[Gaussian] = module_list(
            Gaussian(z, hidden, x) for x, hidden, z in levels[1:]
        )
        _, hidden, first = levels[0]
        self.decoder = _body(first, hidden)
        self.logits = nn.Linear(hidden, config.pixels)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> DenseVAE:
        """Return a network of the sizes that a checkpoint has."""
        return cls(DenseConfig.from_dict(config))

    @torch.no_grad()
    def initialise(self, mean_image: Tensor) -> None:
        """Start the output bias at the log odds of the training images' mean, `[pixels]` in 0..1.

        Weights start as in the paper: uniform by Glorot & Bengio 2010, biases at zero.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        mean = mean_image.clamp(_LEAST_MEAN, 1 - _LEAST_MEAN)
        self.logits.bias.copy_(torch.logit(mean))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of q(z_1 | x), float32 `[B, d]`, of 0 and 1."""
        mean, log_std = self.encoder[0](x.flatten(1).float())
        return mean, log_std

    def forward(
        self, x: Tensor, k: int, *, score: bool = True, noise: Sequence[Tensor] | None = None
    ) -> Terms:
        """Return the terms of the bound for `k` samples of each image, `x` `[B, ...]` of 0 and 1.

        They are drawn anew, or made of the `noise` of earlier terms, `[B, k, d]` of each layer.
        Without `score` the parameters of q get no gradient but through the samples: log q is a
        function of z whose own parameters are at rest, as the DReG gradient needs it.
        """
        x = x.flatten(1).float()
        below, densities = x, []
        latents: list[Tensor] = []
        draws: list[Tensor] = []
        for level, encoder in enumerate(self.encoder):
            mean, log_std = encoder(below)
            if level == 0:
                mean, log_std = mean[:, None], log_std[:, None]
            shape = (len(x), k, mean.shape[-1])
            draw = torch.randn(shape, device=x.device) if noise is None else noise[level]
            drawn = mean + log_std.exp() * draw
            # What log w is computed from; the samples above are drawn from `drawn` itself, so that
            # the gradient of log w passes each of these exactly once.
            z = drawn.view_as(drawn)
            if score:
                log_q = -0.5 * draw.square().sum(-1) - log_std.sum(-1) - _constant(z)
            elif level == 0:
                log_q = log_normal(z, mean.detach(), log_std.detach())
            else:
                resting = {name: p.detach() for name, p in encoder.named_parameters()}
                log_q = log_normal(z, *functional_call(encoder, resting, (latents[-1],)))
            densities.append(log_q)
            latents.append(z)
            draws.append(draw)
            below = drawn
        kl = self._kl(latents, densities)
        return Terms(self._reconstruction(x, latents[0]), kl, (*latents,), (*draws,))

    def _kl(self, latents: Sequence[Tensor], densities: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return log q - log p of each layer, the uppermost first."""
        top = latents[-1]
        log_p = [-0.5 * top.square().sum(-1) - _constant(top)]
        for prior, z, above in zip(self.prior, latents[:-1], latents[1:], strict=True):
            log_p.insert(1, log_normal(z, *prior(above)))
        return tuple(q - p for q, p in zip(reversed(densities), log_p, strict=True))

    def _reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        return bernoulli_log_p(x, self.logits(self.decoder(z)))


def _body(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


def log_normal(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return log N(z; mean, exp(log_std)), summed over the last dimension."""
    squares = ((z - mean) * torch.exp(-log_std)).square().sum(-1)
    return -0.5 * squares - log_std.sum(-1) - _constant(z)


def _constant(z: Tensor) -> float:
    return 0.5 * _LOG_2PI * z.shape[-1]
