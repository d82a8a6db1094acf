"""The importance-weighted bound on models whose likelihood is known, and its two gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from train.iwae import ESTIMATORS
from vqcodec.density.bounds import (
    Terms,
    dreg_loss,
    iwae_loss,
    jackknife_error,
    log_mean_exp,
    resampled,
    streamed_bound,
)
from vqcodec.density.dense import DenseConfig, DenseVAE

SLOPE, NOISE = 2.0, 0.7
SMALL = DenseConfig(pixels=6, latents=(3, 2), hidden=(5, 4))


def normal_log_p(x: Tensor, mean: Tensor, std: float) -> Tensor:
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))


def linear_gaussian(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Log weights `[B, k]` of z ~ N(0, 1), x ~ N(2 z, 0.7), with a q that is off and too wide."""
    mean, std = x[:, None] / (SLOPE + 0.3), 0.5
    z = mean + std * torch.randn((len(x), k), generator=generator)
    zero = torch.zeros(())
    log_p = normal_log_p(x[:, None], SLOPE * z, NOISE) + normal_log_p(z, zero, 1.0)
    return log_p - normal_log_p(z, mean, std)


def exact(x: Tensor) -> Tensor:
    return normal_log_p(x, torch.zeros(()), math.hypot(SLOPE, NOISE))


def drawing(x: Tensor, seed: int = 0) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda n: linear_gaussian(x, n, generator)


X = torch.tensor([-3.0, 0.1, 1.0, 4.5])


def test_bound_reaches_the_exact_likelihood_as_k_grows() -> None:
    gaps = {k: (exact(X) - streamed_bound(drawing(X), k, 1000)).abs().max() for k in (1, 100_000)}
    assert float(gaps[1]) > 0.2
    assert float(gaps[100_000]) < 0.005


def test_bound_never_falls_as_k_grows() -> None:
    log_w = drawing(X)(2**17)
    before, before_error = torch.full((4,), -math.inf), torch.zeros(4)
    for k in (1, 2, 8, 64, 512):
        bounds = log_mean_exp(torch.unflatten(log_w, -1, (-1, k)))
        mean, error = bounds.mean(-1), bounds.std(-1) / bounds.shape[-1] ** 0.5
        assert bool((mean >= before - 2 * torch.hypot(error, before_error)).all())
        before, before_error = mean, error
    assert bool((before <= exact(X) + 3 * before_error).all())
    # With one sample it is the ELBO, which has a closed form here.
    mean, variance = X / (SLOPE + 0.3), 0.25
    reconstruction = normal_log_p(X, SLOPE * mean, NOISE) - SLOPE**2 * variance / (2 * NOISE**2)
    kl = 0.5 * (variance + mean**2 - 1 - math.log(variance))
    torch.testing.assert_close(log_w.mean(-1), reconstruction - kl, rtol=0, atol=0.05)


def test_streaming_gives_what_all_samples_at_once_give() -> None:
    whole = log_mean_exp(drawing(X)(1000))
    log_w = drawing(X)(1000)
    parts = iter(torch.split(log_w, 300, -1))
    sizes = []

    def draw(n: int) -> Tensor:
        sizes.append(n)
        return next(parts)

    torch.testing.assert_close(streamed_bound(draw, 1000, 300), whole)
    assert sizes == [300, 300, 300, 100]


def test_streaming_bears_log_weights_far_from_zero() -> None:
    log_w = torch.tensor([[-1e5, -1e5 + 1.0, -9e4]])
    parts = iter(torch.split(log_w, 1, -1))
    assert float(streamed_bound(lambda n: next(parts), 3, 1)) == pytest.approx(
        -9e4 - math.log(3), abs=0.01
    )


def test_terms_add_up_to_the_weight() -> None:
    terms = Terms(torch.tensor([[-5.0]]), (torch.tensor([[1.0]]), torch.tensor([[0.5]])))
    assert float(terms.log_w) == -6.5
    assert float(iwae_loss(terms)) == 6.5


def test_jackknife_error_is_that_of_repeated_estimates() -> None:
    log_w = torch.unflatten(drawing(X)(64 * 2000), -1, (-1, 64))
    spread = log_mean_exp(log_w).std(-1)
    error = jackknife_error(log_w).square().mean(-1).sqrt()
    torch.testing.assert_close(error, spread, rtol=0.15, atol=0)


def test_jackknife_error_of_a_mean_and_of_a_dominating_weight() -> None:
    # Nearly equal weights: the error of their mean.
    log_w = 1e-3 * torch.randn((1, 50), generator=torch.Generator().manual_seed(0)).double()
    expected = log_w.std() / 50**0.5
    assert float(jackknife_error(log_w)) == pytest.approx(float(expected), rel=0.02)
    # One weight above all: without it the bound would be 100 nats lower.
    lonely = torch.tensor([[0.0, -100.0, -100.0, -100.0]])
    assert 40 < float(jackknife_error(lonely)) < 100


def gradients(
    model: DenseVAE, x: Tensor, loss: Callable[[Terms], Tensor], score: bool
) -> dict[str, Tensor]:
    torch.manual_seed(3)
    model.zero_grad()
    torch.autograd.backward(loss(model(x, 4, score=score)))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def small_model() -> DenseVAE:
    torch.manual_seed(1)
    model = DenseVAE(SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


def test_dreg_keeps_the_loss_and_the_generative_gradient() -> None:
    model, x = small_model(), (torch.rand(50, 6) < 0.5).float()
    values = []
    for loss, score in ((iwae_loss, True), (dreg_loss, False)):
        torch.manual_seed(3)
        values.append(float(loss(model(x, 4, score=score)).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    plain, dreg = gradients(model, x, iwae_loss, True), gradients(model, x, dreg_loss, False)
    for name in plain:
        if not name.startswith("encoder"):
            torch.testing.assert_close(dreg[name], plain[name], rtol=1e-4, atol=1e-5)


def test_dreg_and_plain_gradients_agree_in_expectation() -> None:
    model = small_model()
    x = (torch.rand((1, 6), generator=torch.Generator().manual_seed(2)) < 0.5).float()
    # Many copies of one image: the gradient is a mean over as many draws.
    draws = [torch.cat([x] * 4000)] * 25
    sums: dict[str, list[Tensor]] = {"plain": [], "dreg": []}
    for number, batch in enumerate(draws):
        for name, loss, score in (("plain", iwae_loss, True), ("dreg", dreg_loss, False)):
            torch.manual_seed(2 * number + (name == "dreg"))
            model.zero_grad()
            torch.autograd.backward(loss(model(batch, 4, score=score)))
            grads = [p.grad for n, p in model.named_parameters() if n.startswith("encoder")]
            sums[name].append(torch.cat([g.flatten() for g in grads if g is not None]))
    plain, dreg = (torch.stack(sums[name]) for name in ("plain", "dreg"))
    # Parameters that no draw touches have no error either.
    error = (torch.hypot(plain.std(0), dreg.std(0)) / len(draws) ** 0.5).clamp(min=1e-9)
    difference = (plain.mean(0) - dreg.mean(0)).abs()
    assert float((difference / error).max()) < 4.5
    # And they are known well enough for that to say something.
    assert float(difference.norm()) < 0.05 * float(plain.mean(0).norm())
    assert float(dreg.std(0).norm()) < float(plain.std(0).norm())


def test_samples_are_drawn_by_their_weights() -> None:
    torch.manual_seed(0)
    log_w = 3 * torch.randn(1, 20) - 500
    expected = torch.softmax(log_w[0], -1)
    drawn = resampled(log_w.expand(20000, -1), 8)
    shares = torch.bincount(drawn.flatten(), minlength=20) / drawn.numel()
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.003)
    # Systematic: a sample that is worth half of all weight is drawn every other time, always.
    counts = (resampled(torch.tensor([[0.0, 0.0]]).expand(50, -1), 8) == 0).sum(-1)
    assert counts.tolist() == [4] * 50


def test_noise_makes_the_same_terms_again() -> None:
    model, x = small_model(), (torch.rand(5, 6) < 0.5).float()
    first = model(x, 4)
    again = model(x, 4, noise=first.noise)
    torch.testing.assert_close(again.log_w, first.log_w)
    part = model(x, 2, noise=[each[:, 2:] for each in first.noise])
    torch.testing.assert_close(part.log_w, first.log_w[:, 2:])


def test_resampling_keeps_the_loss_and_the_gradient_in_expectation() -> None:
    model = small_model()
    x = (torch.rand((1, 6), generator=torch.Generator().manual_seed(2)) < 0.5).float()
    batch = torch.cat([x] * 4000)
    found: dict[str, list[Tensor]] = {"plain": [], "resampling": []}
    for number in range(25):
        losses = []
        for name, grads in found.items():
            torch.manual_seed(number)
            model.zero_grad()
            loss = ESTIMATORS[name](model, batch, 20)[1]
            torch.autograd.backward(loss)
            losses.append(float(loss.detach()))
            every = (p.grad for p in model.parameters())
            grads.append(torch.cat([grad.flatten() for grad in every if grad is not None]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    plain, resampling = (torch.stack(grads) for grads in found.values())
    difference = plain - resampling
    error = (difference.std(0) / len(difference) ** 0.5).clamp(min=1e-9)
    assert float((difference.mean(0).abs() / error).max()) < 4.5
    assert float(difference.mean(0).norm()) < 0.05 * float(plain.mean(0).norm())
