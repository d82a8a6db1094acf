"""A convolutional VQ-VAE of binary digits: a quarter of the sides, 512 codewords of 64 values.

After van den Oord, Vinyals & Kavukcuoglu 2017. With one codeword for each position the posterior is
certain, so that -log p(x) <= -log p(x | indices) - log p(indices): a bound like that of any VAE.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.density.likelihoods import bernoulli_log_p
from vqcodec.model.vector_quantizer import Quantized, VectorQuantizer

STRIDE = 4


@dataclass(frozen=True)
class DigitConfig:
    """Sizes of the network: codewords, values of each, channels of the hidden layers."""

    codewords: int = 512
    dim: int = 64
    width: int = 64


@dataclass(frozen=True)
class Described:
    """log p(x | z_q) of each image in nats, `[B]`, and what the quantizer returned."""

    reconstruction: Tensor
    quantized: Quantized


class ResidualBlock(nn.Module):
    """The block of the paper: ReLU, 3x3, ReLU, 1x1, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.out(functional.relu(self.mix(functional.relu(x))))
        return x + change


class DigitVQVAE(nn.Module):
    """p(x | z_q) of Bernoulli pixels, z_q the codewords nearest to the encoder's outputs."""

    def __init__(self, config: DigitConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1),
            ResidualBlock(width), ResidualBlock(width), nn.Conv2d(width, config.dim, 1),
        )  # fmt: skip
        # A fast mean, since the encoder outruns the codewords of a slow one in its first steps.
        # Those left behind are moved onto outputs again within some twenty steps.
        self.quantizer = VectorQuantizer(
            config.codewords, config.dim, ema_decay=0.9, dead_below=0.1
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.dim, width, 3, padding=1), ResidualBlock(width), ResidualBlock(width),
            nn.ReLU(), nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1),
        )  # fmt: skip

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start the codewords from the k-means centres of what images are encoded to.

        Random ones are far from all of that, and but a few of them would be used.
        Raises ValueError if `x`, `[B, 1, H, W]`, has fewer positions than there are codewords.
        """
        self.quantizer.initialise(self._encoded(x))

    def _encoded(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x.float()).permute(0, 2, 3, 1).float()
        return features

    def forward(self, x: Tensor) -> Described:
        """Describe 0 and 1, `[B, 1, H, W]`, whose sides are multiples of `STRIDE`."""
        quantized: Quantized = self.quantizer(self._encoded(x))
        logits = self.decoder(quantized.z_q.permute(0, 3, 1, 2)).float()
        log_p = bernoulli_log_p(x.flatten(1).float(), logits.flatten(1)[:, None])[:, 0]
        return Described(log_p, quantized)


@torch.no_grad()
def usage(model: DigitVQVAE, images: Tensor) -> Tensor:
    """Return how often each codeword stands for a position of the images, int64 `[codewords]`."""
    parts = [model(x).quantized.indices.flatten() for x in torch.split(images, 500)]
    return torch.bincount(torch.cat(parts), minlength=model.config.codewords)


def perplexity(counts: Tensor) -> float:
    """Return the number of codewords that would, used alike, have the entropy of these counts."""
    shares = counts / counts.sum()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


@torch.no_grad()
def nats(model: DigitVQVAE, images: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return the bound on -log p(x) of each image, float32 `[N]`.

    Indices cost what they do under a prior that is uniform, or has the frequencies of `counts`,
    each a half more than counted, so that no codeword is impossible.
    """
    if counts is None:
        counts = torch.ones(model.config.codewords)
    log_prior = torch.log((counts + 0.5) / (counts + 0.5).sum())
    bounds = []
    for x in torch.split(images, 500):
        out: Described = model(x)
        bounds.append(-out.reconstruction - log_prior[out.quantized.indices].flatten(1).sum(1))
    return torch.cat(bounds)
