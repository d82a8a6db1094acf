"""The network: a good transform codec before training, and trainable in every parameter."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import Tensor

from vqcodec.model.layers import KNOTS, QUALITIES, Block, log_step_gain, quality_weights
from vqcodec.model.vqvae import VQVAE, Config, Output

INTEGERS = Config(
    channels=((16, 32), (8, 24)),
    hidden=(6, 6),
    analysis_blocks=1,
    synthesis_blocks=1,
    prior_width=6,
    prior_head=6,
)
CODEBOOKS = dataclasses.replace(
    INTEGERS,
    groups=(
        ((1, 4), (2, 2), (4, 2)),
        ((1, 8), (4, 2), (8, 2)),
        ((1, 2), (2, 3)),
        ((2, 4), (8, 2)),
    ),
)
CLASSICAL = dataclasses.replace(CODEBOOKS, classical=True)
all_kinds = pytest.mark.parametrize("config", [INTEGERS, CODEBOOKS, CLASSICAL])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def x() -> Tensor:
    """Two smooth images, float32 [2, 3, 64, 128]."""
    rows, columns = torch.arange(64.0)[:, None], torch.arange(128.0)
    waves = [
        torch.sin(columns / 13 + phase) * torch.cos(rows / 17 + 2 * phase)
        for phase in torch.linspace(0, 3, 6)
    ]
    return (0.5 + 0.3 * torch.stack(waves)).view(2, 3, 64, 128)


def code(model: VQVAE, x: Tensor, quality: float) -> Output:
    output = model(x, torch.full((len(x),), quality))
    assert isinstance(output, Output)
    return output


def fitted(x: Tensor) -> VQVAE:
    """An untrained network, fitted to `x`, as it is when files are coded."""
    model = VQVAE(INTEGERS)
    model.initialise(x)
    return model.eval()


@torch.no_grad()
def test_untrained_network_is_a_codec_with_a_quality(x: Tensor) -> None:
    model = fitted(x)
    outputs = [code(model, x, quality) for quality in (1.0, 40.0, 70.0, 100.0)]
    bits = torch.stack([out.bits for out in outputs])
    mse = torch.stack([out.mse for out in outputs])
    assert bool((bits.diff(dim=0) > 0).all())
    assert bool((mse.diff(dim=0) < 0).all())
    assert float(-10 * mse[-1].max().log10()) > 40
    assert float(bits[0].max()) / (64 * 128) < 0.3


@torch.no_grad()
def test_output_describes_each_image(x: Tensor) -> None:
    model = fitted(x)
    out = model(x, torch.tensor([20.0, 80.0]))
    assert out.x_hat.shape == x.shape
    assert out.level_bits.shape == (2, 4)
    torch.testing.assert_close(out.level_bits.sum(1), out.bits)
    torch.testing.assert_close(out.mse, (x - out.x_hat).square().mean((1, 2, 3)))
    for number, quality in enumerate((20.0, 80.0)):
        alone = code(model, x[number : number + 1], quality)
        torch.testing.assert_close(alone.bits[0], out.bits[number], rtol=1e-3, atol=0)


@torch.no_grad()
def test_blocks_start_as_the_identity() -> None:
    model = VQVAE(INTEGERS)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    # one in the encoder and one in the decoder of each kind, the way to the finer scale, 4 levels
    assert len(blocks) == 2 + 1 + 1 + 4
    features = torch.randn(2, 192, 3, 2)
    weights = quality_weights(torch.tensor([10.0, 90.0]))
    for block in blocks:
        assert torch.equal(block(features, weights), features)


@torch.no_grad()
def test_network_without_levels_to_code_is_the_lapped_transform(x: Tensor) -> None:
    model = VQVAE(INTEGERS)
    weights = quality_weights(torch.tensor([50.0, 50.0]))
    fine = model.analyse(x, weights)[1]
    torch.testing.assert_close(model.synthesise(fine, weights), x, rtol=0, atol=1e-5)


def start(model: VQVAE, x: Tensor) -> None:
    """Take over what does not depend on the words from a network of integers fitted to `x`."""
    integers = fitted(x)
    own = model.state_dict()
    for name, value in integers.state_dict().items():
        if name in own and own[name].shape == value.shape:
            own[name].copy_(value)


def auxiliary_loss(model: VQVAE) -> Tensor:
    losses = [getattr(module, "auxiliary_loss", torch.zeros(1)) for module in model.modules()]
    return torch.stack([loss.sum() for loss in losses]).sum()


@all_kinds
def test_gradient_reaches_every_parameter(config: Config, x: Tensor) -> None:
    model = VQVAE(config)
    start(model, x)
    with torch.no_grad():  # off the start, where the identity hides the insides of blocks
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    out = model(x, torch.tensor([30.0, 90.0]))
    # 1e5: bits are counted by the thousand
    torch.autograd.backward((out.bits + 1e5 * out.mse).sum() + auxiliary_loss(model))
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@torch.no_grad()
def test_levels_are_coded_coarse_to_fine(x: Tensor) -> None:
    """What a level holds does not depend on those after it."""
    model = fitted(x)
    before = code(model, x, 60.0).level_bits
    model.levels[1][0].take.zero_()
    after = code(model, x, 60.0).level_bits
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert bool((after[:, 2] < 0.5 * before[:, 2]).all())


@all_kinds
def test_config_survives_json(config: Config) -> None:
    config = dataclasses.replace(config, lmbda_min=0.001)
    text = json.dumps(dataclasses.asdict(config))
    assert Config.from_dict(json.loads(text)) == config


def test_config_refuses_unknown_fields() -> None:
    with pytest.raises(TypeError, match="depth"):
        Config.from_dict({"depth": 3})


def test_quality_spaces_lmbda_evenly_in_the_logarithm() -> None:
    config = Config(lmbda_min=0.001, lmbda_max=0.1)
    lmbda = config.lmbda(torch.tensor([1.0, 50.5, 100.0]))
    torch.testing.assert_close(lmbda, torch.tensor([0.001, 0.01, 0.1]))


def test_quality_weights_interpolate_between_knots() -> None:
    weights = quality_weights(torch.linspace(1, QUALITIES, 2 * KNOTS - 1))
    torch.testing.assert_close(weights.sum(1), torch.ones(2 * KNOTS - 1))
    torch.testing.assert_close(weights[::2], torch.eye(KNOTS))
    torch.testing.assert_close(weights[1, :2], torch.tensor([0.5, 0.5]))


def test_step_is_that_of_high_rate_theory() -> None:
    """Of three values a pixel, with images scaled fourfold: a step D costs 3 log2(1 / D) bits."""
    gain = float(log_step_gain(0.01, 1.0)[0].exp())
    step = torch.tensor(1 / gain, dtype=torch.float64, requires_grad=True)
    cost = -3 * step.log2() + 0.01 * 255**2 * step**2 / (12 * 16)
    (slope,) = torch.autograd.grad(cost, step)
    assert abs(float(slope)) < 0.01 * 3 / (float(step.detach()) * math.log(2))
