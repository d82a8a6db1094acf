"""The class-conditional VAE of Kingma et al. 2014, "M2", of vectors of real numbers.

p(x | y, z) p(y) p(z) with classes y that are equally likely, q(y | x) and q(z | x, y). Where the
class of x is known its bound is that of a VAE; where it is not, the bound is summed over all
classes: sum_y q(y | x) (log w_y - log q(y | x)), w_y = p(x, y, z_y) / q(z_y | x, y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.density.dense import Gaussian, log_normal


@dataclass(frozen=True)
class ClassConfig:
    """Sizes of the network: values of x and of z, classes, units of the hidden layers.

    With so few latents the class has to say which digit it is: docs/density.md.
    """

    inputs: int
    latents: int = 5
    classes: int = 10
    hidden: int = 200
    classifier: int = 500


class ClassVAE(nn.Module):
    """p(x | y, z) with a Gaussian of its own for each class and z, and the two q."""

    def __init__(self, config: ClassConfig) -> None:
        super().__init__()
        self.config = config
        inputs, latents, classes = config.inputs, config.latents, config.classes
        self.encoder = Gaussian(inputs + classes, config.hidden, latents)
        self.decoder = Gaussian(latents + classes, config.hidden, inputs)
        self.classifier = nn.Sequential(
            nn.Linear(inputs, config.classifier), nn.Tanh(), nn.Linear(config.classifier, classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def log_q(self, x: Tensor) -> Tensor:
        """Return log q(y | x) of all classes, float32 `[B, classes]`, of `x` `[B, inputs]`."""
        return functional.log_softmax(self.classifier(x).float(), -1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log w_y with a sample z_y of each class, and log q(y | x): `[B, classes]` each.

        `x` is float32 `[B, inputs]`; results are in nats.
        """
        classes = self.config.classes
        each = x[:, None].expand(-1, classes, -1)
        y = torch.eye(classes, device=x.device).expand(len(x), -1, -1)
        mean, log_std = self.encoder(torch.cat([each, y], -1))
        z = mean + log_std.exp() * torch.randn_like(mean)
        origin = torch.zeros_like(z)
        log_p = log_normal(each, *self.decoder(torch.cat([z, y], -1)))
        log_p = log_p + log_normal(z, origin, origin) - math.log(classes)
        return log_p - log_normal(z, mean, log_std), self.log_q(x)


def marginal_bound(log_w: Tensor, log_q: Tensor) -> Tensor:
    """Return the bound on log p(x) where the class is unknown, `[B]`, of two `[B, classes]`."""
    return (log_q.exp() * (log_w - log_q)).sum(-1)


def known_bound(log_w: Tensor, y: Tensor) -> Tensor:
    """Return the bound on log p(x, y) of the classes `y`, int64 `[B]`, of `[B, classes]`."""
    return log_w.gather(-1, y[:, None])[:, 0]
