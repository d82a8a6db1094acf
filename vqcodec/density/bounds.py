"""The importance-weighted bound: L_k = E[log 1/k sum_i w_i], w_i = p(x, z_i) / q(z_i | x).

Burda, Grosse & Salakhutdinov 2016 (IWAE). L_1 is the ELBO, L_k never falls as k grows, and its
limit is log p(x). Everything is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """What log w = log p(x, z) - log q(z | x) is made of, for k samples of each of B images.

    `reconstruction` is log p(x | z), `kl` holds log q(z_l | ...) - log p(z_l | ...) of each
    stochastic layer, coarse to fine: their means over samples estimate the KL divergences. All are
    float32 `[B, k]`. `z` are the latents, `[B, k, ...]`, as log w was computed from them, `noise`
    the standard normal draws that made them.
    """

    reconstruction: Tensor
    kl: tuple[Tensor, ...]
    z: tuple[Tensor, ...] = ()
    noise: tuple[Tensor, ...] = ()

    @property
    def log_w(self) -> Tensor:
        """The log importance weights `[B, k]`."""
        return self.reconstruction - torch.stack(self.kl).sum(0)


def log_mean_exp(log_w: Tensor) -> Tensor:
    """Return the log of the mean weight over the last dimension: L_k of `[..., k]`."""
    return torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1])


def iwae_loss(terms: Terms) -> Tensor:
    """Return -L_k, a mean over images; its gradient is the plain one (Burda et al., eq. 13)."""
    return -log_mean_exp(terms.log_w).mean()


def dreg_loss(terms: Terms) -> Tensor:
    """Return -L_k with the doubly reparameterised gradient for the inference network.

    Tucker et al. 2018, eq. 8: with normalised weights v, the generative network gets the gradient
    of sum v log w as ever, the inference network that of sum v^2 log w through the latents alone.
    So `terms` must be of a model that keeps log q's own parameters at rest (`score=False`), and
    `terms.z` the tensors through which every gradient of log w reaches the inference network.
    """
    log_w = terms.log_w
    v = torch.softmax(log_w.detach(), -1)
    for z in terms.z:
        z.register_hook(partial(_scaled, v))  # type: ignore[no-untyped-call]
    surrogate = -(v * log_w).sum(-1).mean()
    return surrogate + (iwae_loss(terms) - surrogate).detach()


def resampled(log_w: Tensor, count: int) -> Tensor:
    """Return indices of `count` samples of each row of log weights `[B, k]`, int64 `[B, count]`.

    A sample is drawn in proportion to its weight (systematic resampling), so that the mean of its
    gradients of log w is that of :func:`iwae_loss` in expectation, though most samples of a large k
    have next to no weight and need no backward pass.
    """
    shares = torch.softmax(log_w.double(), -1).cumsum(-1)
    start = torch.rand((len(log_w), 1), device=log_w.device, dtype=shares.dtype)
    points = (start + torch.arange(count, device=log_w.device)) / count
    return torch.searchsorted(shares, points).clamp(max=log_w.shape[-1] - 1)


def _scaled(v: Tensor, gradient: Tensor) -> Tensor:
    return gradient * v.reshape(*v.shape, *[1] * (gradient.ndim - v.ndim))


@torch.no_grad()
def streamed_bound(draw: Callable[[int], Tensor], k: int, chunk: int) -> Tensor:
    """Return L_k `[B]` for a large k in the memory of `chunk` samples.

    `draw(n)` returns the log weights of n new samples, `[B, n]`.
    """
    total: Tensor | None = None
    for start in range(0, k, chunk):
        part = torch.logsumexp(draw(min(chunk, k - start)).double(), -1)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return (total - math.log(k)).float()


def jackknife_error(log_w: Tensor) -> Tensor:
    """Return the standard error of L_k for each row of log weights `[B, k]`, k of at least 2.

    The jackknife: how much L moves when one sample is left out. For weights that differ wildly the
    usual formula, the error of the mean weight, would claim next to none.
    """
    k = log_w.shape[-1]
    edge = log_w.new_full((*log_w.shape[:-1], 1), -math.inf)
    before = torch.logcumsumexp(torch.cat([edge, log_w], -1), -1)[..., :-1]
    after = torch.logcumsumexp(torch.cat([edge, log_w.flip(-1)], -1), -1)[..., :-1].flip(-1)
    left_out = torch.logaddexp(before, after) - math.log(k - 1)
    return left_out.std(-1, unbiased=False) * math.sqrt(k - 1)
