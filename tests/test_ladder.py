"""The photo density model: an exact transform, a true bound, any size, a good start."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vqcodec.density.bounds import log_mean_exp
from vqcodec.density.fitting import initialise
from vqcodec.density.ladder import GROUPS, Ladder, LadderConfig
from vqcodec.density.posterior import Prior
from vqcodec.density.pyramid import DETAILS, analyse, merge, to_rgb
from vqcodec.density.windows import PositionNoise, Window, windows

SMALL = LadderConfig(scales=3, width=8)


@pytest.fixture(scope="module")
def fitted(scenes: Tensor) -> Ladder:
    """A small model fitted to two scenes, its blocks not quite the identity."""
    torch.manual_seed(0)
    model = Ladder(SMALL)
    initialise(model, scenes[0])
    for name, parameter in model.named_parameters():
        if name.endswith("out.weight") or name == "pixels.weight":
            torch.nn.init.normal_(parameter, std=0.01)
    return model.eval()


def bits_per_dimension(model: Ladder, x: Tensor) -> float:
    torch.manual_seed(1)
    with torch.no_grad():
        return float(-model(x).log_w.sum()) / (x.numel() * math.log(2))


def test_pyramid_is_orthonormal_and_its_inverse_exact(scenes: Tensor) -> None:
    x = scenes[0].float()
    pyramid = analyse(x, 3)
    assert [details.shape[1:] for _, details in pyramid] == [
        (DETAILS, 16, 24),
        (DETAILS, 32, 48),
        (DETAILS, 64, 96),
    ]
    picture = pyramid[0][0]
    energy = picture.square().sum() + sum(details.square().sum() for _, details in pyramid)
    torch.testing.assert_close(energy, (x - 127.5).square().sum())
    for mean, details in pyramid:
        torch.testing.assert_close(picture, mean, atol=1e-3, rtol=0)
        picture = merge(mean, details)
    torch.testing.assert_close(to_rgb(picture), x, atol=1e-3, rtol=0)


def test_details_are_differences_across_columns_rows_and_both() -> None:
    x = torch.zeros(3, 3, 2, 2)
    x[0, :, :, 0] = x[1, :, 0] = 10.0
    x[2, :, 0, 0] = x[2, :, 1, 1] = 10.0
    details = torch.unflatten(analyse(x, 1)[0][1][..., 0, 0], 1, (3, 3))
    luma = 10 * math.sqrt(3)
    torch.testing.assert_close(details[..., 0], luma * torch.eye(3))
    torch.testing.assert_close(details[..., 1:], torch.zeros(3, 3, 2))


def test_every_detail_is_in_one_layer() -> None:
    assert sorted(detail for group in GROUPS for detail in group) == list(range(DETAILS))


def test_untrained_model_is_a_fair_lossless_coder(fitted: Ladder, scenes: Tensor) -> None:
    torch.manual_seed(0)
    blank = bits_per_dimension(Ladder(SMALL), scenes[1])
    # Scenes that it was not fitted to; a third of their pixels has noise of up to 12 grey levels.
    assert bits_per_dimension(fitted, scenes[1]) < 5.2 < blank - 0.5


def test_terms_come_layer_by_layer_and_sum_the_maps(fitted: Ladder, scenes: Tensor) -> None:
    x = scenes[0]
    with torch.no_grad():
        torch.manual_seed(2)
        maps = fitted.maps(x)
        torch.manual_seed(2)
        terms = fitted(x)
    assert maps.reconstruction.shape == (2, 128, 192)
    assert [kl.shape[1:] for kl in maps.kl] == [(16, 24)] * 7 + [(32, 48)] * 6 + [(64, 96)] * 6
    assert len(terms.kl) == 1 + SMALL.scales * len(GROUPS)
    for kl, whole in zip(maps.kl, terms.kl, strict=True):
        torch.testing.assert_close(kl.sum((1, 2)), whole[:, 0])
        assert float(whole.mean()) > 0
    log_p = maps.reconstruction.sum((1, 2)) - sum(kl.sum((1, 2)) for kl in maps.kl)
    torch.testing.assert_close(terms.log_w[:, 0], log_p, rtol=1e-5, atol=1e-2)


def test_bound_grows_with_k(fitted: Ladder, scenes: Tensor) -> None:
    x = scenes[0][:1, :, :16, :16].expand(64, -1, -1, -1)
    with torch.no_grad():
        torch.manual_seed(3)
        log_w = fitted(x).log_w[:, 0]
    means = [float(log_mean_exp(log_w.view(-1, k)).mean()) for k in (1, 4, 16, 64)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 1


@pytest.mark.parametrize("components", [1, 3])
def test_probabilities_of_all_one_pixel_images_sum_to_one_at_most(components: int) -> None:
    torch.manual_seed(4)
    model = Ladder(LadderConfig(scales=1, width=4, components=components))
    x = torch.arange(122, 134, dtype=torch.uint8)
    colours = torch.cartesian_prod(x, x, x)[:, :, None, None]
    with torch.no_grad():
        # A narrow prior, so that no other colours matter, and hardly any details.
        model.top_log_scale.fill_(-0.5)
        for layer in model.scales[0].layers:
            first = components * len(layer.log_noise)
            layer.head.bias[first : first + len(layer.log_noise)] = -1.5 - components / 2
        log_w = torch.cat([model(colours).log_w for _ in range(64)], 1)
    total = float(log_mean_exp(log_w).exp().sum())
    assert 0.2 < total < 1.02


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (17, 8), (40, 33)])
def test_any_size_costs_little_more_than_its_pixels(
    fitted: Ladder, scenes: Tensor, height: int, width: int
) -> None:
    cut = scenes[0][:1, :, :height, :width]
    with torch.no_grad():
        maps = fitted.maps(cut)
    assert maps.reconstruction.shape == (1, height, width)
    stride = 1 << SMALL.scales
    for number, kl in enumerate(maps.kl):
        own = stride >> max(0, (number - 1) // len(GROUPS))
        rows, columns = -(-height // own), -(-width // own)
        assert float(kl[:, rows:].abs().sum() + kl[:, :, columns:].abs().sum()) == 0.0
    bits = bits_per_dimension(fitted, cut) * cut.numel()
    # The border's coefficients reach beyond the image, and the coarsest three cost 14 bits each.
    assert bits < 10 * 3 * (height + 2) * (width + 2) + 100


def test_shares_gradients_with_everything(fitted: Ladder, scenes: Tensor) -> None:
    model = Ladder(SMALL)
    model.load_state_dict(fitted.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        loss = -model(scenes[0][..., :64, :64]).log_w.mean()
    torch.autograd.backward(loss)
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_bfloat16_features_cost_next_to_nothing(fitted: Ladder, scenes: Tensor) -> None:
    exact = bits_per_dimension(fitted, scenes[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert bits_per_dimension(fitted, scenes[1]) == pytest.approx(exact, abs=0.02)


def test_linear_prediction_foretells_what_is_smooth() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    waves = [100 * torch.sin(x / 9 + phase) * torch.cos(y / 7) for phase in (0.0, 1.0, 2.0)]
    image = (127 + torch.stack(waves)).round().to(torch.uint8)[None]
    model = Ladder(SMALL)
    initialise(model, image)
    mean, details = analyse(image.float(), SMALL.scales)[-1]
    with torch.no_grad():
        missed = (details - model.scales[-1].predict(mean))[:, 0, 2:-2, 2:-2]
    assert float(missed.square().mean()) < 0.02 * float(details[:, 0].square().mean())


def test_head_starts_near_the_best_scale(fitted: Ladder, scenes: Tensor) -> None:
    """A layer's prior is about as good on average as the best of all wider and narrower ones."""
    costs = []

    def visit(layer: torch.nn.Module, features: Tensor, predicted: Tensor, h: Tensor) -> None:
        prior: Prior = layer.prior(features, predicted)  # type: ignore[operator]
        priors = (replace(prior, log_scale=prior.log_scale + d) for d in (-0.7, 0.0, 0.7))
        costs.append([-float(prior.log_p(h).mean()) for prior in priors])

    with torch.no_grad():
        fitted.maps(scenes[0], visit)
    assert len(costs) == SMALL.scales * len(GROUPS)
    for narrower, own, wider in costs:
        assert own < narrower
        assert own < wider


@pytest.mark.parametrize("blocks", [1, 2])
def test_reach_is_how_far_a_latent_is_seen(blocks: int) -> None:
    model = Ladder(LadderConfig(scales=1, width=4, blocks=blocks))
    reach = model.scales[0].reach()
    middle, side = 2 * reach, 4 * reach + 1

    def noise(layer: int, channels: int, window: Window) -> Tensor:
        drawn = PositionNoise(0)(layer, channels, window)
        if layer == 0:
            drawn[:, :, middle, middle] = math.nan  # which no operation forgets
        return drawn

    with torch.no_grad():
        x = torch.zeros(1, 3, 2 * side, 2 * side, dtype=torch.uint8)
        spoilt = model.maps(x, noise=noise).reconstruction[0].isnan()
    rows = spoilt.any(1).nonzero()[:, 0].tolist()
    assert rows == list(range(2 * (middle - reach), 2 * (middle + reach + 1)))


def test_windows_hold_what_the_next_finer_one_needs() -> None:
    found = windows(Window(64, 96, 0, 32), Window(0, 200, 0, 90), [3, 4, 5])
    assert found == [
        (Window(0, 20, 0, 12), Window(4, 16, 0, 8)),
        (Window(8, 32, 0, 16), Window(13, 27, 0, 11)),
        (Window(26, 54, 0, 22), Window(32, 48, 0, 16)),
    ]


def test_noise_is_a_function_of_the_place() -> None:
    noise, window = PositionNoise(1, 2), Window(50, 150, 60, 70)
    whole = noise(3, 2, Window(0, 200, 0, 100))
    assert torch.equal(noise(3, 2, window), window.cut(whole, Window(0, 200, 0, 100)))
    assert abs(float(whole.mean())) < 0.02
    assert abs(float(whole.std()) - 1) < 0.02
    others = PositionNoise(1, 3)(3, 2, window), noise(4, 2, window)
    for other in others:
        assert abs(float((other * noise(3, 2, window)).mean())) < 0.1
