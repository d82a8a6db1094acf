"""Levels that code luma apart: what an error of colour changes, and that nothing else does."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from train import colours
from train.checkpoint import load_checkpoint, load_model, save_checkpoint
from vqcodec.density.ycc import LUMA
from vqcodec.model.config import PLANES, Config
from vqcodec.model.vqvae import VQVAE


@pytest.fixture
def turned(tiny_integers: VQVAE) -> VQVAE:
    model = copy.deepcopy(tiny_integers)
    colours.turn_to_luma(model, coarser=1.5)
    return model


def luma_of(model: VQVAE, change: Tensor) -> Tensor:
    """Return the luma of what changes `[C]` of the finest state do to one position of a picture."""
    t = torch.zeros(1, len(change), 3, 3)
    t[0, :, 1, 1] = change
    picture: Tensor = model.synthesis[-1](t)[0]
    return (picture * torch.tensor(LUMA)[:, None, None]).sum(0)


@torch.no_grad()
def test_a_value_of_colour_changes_no_luma(tiny_integers: VQVAE, turned: VQVAE) -> None:
    seen = 0
    for number in turned.config.scales[-1]:
        before, after = (model.levels[number] for model in (tiny_integers, turned))
        for channel in (before.project.abs().argmax(1) % PLANES > 0).nonzero()[:, 0].tolist():
            was = luma_of(tiny_integers, before.unproject[:, channel]).norm()
            now = luma_of(turned, after.unproject[:, channel]).norm()
            assert now < 0.02 * was
            seen += 1
    assert seen > PLANES


@torch.no_grad()
def test_values_that_are_not_rounded_tell_what_they_did(turned: VQVAE) -> None:
    whole = 0
    for scale, numbers in enumerate(turned.config.scales):
        h = torch.randn(5, turned.config.state_channels(scale))
        t, coded = torch.zeros_like(h), torch.zeros(h.shape[1])
        for level in (turned.levels[number] for number in numbers):
            t = t + (h - t) @ level.project.T @ level.unproject.T
            coded[level.project.abs().argmax(1)] = 1
        # Of a frequency, luma is known when all its planes are.
        known = coded.reshape(-1, PLANES).min(1).values.repeat_interleave(PLANES) > 0
        torch.testing.assert_close(t[:, known], h[:, known], atol=1e-3, rtol=1e-3)
        whole += int(known.sum())
    assert whole >= 4 * PLANES


@torch.no_grad()
def test_colour_alone_is_coded_in_coarser_steps(tiny_integers: VQVAE, turned: VQVAE) -> None:
    for before, after in zip(tiny_integers.levels, turned.levels, strict=True):
        own = before.project.abs().argmax(1)
        plane, rows = own % PLANES, torch.arange(len(own))
        ratio = before.project[rows, own] / after.project[rows, own]
        expected = torch.where(plane > 0, 1.5, 1.0)
        torch.testing.assert_close(ratio, expected, atol=0.02, rtol=0)


def test_the_script_hands_on_the_runs_before(tiny_integers: VQVAE, tmp_path: Path) -> None:
    sizes = vars(tiny_integers.config)
    config = {"model": sizes, "settings": {"structure": 0.4}, "command": "first"}
    state = {"model": tiny_integers.state_dict(), "ema": tiny_integers.state_dict()}
    save_checkpoint(tmp_path / "a.pt", state | {"step": 7, "config": config})
    out = tmp_path / "b.pt"
    result = CliRunner().invoke(colours.main, [str(tmp_path / "a.pt"), str(out)])
    assert result.exit_code == 0, result.output
    model, _ = load_model(out, lambda told: VQVAE(Config.from_dict(told)))
    assert not torch.equal(model.levels[-1].project, tiny_integers.levels[-1].project)
    written = load_checkpoint(out, torch.device("cpu"))
    assert written["step"] == 0
    assert "command" not in written["config"]  # or the next run would count the first again
    assert written["config"]["stages"] == [{"command": "first", "step": 7}]
