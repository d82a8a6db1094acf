"""One layer of the photo model: a mixture of logistics as its prior, its posterior, and a sample.

The posterior is Gaussian, the product of N(h, noise²) around the image's coefficient h and of the
Gaussian that bounds the prior from below and touches it at h (Jaakkola & Jordan 2000), so that an
outlier is pulled less. Of a mixture that is the product of the bounds of its logistics, each to the
power of its share at h. Where the prior is surer than the noise, the latent costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqcodec.density.likelihoods import logistic_log_p

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Prior:
    """K logistics for each of C coefficients, and the noise of the posterior.

    `mean`, `log_scale` and `log_weight` are `[B, K, C, h, w]` or of sides 1, `log_noise` is
    `[C, 1, 1]`. Means and scales are in grey levels.
    """

    mean: Tensor
    log_scale: Tensor
    log_weight: Tensor
    log_noise: Tensor

    def averages(self) -> tuple[Tensor, Tensor]:
        """Return the mean, and the mean log scale, over the mixture, `[B, C, h, w]`."""
        weight = self.log_weight.exp()
        return (weight * self.mean).sum(1), (weight * self.log_scale).sum(1)

    def log_p(self, z: Tensor) -> Tensor:
        """Return the log density at `z`, elementwise, `[B, C, h, w]`."""
        return torch.logsumexp(self._log_joint(z), 1)

    def sample(self, normal: Tensor) -> Tensor:
        """Return the sample of the prior that standard normal numbers `[B, C, h, w]` stand for."""
        uniform = torch.special.ndtr(normal)[:, None]
        weight = self.log_weight.exp().expand(len(normal), -1, *normal.shape[1:])
        # The logistic on whose share of the line 0..1 the number falls, and where on it.
        before = weight.cumsum(1) - weight
        chosen = (uniform >= before).sum(1, keepdim=True) - 1
        within = (uniform - before.gather(1, chosen)) / weight.gather(1, chosen)
        mean, log_scale = (
            part.expand_as(weight).gather(1, chosen) for part in (self.mean, self.log_scale)
        )
        return (mean + log_scale.exp() * torch.logit(within, eps=1e-6))[:, 0]

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the precision of q(z | h), `[B, C, h, w]`."""
        noise_precision = torch.exp(-2 * self.log_noise)
        missed = h[:, None] - self.mean
        scale = self.log_scale.exp()
        steps = (missed.abs() / (2 * scale)).clamp(min=1e-3)
        share = torch.softmax(self._log_joint(h), 1)
        precisions = share * torch.tanh(steps) / (steps * 2 * scale.square())
        precision = noise_precision + precisions.sum(1)
        return h - (precisions * missed).sum(1) / precision, precision

    def draw(self, h: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Return z ~ q(z | h), and log q(z | h) - log p(z), elementwise, `[B, C, h, w]`."""
        centre, precision = self.posterior(h)
        z = centre + normal * precision.rsqrt()
        log_q = -0.5 * normal.square() + 0.5 * precision.log() - _HALF_LOG_2PI
        return z, log_q - self.log_p(z)

    def _log_joint(self, z: Tensor) -> Tensor:
        """Return log p(z, k) of each logistic, `[B, K, C, h, w]`."""
        return self.log_weight + logistic_log_p(z[:, None], self.mean, self.log_scale)
