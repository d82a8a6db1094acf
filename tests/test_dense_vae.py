"""The VAE of the IWAE paper: its sizes, its bound, and how it starts."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from vqcodec.density.bounds import log_mean_exp
from vqcodec.density.dense import DenseConfig, DenseVAE


@pytest.mark.parametrize(
    ("layers", "encoder"),
    [(1, [(784, 200, 50)]), (2, [(784, 200, 100), (100, 100, 50)])],
)
def test_sizes_are_those_of_the_paper(layers: int, encoder: list[tuple[int, int, int]]) -> None:
    def gaussian(inputs: int, hidden: int, outputs: int) -> int:
        weights = inputs * hidden + hidden**2 + hidden * 2 * outputs
        return weights + 2 * hidden + 2 * outputs

    expected = sum(gaussian(*sizes) for sizes in encoder)
    expected += sum(gaussian(z, hidden, x) for x, hidden, z in encoder[1:])
    first = encoder[0][2]
    expected += first * 200 + 200 + 200 * 200 + 200 + 200 * 784 + 784
    model = DenseVAE(DenseConfig.of_layers(layers))
    assert sum(p.numel() for p in model.parameters()) == expected


def test_starts_at_the_mean_image() -> None:
    model = DenseVAE(DenseConfig(pixels=4))
    model.initialise(torch.tensor([0.0, 0.2, 0.5, 1.0]))
    bias = model.logits.bias.detach().sigmoid()
    torch.testing.assert_close(bias, torch.tensor([0.001, 0.2, 0.5, 0.999]))


@torch.no_grad()
def test_terms_come_layer_by_layer_and_the_bound_grows() -> None:
    torch.manual_seed(0)
    model = DenseVAE(DenseConfig(pixels=5, latents=(4, 3), hidden=(6, 6)))
    x = torch.randint(0, 2, (3, 1, 1, 5), dtype=torch.uint8)
    terms = model(x, 4000)
    assert terms.reconstruction.shape == (3, 4000)
    assert [kl.shape for kl in terms.kl] == [(3, 4000)] * 2
    assert [z.shape for z in terms.z] == [(3, 4000, 4), (3, 4000, 3)]
    assert bool((log_mean_exp(terms.log_w) > terms.log_w.mean(-1)).all())


@torch.no_grad()
def test_bound_of_all_images_is_a_distribution() -> None:
    """With many samples exp(L_k) of the 16 images of four pixels must sum to one."""
    torch.manual_seed(0)
    model = DenseVAE(DenseConfig(pixels=4, latents=(3, 2), hidden=(6, 6)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.tensor([[int(b) for b in f"{n:04b}"] for n in range(16)], dtype=torch.float32)
    total = log_mean_exp(model(x, 50_000).log_w).exp().sum()
    assert float(total) == pytest.approx(1, abs=0.02)


@torch.no_grad()
@pytest.mark.parametrize("layers", [(2,), (2, 2)])
def test_weights_do_not_depend_on_how_the_gradient_is_taken(layers: tuple[int, ...]) -> None:
    model = DenseVAE(DenseConfig(pixels=4, latents=layers, hidden=(3,) * len(layers)))
    x = torch.ones(2, 4)
    weights = []
    for score in (True, False):
        torch.manual_seed(5)
        weights.append(model(x, 3, score=score).log_w)
    torch.testing.assert_close(weights[0], weights[1])
    assert bool(weights[0].isfinite().all())
    assert float(weights[0].max()) < 4 * math.log(2)


def test_config_comes_back_from_json() -> None:
    config = DenseConfig.of_layers(2)
    assert DenseConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
