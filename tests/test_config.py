"""The sizes of the network and what quality means to it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from test_vqvae import all_kinds

from vqcodec.codec import tiles
from vqcodec.model.config import KNOTS, QUALITIES, Config
from vqcodec.model.layers import log_step_gain, quality_weights
from vqcodec.model.reach import feature_reach, reach
from vqcodec.model.vqvae import VQVAE

RUNS = Path(__file__).parents[1] / "train" / "runs"


@all_kinds
def test_config_survives_json(config: Config) -> None:
    config = dataclasses.replace(config, lmbda_min=0.001)
    text = json.dumps(dataclasses.asdict(config))
    assert Config.from_dict(json.loads(text)) == config


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("channels", [[10**9], [4]], ValueError),
        ("hidden", [[96] * 300, [4]], ValueError),
        ("prior_width", 0, ValueError),
        ("pixel_hidden", [32] * 40, ValueError),
        ("groups", [[[8, 10**6, 1]]], ValueError),
        ("phases", [["3"]], TypeError),
        ("strides", [16, 16, 16], ValueError),
        ("strides", [8, 8, 8], ValueError),
        ("transforms", ["lapped", "wavelet"], ValueError),
        ("strides", [8, 6], ValueError),
        ("strides", [8, 1], ValueError),
    ],
)
def test_config_refuses_sizes_that_would_fill_the_memory(
    name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Config.from_dict({name: value})


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


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.json")), ids=lambda path: path.stem)
def test_configs_of_the_runs_are_networks(path: Path) -> None:
    config = Config.from_dict(json.loads(path.read_text(encoding="utf-8")))
    assert config.groups is None  # as training starts
    VQVAE(config)
    assert feature_reach(config) + reach(config, config.scales[-1]) < tiles.SIDE
