"""What a pixel is worth given the latents: log p(x | z) of binary and of 8-bit images, in nats."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TOP = 255


def bernoulli_log_p(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x) summed over dimensions, float32 `[B, k]`.

    `x` is 0 or 1, float `[B, D]`; `logits` are those of k samples, `[B, k, D]`.
    """
    log_p: Tensor = _Bernoulli.apply(x, logits)  # type: ignore[no-untyped-call]
    return log_p


class _Bernoulli(torch.autograd.Function):
    """sum_d x_d l_d - softplus(l_d), whose gradient x - sigmoid(l) needs nothing but x and l."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        positive = torch.bmm(logits, x.to(logits.dtype)[:, :, None])[..., 0]
        return positive.float() - _softplus_sum(logits.float())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        x, logits = ctx.saved_tensors
        slope = torch.sigmoid(logits).neg_().add_(x[:, None])
        return None, slope.mul_(gradients[0][..., None])


def _softplus_sum(x: Tensor) -> Tensor:
    """Return the sum of softplus(x) = max(x, 0) + log(1 + exp(-|x|)) over the last dimension.

    Most of the logarithms are saved: the sum of 64 is that of a product, which is at most 2^64.
    """
    factors = x.abs().neg_().exp_().add_(1)
    for _ in range(6):
        half, odd = divmod(factors.shape[-1], 2)
        if odd:
            break
        factors = factors[..., :half] * factors[..., half:]
    return x.clamp(min=0).sum(-1) + factors.log_().sum(-1)


def mixture_parameters(channels: int, components: int) -> int:
    """Return how many values a position of a :func:`mixture_log_p` takes."""
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


def mixture_log_p(x: Tensor, parameters: Tensor, components: int) -> Tensor:
    """Return log p(x) of a mixture of discretised logistics, `[B, H, W]`, of `parameters`' dtype.

    `x` is uint8 `[B, C, H, W]`. `parameters`, `[B, mixture_parameters(C, K), H, W]`, are K
    logits, then for each channel K means and K log scales, all in grey levels, then for each pair
    of an earlier and a later channel K slopes: the mean of a channel is shifted by slope times what
    each earlier channel is above its own mean. The bins of 0 and 255 reach to infinity, so that
    the probabilities of all 256 values sum to 1 (Salimans et al. 2017, PixelCNN++).
    """
    channels = x.shape[1]
    # [B, K, H, W] each: logits, then mean and log scale of each channel, then the slopes
    logits, *rest = torch.split(parameters, components, 1)
    means, log_scales = rest[: 2 * channels : 2], rest[1 : 2 * channels : 2]
    slopes = iter(rest[2 * channels :])
    values = x.to(parameters.dtype)
    log_p = functional.log_softmax(logits, 1)
    seen: list[Tensor] = []
    for channel, (mean, log_scale) in enumerate(zip(means, log_scales, strict=True)):
        value = values[:, channel, None]
        for earlier in seen:
            mean = mean + next(slopes) * earlier
        log_p = log_p + discretised_logistic_log_p(value, mean, log_scale)
        seen.append(value - mean)
    return torch.logsumexp(log_p, 1)


def discretised_logistic_log_p(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log mass of the bin x - 1/2 .. x + 1/2 of a logistic, elementwise.

    `x` holds whole numbers 0..255, mean and scale are in the same unit. The bin of 0 begins at
    minus infinity, that of 255 ends at infinity.
    """
    inverse = torch.exp(-log_scale)
    upper, lower = (x - mean + 0.5) * inverse, (x - mean - 0.5) * inverse
    # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)): no difference of nearly equal numbers
    below_upper = functional.logsigmoid(upper).masked_fill(x >= TOP, 0.0)
    above_lower = functional.logsigmoid(-lower).masked_fill(x <= 0, 0.0)
    width = torch.log(-torch.expm1(-inverse)).expand_as(upper)
    return below_upper + above_lower + width.masked_fill((x <= 0) | (x >= TOP), 0.0)


def logistic_log_p(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log density of a logistic, elementwise."""
    middle = (z - mean) * torch.exp(-log_scale)
    return middle - log_scale - 2 * functional.softplus(middle)
