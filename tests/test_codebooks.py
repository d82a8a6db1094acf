"""From integers to codebooks: the same network, its channels sorted and sharing codewords."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from train import codebooks
from train.checkpoint import load_checkpoint, save_checkpoint
from train.codebooks import (
    CODEWORD_BOUNDS,
    choose_groups,
    fit_tables,
    measure_ranges,
    with_codebooks,
)
from vqcodec.model.config import Config
from vqcodec.model.prior import PriorPhase
from vqcodec.model.quantizer import CodebookQuantizer
from vqcodec.model.vqvae import VQVAE, Output


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


@given(st.lists(st.floats(0, 200) | st.floats(0, 1.5), min_size=1, max_size=60))
def test_channels_have_codewords_for_their_range_or_share_them_by_the_eight(
    values: list[float],
) -> None:
    ranges = torch.tensor(sorted(values, reverse=True))
    groups = choose_groups(ranges)
    assert len({group[:2] for group in groups}) == len(groups)
    shared = sum(dim * count for dim, _, count in groups if dim > 1)
    alone, sparse = torch.split(ranges, [len(ranges) - shared, shared])
    codewords = [size for dim, size, count in groups if dim == 1 for _ in range(count)]
    for value, size in zip(alone.tolist(), codewords, strict=True):
        assert size == next((most for most, bound in CODEWORD_BOUNDS if value > bound), 16)
    assert {group[:2] for group in groups if group[0] > 1} <= {(8, 256)}
    assert bool((sparse <= CODEWORD_BOUNDS[-1][1]).all())
    assert int((alone <= CODEWORD_BOUNDS[-1][1]).sum()) < 8


def test_groups_of_known_ranges() -> None:
    ranges = torch.tensor([90.0, 21, 20, 8, 5, 2, *[0.5] * 11])
    expected = ((1, 256, 2), (1, 64, 2), (1, 32, 1), (1, 16, 1 + 3), (8, 256, 1))
    assert choose_groups(ranges) == expected
    assert choose_groups(torch.zeros(7)) == ((1, 16, 7),)
    assert choose_groups(torch.zeros(16)) == ((8, 256, 2),)


def test_ranges_are_what_the_channels_hold(tiny_integers: VQVAE, scenes: Tensor) -> None:
    ranges = measure_ranges(tiny_integers, scenes)
    assert [len(r) for r in ranges] == [6, 8, 4, 12]
    assert all((r > 0).all() for r in ranges)
    faint = measure_ranges(tiny_integers, scenes // 4 + 96)
    assert all(r.sum() > 1.5 * f.sum() for r, f in zip(ranges, faint, strict=True))
    assert not any(module._forward_hooks for module in tiny_integers.modules())


# Conversion


def driven(
    model: VQVAE, x: Tensor, orders: list[Tensor] | None = None
) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    """What the quantizers are given, a phase at a time, if their values are random ones.

    `orders` reorders the values of each level. Also return the picture.
    """
    generator = torch.Generator().manual_seed(1)
    levels = [level.quantizer for level in model.levels]
    seen: list[tuple[Tensor, ...]] = []

    def drive(module: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> Any:
        seen.append(inputs)
        values = torch.randint(-9, 10, inputs[0].shape, generator=generator).float()
        if orders:
            values = values[..., orders[levels.index(module)]]
        return values, output[1]

    hooks = [quantizer.register_forward_hook(drive) for quantizer in levels]
    x_hat = code(model, x, 60).x_hat
    for hook in hooks:
        hook.remove()
    return seen, x_hat


def test_sorted_channels_are_the_same_network(tiny_integers: VQVAE, x: Tensor) -> None:
    # A codebook for each channel: nothing is merged, so only a wrong order could show.
    generator = torch.Generator().manual_seed(0)
    old = copy.deepcopy(tiny_integers)
    with torch.no_grad():
        for level in old.levels:
            for parameter in (level.log_gain.table, level.adapt.bias):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    counts = [len(level.project) for level in old.levels]
    ranges = [8.0 + torch.randperm(count, generator=generator) for count in counts]
    orders = [r.argsort(descending=True) for r in ranges]
    new = with_codebooks(old, ranges).eval()
    assert new.config.groups == tuple(((1, 64, count),) for count in counts)

    before, picture = driven(old, x)
    after, other_picture = driven(new, x, orders)
    torch.testing.assert_close(other_picture, picture, rtol=0, atol=1e-4)
    numbers = [0, 0, 1, 2, 2, 2, 3, 3]
    for number, kept, others in zip(numbers, before, after, strict=True):
        assert kept[2].std() > 0.01  # the classes
        for value, other in zip(kept, others, strict=True):
            torch.testing.assert_close(other, value[..., orders[number]], rtol=1e-4, atol=1e-3)


def test_sharing_codewords_costs_little(tiny_integers: VQVAE, scenes: Tensor, x: Tensor) -> None:
    # As after initialisation: channels of a codebook have classes that move together.
    model = copy.deepcopy(tiny_integers)
    for module in model.modules():
        if isinstance(module, PriorPhase):
            torch.nn.init.zeros_(module.head.weight)
    ranges = [0.4 * r for r in measure_ranges(model, scenes)]  # so that channels share codewords
    converted = with_codebooks(model, ranges).eval()
    groups = itertools.chain.from_iterable(converted.config.groups or ())
    assert {(8, 256), (1, 16), (1, 32), (1, 64)} <= {group[:2] for group in groups}
    before, after = code(model, x, 60), code(converted, x, 60)
    assert (psnr(after) - psnr(before)).abs().max() < 0.5
    assert (after.bits / before.bits - 1).abs().max() < 0.1


def test_fitted_tables_know_what_is_chosen(tiny_integers: VQVAE, scenes: Tensor, x: Tensor) -> None:
    model = with_codebooks(tiny_integers, measure_ranges(tiny_integers, scenes)).eval()
    before = code(model, x, 60)
    fit_tables(model, scenes, torch.Generator().manual_seed(0))
    after = code(model, x, 60)
    assert bool((after.bits < 0.98 * before.bits).all())
    assert (psnr(after) - psnr(before)).abs().max() < 0.5
    for level in model.levels:
        assert all(bool(part.logits.isfinite().all()) for part in level.codebooks.groups)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_codebook_has_the_mean_class_of_its_channels(tiny_integers: VQVAE) -> None:
    # Four channels of the last level have codewords of their own, the last eight share theirs.
    ranges = [torch.zeros(channels) for channels in (6, 8, 4, 12)]
    converted = with_codebooks(tiny_integers, ranges)
    alone, shared = (1, 16, 4), (8, 256, 1)
    assert converted.config.groups == (((1, 16, 6),), (shared,), (alone,), (alone, shared))
    phases = zip(tiny_integers.prior.levels[3], converted.prior.levels[3], strict=True)
    for old, new in phases:
        for values, means in (
            (old.head.weight, new.head.weight),
            (old.head.bias, new.head.bias),
            (old.slope, new.slope),
        ):
            torch.testing.assert_close(means[:4], values[:4])
            torch.testing.assert_close(means[4], values[4:].mean(0))


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
    tiny_integers: VQVAE, folder: Path, tmp_path: Path
) -> None:
    source, target = checkpoint(tiny_integers, tmp_path / "a.pt"), tmp_path / "b.pt"
    pictures = ["--data", *map(str, sorted(folder.glob("*.png")))]
    result = CliRunner().invoke(codebooks.main, [str(source), str(target), *pictures])
    assert result.exit_code == 0
    assert result.stdout.count("codebooks of") >= 4
    state = load_checkpoint(target, torch.device("cpu"))
    assert state["step"] == 7
    model = VQVAE(Config.from_dict(state["config"]["model"]))
    model.load_state_dict(state["ema"])
    assert all(isinstance(level.quantizer, CodebookQuantizer) for level in model.levels)
    assert torch.equal(model.decoder[0].mix.weight, tiny_integers.decoder[0].mix.weight)

    again = CliRunner().invoke(codebooks.main, [str(target), str(tmp_path / "c.pt"), *pictures])
    assert (again.exit_code, again.stderr) == (1, f"error: {target} has codebooks already\n")
    assert not (tmp_path / "c.pt").exists()
