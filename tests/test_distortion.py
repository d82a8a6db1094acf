"""What an error is worth in training: shares, units, and measures that are the packages' own."""

from __future__ import annotations

import pytest
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor
from torch.nn import functional

from train import features
from train.distortion import MEASURES, Distortion, dissimilarity
from train.errors import TrainError
from vqcodec.density.ycc import LUMA


@pytest.fixture
def pair(scenes: Tensor) -> tuple[Tensor, Tensor]:
    """Two pictures, and the same with noise, in [0, 1]: `[2, 3, 192, 192]`."""
    x = functional.interpolate(scenes[0].float(), (192, 192)) / 255
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, x + 0.05 * noise


@torch.no_grad()
def test_shares_add_up(pair: tuple[Tensor, Tensor]) -> None:
    x, x_hat = pair
    mse = (x - x_hat).square().mean((1, 2, 3))
    shares = {"structure": 0.2, "ssimulacra2": 0.3, "features": 0.4}
    total, terms = Distortion(shares)(x, x_hat, mse)
    expected = (1 - sum(shares.values())) * mse
    for name, share in shares.items():
        measure, unit = MEASURES[name]
        expected = expected + share * unit * measure(x, x_hat)
        torch.testing.assert_close(terms[name], measure(x, x_hat).mean())
    torch.testing.assert_close(total, expected)
    alone, nothing = Distortion({})(x, x_hat, mse)
    assert torch.equal(alone, mse)
    assert nothing == {}


def test_shares_of_more_than_the_whole_distortion_are_refused() -> None:
    with pytest.raises(TrainError, match="structure and features are more than the whole"):
        Distortion({"structure": 0.6, "features": 0.5})


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_zero_of_what_is_equal_and_leads_towards_it(
    name: str, pair: tuple[Tensor, Tensor]
) -> None:
    (x, x_hat), measure = pair, MEASURES[name][0]
    with torch.no_grad():
        torch.testing.assert_close(measure(x, x), torch.zeros(2), atol=1e-4, rtol=0)
    x_hat = x_hat.clone().requires_grad_()
    before = measure(x, x_hat)
    (gradient,) = torch.autograd.grad(before.sum(), x_hat)
    step = 1e-3 / gradient.abs().mean()
    with torch.no_grad():
        assert bool((measure(x, x_hat - step * gradient) < before).all())


@pytest.mark.parametrize("name", MEASURES)
@torch.no_grad()
def test_a_measure_is_in_full_precision_where_training_is_not(
    name: str, pair: tuple[Tensor, Tensor]
) -> None:
    x, x_hat = pair
    distortion = Distortion({name: 1.0})
    expected, _ = distortion(x, x_hat, torch.zeros(2))
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = distortion(x, x_hat, torch.zeros(2))
    torch.testing.assert_close(total, expected)


@torch.no_grad()
def test_dissimilarity_is_what_ms_ssim_of_luma_lacks_of_one(pair: tuple[Tensor, Tensor]) -> None:
    x, x_hat = ((255 * image * torch.tensor(LUMA)[:, None, None]).sum(1, True) for image in pair)
    expected = 1 - ms_ssim(x, x_hat, data_range=255, size_average=False)
    assert float(expected.min()) > 0.01
    torch.testing.assert_close(dissimilarity(*pair), expected)


@pytest.mark.parametrize("classifier", features.BLOCKS)
@torch.no_grad()
def test_features_are_those_that_the_classifier_ends_in(
    pair: tuple[Tensor, Tensor], classifier: str
) -> None:
    # The same blocks, by the package's own way through them.
    network, seen = features._network(classifier), {}
    hooks = [
        block.register_forward_hook(lambda _m, _i, out, n=number: seen.update({n: out}))
        for number, block in enumerate(network._blocks)
    ]
    network.extract_features((255 * pair[0] - 127) / 128)
    for hook in hooks:
        hook.remove()
    ends = features._features(pair[0], classifier)
    for number, found in zip(features.BLOCKS[classifier], ends, strict=True):
        torch.testing.assert_close(found, functional.normalize(seen[number], dim=1))
    assert [found.shape[-1] for found in ends] == [96, 48, 24, 12]
    following = [seen[number + 1].shape[-1] for number in features.BLOCKS[classifier]]
    assert following == [48, 24, 12, 6]
