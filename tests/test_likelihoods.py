"""Likelihoods of pixels: exact sums over all values, edges, and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vqcodec.density.likelihoods import (
    bernoulli_log_p,
    discretised_logistic_log_p,
    logistic_log_p,
    mixture_log_p,
    mixture_parameters,
)

COMPONENTS = 3


def random_parameters(seed: int) -> Tensor:
    """Parameters for 20 positions, scales from a twentieth of a grey level to 400."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 3, COMPONENTS, 1, 20)
    logits = torch.randn((1, COMPONENTS, 1, 20), generator=generator)
    means = 127 + 100 * torch.randn(shape, generator=generator)
    log_scales = torch.empty(shape).uniform_(-3, 6, generator=generator)
    slopes = torch.randn(shape, generator=generator)
    own = torch.stack([means, log_scales], 2).flatten(1, 3)
    return torch.cat([logits, own, slopes.flatten(1, 2)], 1)


def first_channels(parameters: Tensor, count: int) -> Tensor:
    """The parameters of the first `count` of three channels alone."""
    pairs = count * (count - 1) // 2
    sizes = [1, 2 * count, 6 - 2 * count, pairs, 3 - pairs]
    logits, own, _, slopes, _ = torch.split(parameters, [COMPONENTS * n for n in sizes], 1)
    return torch.cat([logits, own, slopes], 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_all_values_of_a_channel_sum_to_one_given_the_earlier_ones(seed: int, channel: int) -> None:
    parameters = random_parameters(seed).double()
    assert parameters.shape[1] == mixture_parameters(3, COMPONENTS)
    x = torch.tensor([90, 250, 0])[None, :, None, None].repeat(256, 1, 1, 20).to(torch.uint8)
    x[:, channel] = torch.arange(256, dtype=torch.uint8)[:, None, None]
    joint = mixture_log_p(x[:, : channel + 1], first_channels(parameters, channel + 1), COMPONENTS)
    earlier = torch.zeros(())
    if channel:
        earlier = mixture_log_p(x[:1, :channel], first_channels(parameters, channel), COMPONENTS)
    total = (joint - earlier).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


def test_all_values_sum_to_one_in_single_precision() -> None:
    x = torch.arange(256.0)[:, None]
    generator = torch.Generator().manual_seed(3)
    mean = torch.empty(200).uniform_(-20, 275, generator=generator)
    log_scale = torch.empty(200).uniform_(-1, 5, generator=generator)
    total = discretised_logistic_log_p(x, mean, log_scale).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(200), rtol=0, atol=1e-5)


def test_joint_probabilities_of_two_channels_sum_to_one() -> None:
    parameters = first_channels(random_parameters(5)[..., :1].double(), 2).expand(256, -1, 1, 256)
    value = torch.arange(256)
    x = torch.stack(torch.meshgrid(value, value, indexing="ij"), 1)[:, :, None]
    total = mixture_log_p(x.to(torch.uint8), parameters, COMPONENTS).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


def test_edges_hold_everything_beyond_them() -> None:
    mean, log_scale = torch.tensor(-40.0), torch.tensor(1.0)
    at_zero = discretised_logistic_log_p(torch.tensor(0.0), mean, log_scale)
    assert float(at_zero) == pytest.approx(math.log(1 / (1 + math.exp(-40.5 / math.e))), abs=1e-7)
    at_top = discretised_logistic_log_p(torch.tensor(255.0), torch.tensor(300.0), log_scale)
    assert float(at_top) == pytest.approx(math.log(1 / (1 + math.exp(-45.5 / math.e))), abs=1e-7)


def test_a_value_far_off_has_a_finite_log_p_and_gradient() -> None:
    mean = torch.tensor([3.0, 200.0], requires_grad=True)
    log_scale = torch.tensor([-4.0, -4.0], requires_grad=True)
    log_p = discretised_logistic_log_p(torch.tensor([180.0, 200.0]), mean, log_scale)
    log_p.sum().backward()  # type: ignore[no-untyped-call]
    # Far off, a bin of one grey level is worth its density: (|x - mean| - 1/2) / scale below.
    assert float(log_p[0].detach()) == pytest.approx(-177 / math.exp(-4) + 4, rel=0.01)
    for gradient in (mean.grad, log_scale.grad):
        assert gradient is not None
        assert bool(gradient.isfinite().all())
    assert float(mean.grad[0]) > 10  # type: ignore[index]


def test_bernoulli_is_binary_cross_entropy_with_its_gradient() -> None:
    torch.manual_seed(0)
    logits = (4 * torch.randn(5, 3, 784)).requires_grad_()
    x = (torch.rand(5, 784) < 0.3).float()
    target = x[:, None].expand(-1, 3, -1)
    expected = -functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weights = torch.randn(5, 3)
    (gradient,) = torch.autograd.grad((expected.sum(-1) * weights).sum(), logits)
    log_p = bernoulli_log_p(x, logits)
    torch.testing.assert_close(log_p, expected.sum(-1), rtol=1e-6, atol=1e-3)
    (own,) = torch.autograd.grad((log_p * weights).sum(), logits)
    torch.testing.assert_close(own, gradient, rtol=1e-5, atol=1e-6)


def test_bernoulli_bears_logits_of_any_size() -> None:
    logits = torch.full((1, 1, 1024), 1e4)
    logits[..., ::2] *= -1
    x = (logits[:, 0] > 0).float()
    assert float(bernoulli_log_p(x, logits)) == 0.0
    assert float(bernoulli_log_p(1 - x, logits)) == pytest.approx(-1024e4)


def test_logistic_density_integrates_to_one() -> None:
    z = torch.linspace(-200, 220, 100_001, dtype=torch.float64)
    p = logistic_log_p(z, torch.tensor(9.0), torch.tensor(1.5)).exp()
    assert float(torch.trapezoid(p, z)) == pytest.approx(1, abs=1e-6)
