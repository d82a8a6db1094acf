"""Muon and Adam as one optimizer: which gets what, and that a saved state goes on the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from train.muon import MuonWithAdam


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


def step(model: nn.Module, optimizer: MuonWithAdam, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(16, 6)
    optimizer.zero_grad()
    torch.autograd.backward((model(x) - x[:, :2]).square().mean())
    optimizer.step()


def test_every_direction_of_a_matrix_moves_alike() -> None:
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    step(model, MuonWithAdam.by_shape(model.parameters(), 0.1), 1)
    for old, new in zip(before, model.parameters(), strict=True):
        change = (new - old).detach()
        assert bool(change.abs().sum() > 0)
        if change.ndim == 2:
            # The gradient's singular values differ a hundredfold; Newton-Schulz leaves 0.7 to 1.2.
            values = torch.linalg.svdvals(change)
            assert float(values[0] / values[-1]) < 2


def test_a_saved_state_goes_on_the_same() -> None:
    whole, halves = network(), network()
    one, two = (
        MuonWithAdam.by_shape(whole.parameters(), 0.05),
        MuonWithAdam.by_shape(halves.parameters(), 0.05),
    )
    for seed in range(3):
        step(whole, one, seed)
        step(halves, two, seed)
    resumed = MuonWithAdam.by_shape(halves.parameters(), 0.05)
    resumed.load_state_dict(two.state_dict())
    for seed in range(3, 6):
        step(whole, one, seed)
        step(halves, resumed, seed)
    for expected, parameter in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(expected, parameter)


def test_another_optimizers_state_is_refused() -> None:
    model = network()
    optimizer = MuonWithAdam.by_shape(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="Muon and Adam"):
        optimizer.load_state_dict(torch.optim.Adam(model.parameters()).state_dict())


def test_a_convolution_is_stepped_as_the_matrix_of_its_outputs() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    weights = [nn.Parameter(weight.clone()), nn.Parameter(weight.flatten(1))]
    bias = nn.Parameter(torch.zeros(4))
    x = torch.randn(5, 3, 3, 3)
    optimizer = MuonWithAdam(weights, 0.1, torch.optim.Adam([bias], 0.1))
    for _ in range(2):
        optimizer.zero_grad()
        outputs = [
            functional.conv2d(x, weights[0], bias)[..., 0, 0],
            x.flatten(1) @ weights[1].T + bias,
        ]
        torch.autograd.backward([output.square().mean() for output in outputs])
        optimizer.step()
    # Newton-Schulz works with the digits of bfloat16.
    torch.testing.assert_close(weights[0].flatten(1), weights[1], atol=2e-3, rtol=0.02)
    assert not torch.equal(weights[0], weight)
    assert bool(bias.abs().sum() > 0)
