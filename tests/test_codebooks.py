"""From integers to codebooks: the same network, its channels sorted and sharing words."""

from __future__ import annotations

import copy
import itertools
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from train import codebooks
from train.checkpoint import load_checkpoint, save_checkpoint
from train.codebooks import DIMENSION_BOUNDS, choose_groups, measure_ranges, with_codebooks
from train.errors import CheckpointError
from vqcodec.model.layers import quality_weights
from vqcodec.model.prior import PriorLevel
from vqcodec.model.quantizer import CodebookQuantizer
from vqcodec.model.vqvae import CHANNELS, VQVAE, Config, Output


def code(model: VQVAE, x: Tensor, quality: float) -> Output:
    with torch.no_grad():
        output = model(x, torch.full((len(x),), quality))
    assert isinstance(output, Output)
    return output


def psnr(output: Output) -> Tensor:
    return -10 * output.mse.log10()


def checkpoint(model: VQVAE, path: Path) -> Path:
    """A checkpoint of a model, whose EMA weights are the ones that count."""
    state = model.state_dict()
    noise = {name: torch.randn_like(value) for name, value in state.items()}
    config = {"model": vars(model.config), "settings": {"data": ["a/b"]}, "commit": "c0ffee"}
    counts = {"step": 7, "seconds": 3600.0, "pixels": 2e9}
    save_checkpoint(path, {"model": noise, "ema": state, "config": config, **counts})
    return path


@pytest.fixture(scope="module")
def x(scenes: Tensor) -> Tensor:
    return scenes[0].float() / 255


# Groups


@given(st.lists(st.floats(0, 200), min_size=1, max_size=60))
def test_every_channel_is_in_a_group_that_is_small_enough(ranges: list[float]) -> None:
    ranges.sort(reverse=True)
    groups = choose_groups(torch.tensor(ranges))
    dims = [dim for dim, count in groups for _ in range(dim * count)]
    assert len(dims) == len(ranges)
    assert dims == sorted(dims)
    assert len({dim for dim, _ in groups}) == len(groups)
    for value, dim in zip(torch.tensor(ranges).tolist(), dims, strict=True):
        allowed = next((d for d, bound in DIMENSION_BOUNDS if value > bound), 8)
        assert dim <= allowed


def test_groups_of_known_ranges() -> None:
    ranges = torch.tensor([90.0, 9, 5, 5, *[2.0] * 4, *[0.5] * 8, *[0.0] * 8])
    assert choose_groups(ranges) == ((1, 2), (2, 1), (4, 1), (8, 2))
    assert choose_groups(torch.zeros(7)) == ((1, 1), (2, 1), (4, 1))


def test_ranges_are_what_the_channels_hold(tiny_integers: VQVAE, scenes: Tensor) -> None:
    ranges = measure_ranges(tiny_integers, scenes)
    assert [len(r) for r in ranges] == [6, 8, 4, 8]
    assert all((r > 0).all() for r in ranges)
    faint = measure_ranges(tiny_integers, scenes // 4 + 96)
    assert all(r.sum() > 1.5 * f.sum() for r, f in zip(ranges, faint, strict=True))
    assert not any(module._forward_hooks for module in tiny_integers.modules())


# Conversion


def test_sorted_channels_are_the_same_network(tiny_integers: VQVAE) -> None:
    # A codebook for each channel: nothing is merged, so only a wrong order could show.
    generator = torch.Generator().manual_seed(0)
    old = copy.deepcopy(tiny_integers)
    with torch.no_grad():
        for level in old.all_levels():
            table = level.log_gain.table
            table.add_(torch.randn(table.shape, generator=generator))
    counts = [len(level.take) for level in old.all_levels()]
    ranges = [10.0 + torch.randperm(count, generator=generator) for count in counts]
    orders = [r.argsort(descending=True) for r in ranges]
    new = with_codebooks(old, ranges)
    assert new.config.groups == tuple(((1, count),) for count in counts)

    numbers, quality, grid = itertools.count(), torch.tensor([60.0]), [2, 3]
    weights = quality_weights(quality)
    states = [model.prior.start(quality, *grid) for model in (old, new)]
    for scale, levels in enumerate(old.levels):
        if scale:
            grid = [8 * side for side in grid]
            states = [m.prior.refine(s, quality) for m, s in zip((old, new), states, strict=True)]
        for level, other in zip(levels, new.levels[scale], strict=True):
            number = next(numbers)
            order = orders[number]
            hidden, width = old.prior.levels[number](states[0].features, quality)
            other_hidden, other_width = new.prior.levels[number](states[1].features, quality)
            assert width.std() > 0.01
            torch.testing.assert_close(other_hidden, hidden)
            torch.testing.assert_close(other_width, width[:, order])

            h, t = torch.randn((2, 1, CHANNELS, *grid), generator=generator)
            (y, cost), (other_y, other_cost) = (m.residual(h, t, weights) for m in (level, other))
            torch.testing.assert_close(other_y, y[:, order])
            torch.testing.assert_close(other_cost, cost[:, order])
            z_q = torch.randint(-9, 10, y.shape, generator=generator).float()
            added = other.add(t, z_q[:, order], weights)
            torch.testing.assert_close(added, level.add(t, z_q, weights))
            states = [
                old.prior.observe(states[0], hidden, z_q),
                new.prior.observe(states[1], hidden, z_q[:, order]),
            ]


def test_sharing_words_costs_little(tiny_integers: VQVAE, scenes: Tensor, x: Tensor) -> None:
    # As after initialisation: channels of a codebook have classes that move together.
    model = copy.deepcopy(tiny_integers)
    for module in model.modules():
        if isinstance(module, PriorLevel):
            torch.nn.init.zeros_(module.head.weight)
    ranges = [0.5 * r for r in measure_ranges(model, scenes)]  # so that many channels share words
    converted = with_codebooks(model, ranges).eval()
    groups = itertools.chain.from_iterable(converted.config.groups or ())
    assert len({dim for dim, _ in groups}) > 2
    before, after = code(model, x, 60), code(converted, x, 60)
    assert (psnr(after) - psnr(before)).abs().max() < 0.5
    assert (after.bits / before.bits - 1).abs().max() < 0.1


def test_a_codebook_has_the_mean_class_of_its_channels(tiny_integers: VQVAE) -> None:
    ranges = [torch.zeros(channels) for channels in (6, 8, 4, 8)]
    converted = with_codebooks(tiny_integers, ranges)
    six = ((2, 1), (4, 1))
    assert converted.config.groups == (six, ((8, 1),), ((4, 1),), ((8, 1),))
    old, new = tiny_integers.prior.levels[0], converted.prior.levels[0]
    for values, means in (
        (old.head.weight, new.head.weight),
        (old.head.bias, new.head.bias),
        (old.slope, new.slope),
    ):
        torch.testing.assert_close(means, torch.stack([values[:2].mean(0), values[2:].mean(0)]))


def test_what_does_not_change_is_kept_and_the_old_network_is_untouched(
    tiny_integers: VQVAE, scenes: Tensor
) -> None:
    before = copy.deepcopy(tiny_integers.state_dict())
    converted = with_codebooks(tiny_integers, measure_ranges(tiny_integers, scenes))
    for name, value in tiny_integers.state_dict().items():
        assert torch.equal(value, before[name]), name
        if name.startswith(("encoder", "decoder", "expand", "analysis", "synthesis")):
            assert torch.equal(value, converted.state_dict()[name]), name


# The script


@pytest.fixture
def folder(scenes: Tensor, tmp_path: Path) -> Path:
    """Two pictures that are large enough to cut from."""
    for number, pixels in enumerate(scenes[0].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(np.tile(pixels, (2, 2, 1))).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_checkpoint_becomes_one_with_codebooks(
    tiny_integers: VQVAE, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = checkpoint(tiny_integers, tmp_path / "a.pt"), tmp_path / "b.pt"
    arguments = Namespace(checkpoint=source, out=target, data=[folder], memory=1)
    assert codebooks.run(arguments)
    assert capsys.readouterr().out.count("codebooks of") >= 4
    state = load_checkpoint(target, torch.device("cpu"))
    assert state["step"] == 7
    model = VQVAE(Config.from_dict(state["config"]["model"]))
    model.load_state_dict(state["ema"])
    assert all(isinstance(level.quantizer, CodebookQuantizer) for level in model.all_levels())
    assert torch.equal(model.decoder[0].mix.weight, tiny_integers.decoder[0].mix.weight)

    again = Namespace(checkpoint=target, out=tmp_path / "c.pt", data=[folder], memory=1)
    with pytest.raises(CheckpointError, match="has codebooks already"):
        codebooks.run(again)
    assert not (tmp_path / "c.pt").exists()
