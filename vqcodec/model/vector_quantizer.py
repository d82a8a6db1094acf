"""The classical vector quantizer of VQ-VAE: nearest codeword, straight-through gradient.

Equation numbers are those of van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation
Learning" (2017): (1)-(3) in section 3, (4)-(8) in appendix A.1. The codec itself codes with the
entropy-constrained quantizers of `vqcodec.model.quantizer`; this one is what they are measured
against, and a building block for other models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

COMMITMENT = 0.25
LLOYD_ITERATIONS = 10
# Average usage of a codebook that learns by gradient is followed at this rate.
_USAGE_DECAY = 0.99


@torch.no_grad()
def nearest(z_e: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest codeword, Eq. (1): int64 `[..., N]`.

    `z_e` is `[..., N, dim]`, `codebook` `[..., size, dim]`; leading axes are batch axes.
    """
    # |e|^2 - 2 z.e: the squared distance less |z|^2, which is the same for all codewords.
    products = z_e @ codebook.transpose(-1, -2)
    return (codebook.square().sum(-1)[..., None, :] - 2 * products).argmin(-1)


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return the values of `z_q` with the gradient of `z_e`."""
    return z_q.detach() + (z_e - z_e.detach())


def codebook_error(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return the second term of Eq. (3), `[...]` of `[..., dim]`: it moves codewords to values."""
    return (z_e.detach() - z_q).square().sum(-1)


def commitment_error(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return the third term of Eq. (3) without its beta: it moves values to codewords."""
    return (z_e - z_q.detach()).square().sum(-1)


@torch.no_grad()
def k_means(x: Tensor, size: int, iterations: int = LLOYD_ITERATIONS) -> tuple[Tensor, Tensor]:
    """Return centres `[size, dim]` of `x` `[N, dim]`, and the share of `x` near each, `[size]`.

    Seeded as k-means++ does, from torch's global generator. Raises ValueError if N < size.
    """
    if len(x) < size:
        raise ValueError(f"{len(x)} vectors are too few for {size} codewords")
    centres = x[torch.randint(len(x), (1,), device=x.device)]
    distance = (x - centres).square().sum(-1)
    for _ in range(size - 1):
        # Without the floor there is nothing to draw from once every vector is a centre.
        chosen = x[torch.multinomial(distance.clamp(min=1e-20), 1)]
        distance = torch.minimum(distance, (x - chosen).square().sum(-1))
        centres = torch.cat([centres, chosen])
    for _ in range(iterations):
        usage, sums = _shares(x, nearest(x, centres), size)
        centres = _means(usage, sums, centres)
    return centres, _shares(x, nearest(x, centres), size)[0]


@dataclass(frozen=True, slots=True)
class Quantized:
    """What :class:`VectorQuantizer` returns.

    `z_q` is like the input, with its gradient; `indices` int64 `[...]`; `loss` a scalar to add to
    the training loss; `perplexity` a scalar without gradient, 1 to the number of codewords.
    """

    z_q: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor


class VectorQuantizer(nn.Module):
    """Maps vectors of `dim` values to the nearest of `size` learned codewords.

    The codewords, `codebook` float32 `[size, dim]`, learn in one of two ways. With `ema_decay`
    None they are a parameter, which the codebook loss trains, the second term of Eq. (3). Otherwise
    they are a buffer, the running mean of the vectors assigned to each, Eqs. (6)-(8), and the
    loss is the commitment alone; the sums are those of this process.

    In training mode each forward pass ends with an update of the running statistics and moves dead
    codewords, those used less than `dead_below` times the uniform share `1 / size` on average, onto
    random vectors of the batch, drawn from torch's global generator.

    Raises ValueError for sizes below 1, negative weights, or a decay outside 0..1.
    """

    codebook: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        ema_decay: float | None = None,
        commitment: float = COMMITMENT,
        dead_below: float = 0.01,
    ) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"a codebook of {size} codewords of {dim} values is not possible")
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay {ema_decay} is not between 0 and 1")
        if commitment < 0 or dead_below < 0:
            raise ValueError("commitment and dead_below must not be negative")
        self.size, self.dim = size, dim
        self.ema_decay, self.commitment, self.dead_below = ema_decay, commitment, dead_below
        codebook = torch.randn(size, dim)
        if ema_decay is None:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)
        # N_i and m_i, both over the number of vectors, which cancels in Eq. (8).
        self.register_buffer("usage", torch.full((size,), 1 / size))
        self.register_buffer("sums", codebook / size)

    def forward(self, z_e: Tensor) -> Quantized:
        """Quantize `z_e`, float32 `[..., dim]`; raises ValueError if the last axis is not `dim`."""
        indices = self.encode(z_e)
        z_q = self.decode(indices)
        loss = self.commitment * commitment_error(z_e, z_q).mean()
        if self.ema_decay is None:
            loss = loss + codebook_error(z_e, z_q).mean()
        x = self._rows(z_e.detach())
        batch_usage, batch_sums = _shares(x, indices.flatten(), self.size)
        if self.training:
            self._follow(batch_usage, batch_sums)
            self._restart_dead(x)
        entropy = -torch.xlogy(batch_usage, batch_usage).sum()
        return Quantized(straight_through(z_e, z_q), indices, loss, entropy.exp())

    def encode(self, z_e: Tensor) -> Tensor:
        """Return the indices, int64 `[...]`, of `z_e` `[..., dim]`; raises as forward does."""
        return nearest(self._rows(z_e), self.codebook).view(z_e.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """Return the codewords z_q, Eq. (2), `[..., dim]` of int64 `indices` `[...]`."""
        return self.codebook[indices]

    @torch.no_grad()
    def initialise(self, z_e: Tensor) -> None:
        """Start from the k-means centres of a first batch, `[..., dim]`.

        Raises ValueError if the last axis is not `dim` or there are fewer vectors than codewords.
        """
        centres, usage = k_means(self._rows(z_e), self.size)
        self.codebook.copy_(centres)
        self.usage.copy_(usage)
        self.sums.copy_(usage[:, None] * centres)

    def _rows(self, z_e: Tensor) -> Tensor:
        if z_e.shape[-1:] != (self.dim,):
            raise ValueError(f"expected [..., {self.dim}], got {list(z_e.shape)}")
        return z_e.reshape(-1, self.dim)

    @torch.no_grad()
    def _follow(self, batch_usage: Tensor, batch_sums: Tensor) -> None:
        """Update the running statistics, Eqs. (6) and (7), and an averaged codebook, Eq. (8)."""
        decay = _USAGE_DECAY if self.ema_decay is None else self.ema_decay
        self.usage.lerp_(batch_usage, 1 - decay)
        self.sums.lerp_(batch_sums, 1 - decay)
        if self.ema_decay is not None:
            self.codebook.copy_(_means(self.usage, self.sums, self.codebook))

    @torch.no_grad()
    def _restart_dead(self, x: Tensor) -> None:
        """Move dead codewords onto distinct random rows of `x` `[N, dim]`, as if used uniformly."""
        dead = (self.usage < self.dead_below / self.size).nonzero()[: len(x), 0]
        chosen = x[torch.randperm(len(x), device=x.device)[: len(dead)]]
        self.codebook[dead] = chosen
        self.usage[dead] = 1 / self.size
        self.sums[dead] = chosen / self.size


def _shares(x: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return each codeword's share of `x` `[N, dim]`, `[size]`, and of the sum, `[size, dim]`."""
    usage = torch.bincount(index, minlength=size).to(x.dtype) / len(x)
    sums = torch.zeros(size, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, index, x)
    return usage, sums / len(x)


def _means(usage: Tensor, sums: Tensor, otherwise: Tensor) -> Tensor:
    """Return `sums / usage`, and rows of `otherwise` where usage has faded to nothing."""
    used = usage[:, None] > torch.finfo(usage.dtype).tiny
    return torch.where(used, sums / usage[:, None], otherwise)
