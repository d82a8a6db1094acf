"""Adversarial training: a discriminator of patches that sees a condition, and its losses.

As in SN-GAN (Miyato et al. 2018): spectral normalisation and the hinge loss. Both losses are taken
of one step: the gradient of the generator's does not reach the discriminator, and that of the
discriminator's not the generator, so that one optimizer may take a step for both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of the leaky ReLU
WIDTHS = (32, 64, 64)  # of layers that each halve the resolution


class Discriminator(nn.Module):
    """Tells real images from made ones, patch by patch, beside a condition like them.

    Maps images and conditions `[B, planes, H, W]` to scores `[B, 1, H / 8, W / 8]`, high for real
    ones. A score sees 38 pixels each way.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 2 * planes
        for width in WIDTHS:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
            inputs = width
        layers.append(spectral_norm(nn.Conv2d(inputs, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        scores: Tensor = self.layers(torch.cat([image - condition, condition], 1))
        return scores


def generator_loss(discriminator: Discriminator, made: Tensor, condition: Tensor) -> Tensor:
    """Return what makes made images look real, `[B]`; it trains the generator alone."""
    resting = {name: value.detach() for name, value in discriminator.named_parameters()}
    scores: Tensor = functional_call(discriminator, resting, (made, condition))
    return -scores.mean((1, 2, 3))


def discriminator_loss(
    discriminator: Discriminator, real: Tensor, made: Tensor, condition: Tensor
) -> Tensor:
    """Return the hinge loss `[B]`: below 2 where real and made are told apart.

    It trains the discriminator alone.
    """
    of_real = functional.relu(1 - discriminator(real, condition))
    of_made = functional.relu(1 + discriminator(made.detach(), condition))
    return (of_real + of_made).mean((1, 2, 3))
