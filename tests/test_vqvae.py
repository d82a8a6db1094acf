"""The network: a good transform codec before training, and trainable in every parameter."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vqcodec.model.blocks import Block
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.config import Config
from vqcodec.model.initialise import initialise
from vqcodec.model.layers import (
    add_at,
    columns_of,
    quality_weights,
)
from vqcodec.model.level import Level
from vqcodec.model.vqvae import VQVAE, Output

INTEGERS = Config(
    channels=((16, 32), (8, 24)),
    phases=((1, 1), (3, 2)),
    hidden=((6, 6), (4, 6)),
    hidden_between_phases=4,
    pixel_hidden=(4, 4, 4),
    analysis_blocks=1,
    synthesis_blocks=1,
    prior_width=6,
    prior_head=6,
)
CHANNELS = INTEGERS.state_channels(1)
CODEBOOKS = dataclasses.replace(
    INTEGERS,
    groups=(
        ((1, 256, 4), (2, 256, 2), (4, 256, 2)),
        ((1, 64, 8), (4, 256, 2), (8, 256, 2)),
        ((1, 16, 2), (2, 256, 3)),
        ((1, 32, 8), (8, 256, 2)),
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
    initialise(model, x)
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_training_is_one_graph_to_the_compiler(x: Tensor) -> None:
    model = fitted(x).train()
    graph = torch.compile(model, backend="eager", fullgraph=True)  # which raises where it is cut
    quality = torch.tensor([20.0, 80.0])
    torch.manual_seed(0)
    expected = model(x, quality)
    torch.manual_seed(0)
    found = graph(x, quality)
    torch.testing.assert_close(found.bits, expected.bits)
    torch.testing.assert_close(found.x_hat, expected.x_hat)


@torch.no_grad()
def test_output_describes_each_image(x: Tensor) -> None:
    model = fitted(x)
    out = model(x, torch.tensor([20.0, 80.0]))
    assert out.x_hat.shape == x.shape
    assert out.phase_bits.shape == (2, 1 + 1 + 3 + 2)
    torch.testing.assert_close(out.phase_bits.sum(1), out.bits)
    torch.testing.assert_close(out.mse, (x - out.x_hat).square().mean((1, 2, 3)))
    for number, quality in enumerate((20.0, 80.0)):
        alone = code(model, x[number : number + 1], quality)
        torch.testing.assert_close(alone.bits[0], out.bits[number], rtol=1e-3, atol=0)


@torch.no_grad()
def test_blocks_start_as_the_identity() -> None:
    model = VQVAE(INTEGERS)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    # one in the encoder and one in the decoder of each kind, the way to the finer scale, 7 phases
    assert len(blocks) == 2 + 1 + 1 + 7
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
    """Take over what does not depend on the codewords from a network of integers fitted to `x`."""
    integers = fitted(x)
    state = model.state_dict()
    for name, value in integers.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)


def auxiliary_loss(model: VQVAE) -> Tensor:
    classical = (module for module in model.modules() if isinstance(module, ClassicalQuantizer))
    losses = [torch.zeros(1), *(quantizer.take_auxiliary_loss() for quantizer in classical)]
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
    # The state is zero before the first level: there is no activity for its gain to follow.
    assert without == ["levels.0.adapt.weight"]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@torch.no_grad()
def test_levels_are_coded_coarse_to_fine(x: Tensor) -> None:
    """What a level holds does not depend on those after it."""
    model = fitted(x)
    before = code(model, x, 60.0).phase_bits
    model.levels[2].project.zero_()
    after = code(model, x, 60.0).phase_bits
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert bool((after[:, 2:5].sum(1) < 0.5 * before[:, 2:5].sum(1)).all())


@pytest.mark.parametrize("phase", [0, 1])
@torch.no_grad()
def test_what_follows_a_phase_changes_the_next_ones_alone(x: Tensor, phase: int) -> None:
    model = fitted(x)
    before = code(model, x, 90.0).phase_bits
    torch.nn.init.normal_(model.levels[2].refine[phase].out.weight, std=0.3)
    after = code(model, x, 90.0).phase_bits
    column = 2 + phase
    assert torch.equal(before[:, : column + 1], after[:, : column + 1])
    assert bool((before[:, column + 1] != after[:, column + 1]).all())


def log_scales(model: VQVAE, x: Tensor, seeds: Sequence[int]) -> list[Tensor]:
    """What the prior says of each phase, whose values are random ones of its seed."""
    result: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> Any:
        generator = torch.Generator().manual_seed(seeds[len(result)])
        values = torch.randn(inputs[0].shape, generator=generator)
        result.append(inputs[2])
        return 9 * values, output[1]

    for level in model.levels:
        level.quantizer.register_forward_hook(note)
    code(model, x, 60.0)
    return result


@torch.no_grad()
def test_prior_sees_the_phases_before_and_nothing_else(x: Tensor) -> None:
    model = fitted(x)
    for phases in model.prior.levels:
        for prior in phases:
            prior.update.weight.mul_(3)
            torch.nn.init.normal_(prior.head.weight, std=0.3)
    before = log_scales(copy.deepcopy(model), x, [0] * 7)
    for changed in range(7):
        seeds = [int(phase == changed) for phase in range(7)]
        after = log_scales(copy.deepcopy(model), x, seeds)
        same = [torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert same == [phase <= changed for phase in range(7)]


@torch.no_grad()
def test_a_grid_of_one_position_has_phases_without_any() -> None:
    config = dataclasses.replace(INTEGERS, phases=((3, 2), (3, 2)))
    small = torch.rand(2, 3, 64, 64)
    out = VQVAE(config)(small, torch.tensor([30.0, 70.0]))
    assert out.phase_bits.shape == (2, 10)
    assert not out.phase_bits[:, [1, 2, 4]].any()
    assert out.phase_bits[:, [0, 3, 5]].all()


@torch.no_grad()
def test_the_encoder_changes_the_image_before_its_transform(x: Tensor) -> None:
    model, weights = VQVAE(INTEGERS), quality_weights(torch.tensor([50.0, 50.0]))
    plain = model.analyse(x, weights)[1]
    (block,) = model.enhance
    torch.nn.init.normal_(block.out.weight, std=0.1)
    change = block(4 * x - 2, plain, weights)
    assert change.abs().max() > 0.01
    torch.testing.assert_close(
        model.analyse(x, weights)[1], model.coefficients(x + change / 4), rtol=0, atol=1e-4
    )
    two = dataclasses.replace(INTEGERS, pixel_hidden=(4, 4))
    assert not VQVAE(two).enhance


@torch.no_grad()
def test_the_state_is_sharpened_after_the_second_and_the_fourth_fine_level() -> None:
    config = dataclasses.replace(
        INTEGERS,
        channels=((16, 32), (2, 6, 4, 8, 12)),
        phases=((1, 1), (3, 2, 1, 1, 1)),
        hidden=((6, 6), (4, 6, 6, 6, 6)),
    )
    model, weights = VQVAE(config), quality_weights(torch.tensor([50.0]))
    for block in model.sharpen:
        torch.nn.init.normal_(block.out.weight, std=0.3)
    t = torch.randn(1, CHANNELS, 2, 3)
    changing = [
        (number, phase)
        for number, level in enumerate(model.levels)
        for phase in range(len(level.refine))
        if not torch.equal(model.refined(t, weights, number, phase), t)
    ]
    assert changing == [(3, 1), (5, 0)]


@pytest.mark.parametrize("height", [1, 2, 16, 17, 35])
@torch.no_grad()
def test_a_picture_in_strips_is_the_same(height: int) -> None:
    block = VQVAE(INTEGERS).finish
    torch.nn.init.normal_(block.out.weight, std=0.3)
    weights = quality_weights(torch.tensor([10.0, 60.0]))
    x, t = torch.randn(2, 3, 8 * height, 24), torch.randn(2, CHANNELS, height, 3)
    whole, strips = block.train()(x, t, weights), block.eval()(x, t, weights)
    assert strips.shape == x.shape
    torch.testing.assert_close(strips, whole)


# The levels


def random_level(phases: int) -> Level:
    """A level whose refinements do something."""
    config = dataclasses.replace(INTEGERS, channels=((5,), (5,)), phases=((1,), (phases,)))
    level = Level(config, 1)
    for block in level.refine:
        torch.nn.init.normal_(block.out.weight, std=0.3)
    return level


@pytest.mark.parametrize("phases", [1, 2, 3])
@torch.no_grad()
def test_refinement_leaves_all_but_the_next_phase_as_it_is(phases: int) -> None:
    level, weights = random_level(phases), quality_weights(torch.tensor([50.0, 90.0]))
    t = torch.randn(2, CHANNELS, 5, 4)
    for phase in range(phases - 1):
        change = (level.refined(t, weights, phase) - t).abs().sum(1).flatten(1)
        changed = torch.zeros(20, dtype=torch.bool)
        changed[level.positions(phase + 1, t)] = True
        assert torch.equal(change > 0, changed.expand(2, -1))
    change = (level.refined(t, weights, phases - 1) - t).abs().sum(1)
    assert bool((change > 0).all())


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (3, 1), (4, 3)])
@pytest.mark.parametrize("phases", [1, 2, 3])
def test_phases_are_selected_and_put_back_in_their_places(
    grid: tuple[int, int], phases: int
) -> None:
    level, x = random_level(phases), torch.randn(2, 7, *grid)
    total = torch.zeros_like(x)
    for phase in range(phases):
        positions = level.positions(phase, x)
        columns = columns_of(x, positions)
        assert torch.equal(columns, x.flatten(2)[..., positions].transpose(1, 2))
        total = add_at(total, columns, positions)
    # Every position is in one phase.
    assert torch.equal(total, x)


@torch.no_grad()
def test_gain_starts_as_the_table_and_follows_the_activity_of_the_state() -> None:
    level, weights = random_level(1), quality_weights(torch.tensor([20.0, 80.0]))
    torch.nn.init.normal_(level.log_gain.table)
    table = level.log_gain.on_columns(weights).exp()
    t = torch.randn(2, 12, CHANNELS)
    t[:, 6] = 0  # where nothing happens
    torch.testing.assert_close(level.gain(t, weights), table.expand(2, 12, 5))
    level.adapt.weight.fill_(-0.001)
    calm, busy = (level.gain(state, weights) / table for state in (t, 3 * t))
    flat = torch.zeros(12, dtype=torch.bool)
    flat[6] = True
    for lower, higher in ((calm, torch.ones(2, 12, 5)), (busy, calm)):
        torch.testing.assert_close(lower[:, flat], higher[:, flat])
        assert bool((lower < 0.99 * higher)[:, ~flat].all())
    torch.testing.assert_close(level.gain(-t, weights), level.gain(t, weights))
    # The steps of any state are within a factor of those of the table.
    level.adapt.weight.fill_(-100)
    limit = (table / math.e).expand(2, 12, 5)
    torch.testing.assert_close(level.gain(t, weights)[:, 0], limit[:, 0])
