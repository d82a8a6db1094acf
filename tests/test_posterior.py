"""A stochastic layer's mixture: a density, its samples, and a posterior between prior and image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqcodec.density.posterior import Prior


def mixture(means: list[float], scales: list[float], weights: list[float]) -> Prior:
    """A mixture for one coefficient at one position, with a noise of 0.4."""

    def parameter(values: list[float]) -> Tensor:
        return torch.tensor(values)[None, :, None, None, None]

    noise = torch.full((1, 1, 1), math.log(0.4))
    return Prior(parameter(means), parameter(scales).log(), parameter(weights).log(), noise)


TWO = ([-3.0, 4.0], [0.5, 2.0], [0.3, 0.7])


def test_density_integrates_to_one() -> None:
    z = torch.linspace(-60, 60, 24001)
    total = torch.trapezoid(mixture(*TWO).log_p(z[None, None, None]).exp()[0, 0, 0], z)
    assert float(total) == pytest.approx(1, abs=1e-4)


def test_samples_are_distributed_as_the_density_says() -> None:
    prior = mixture(*TWO)
    generator = torch.Generator().manual_seed(0)
    drawn = prior.sample(torch.randn((1, 1, 200, 500), generator=generator)).flatten()
    for edge in (-4.0, -3.0, -1.0, 2.0, 4.0, 9.0):
        exact = 0.3 / (1 + math.exp(-(edge + 3) / 0.5)) + 0.7 / (1 + math.exp(-(edge - 4) / 2))
        assert float((drawn < edge).float().mean()) == pytest.approx(exact, abs=0.006)


def test_one_logistic_twice_is_one_logistic() -> None:
    h = torch.linspace(-20, 20, 41)[None, None, None]
    normal = torch.linspace(-2, 2, 41)[None, None, None]
    one = mixture([1.0], [0.7], [1.0]).draw(h, normal)
    two = mixture([1.0, 1.0], [0.7, 0.7], [0.4, 0.6]).draw(h, normal)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("scale", "most"), [(0.01, 0.05), (100.0, 5.0)])
def test_posterior_is_the_surer_of_prior_and_image(scale: float, most: float) -> None:
    centre, precision = mixture([5.2], [scale], [1.0]).posterior(torch.full((1, 1, 1, 1), 5.0))
    assert 5.0 <= float(centre) <= 5.2
    if scale < 1:
        assert float(centre) == pytest.approx(5.2, abs=most)
        assert float(precision) > 10 / 0.4**2
    else:
        assert float(centre) == pytest.approx(5.0, abs=0.01)
        assert float(precision) == pytest.approx(1 / 0.4**2, rel=0.01)


def test_an_outlier_is_pulled_to_the_logistic_that_it_may_be_of() -> None:
    prior = mixture([0.0, 8.0], [0.2, 0.2], [0.5, 0.5])
    centre, _ = prior.posterior(torch.tensor([[[[7.5]]]]))
    assert 7.5 < float(centre) < 8
    _, cost = prior.draw(torch.tensor([[[[4.0, 8.0]]]]), torch.zeros(1, 1, 1, 2))
    assert float(cost[..., 0]) > float(cost[..., 1]) + 5
