"""Weights that are kept of a run: half the precision, and a start for the next run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from train.checkpoint import load_checkpoint, load_model, save_checkpoint
from train.errors import CheckpointError
from train.keep import main
from vqcodec.model.vqvae import VQVAE


@pytest.fixture
def kept(tiny_integers: VQVAE, tmp_path: Path) -> Path:
    """What is kept of a run whose averaged weights are those of the tiny network."""
    weights = tiny_integers.state_dict()
    config = {
        "model": dataclasses.asdict(tiny_integers.config),
        "settings": {"data": ["/home/someone/photos.tar"], "out": "/home/someone/out"},
        "command": "python -m train.vqvae --data /home/someone/photos.tar --steps 7",
    }
    last = {name: value + 1 for name, value in weights.items()}
    state = {"model": last, "ema": weights, "optimizer": {}, "config": config}
    run = {"step": 7, "seconds": 8.5, "pixels": 900, "skipped": 0}
    save_checkpoint(tmp_path / "checkpoint.pt", {**state, **run})
    arguments = [str(tmp_path / "checkpoint.pt"), str(tmp_path / "kept.safetensors")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return tmp_path / "kept.safetensors"


def test_kept_weights_are_those_averaged_in_half_precision(
    kept: Path, tiny_integers: VQVAE
) -> None:
    model, state = load_model(kept, VQVAE.from_dict)
    assert model.config == tiny_integers.config
    for name, value in tiny_integers.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.half().float())
    assert (state["step"], state["seconds"], state["pixels"]) == (7, 8.5, 900)
    assert state["config"]["settings"] == {"data": ["photos.tar"]}
    assert state["config"]["command"] == "python -m train.vqvae --data photos.tar --steps 7"
    assert b"someone" not in kept.read_bytes()
    assert kept.stat().st_size < 0.3 * (kept.parent / "checkpoint.pt").stat().st_size


@pytest.mark.parametrize("data", [b"", b"{}", b"\x08" + bytes(7) + b"{}      "])
def test_what_is_no_kept_run_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"not the weights that train\.keep keeps"):
        load_checkpoint(tmp_path / "other.safetensors", torch.device("cpu"))


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"kind": "another"})
    with pytest.raises(CheckpointError, match=r"not the weights that train\.keep keeps"):
        load_checkpoint(tmp_path / "other.safetensors", torch.device("cpu"))
