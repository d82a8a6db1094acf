"""Training the prior of a codec at rest, on indices that are chosen before."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click import Command
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from train import export
from train.checkpoint import TRAINED_FOR, load_checkpoint, load_weights, save_start
from train.prior import SHRUNK, THUMBNAILS, CodedCrops, KnownCodes, main
from vqcodec.codec.codec import Codec
from vqcodec.model.vqvae import VQVAE


@pytest.fixture
def known(tiny_model: VQVAE) -> KnownCodes:
    """The small network, to train its prior."""
    codec = KnownCodes(tiny_model.config)
    load_weights(codec, tiny_model.state_dict(), Path("tiny"))
    return codec.rest().eval()


def test_what_was_chosen_takes_the_bits_that_it_took(known: KnownCodes) -> None:
    x = torch.rand(3, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    quality = torch.tensor([5.0, 50.0, 100.0])
    codes = known.chosen(x, quality)
    assert codes.dtype == torch.int16
    assert codes.shape[2:] == x.shape[2:]
    _, bits = known.coded(x, quality)
    torch.testing.assert_close(known(codes), bits)


def test_only_the_prior_and_its_tables_have_a_gradient(known: KnownCodes) -> None:
    known(known.chosen(torch.rand(1, 3, 64, 64), torch.tensor([50.0]))).sum().backward()
    trained = {name for name, value in known.named_parameters() if value.grad is not None}
    assert any(name.endswith("logits") for name in trained)
    assert all(name.startswith("prior.") or name.endswith("logits") for name in trained)


class Numbered:
    """A sampler whose crops tell of which step they are."""

    def batch(self, step: int, rank: int) -> Tensor:
        return torch.full((1, 3, 256, 256), 40 * step, dtype=torch.uint8)


def test_the_first_batches_come_again_and_some_are_thumbnails(known: KnownCodes) -> None:
    crops = CodedCrops(Numbered(), known, pool=3, seed=1)
    first = [crops.batch(step, 0) for step in range(3)]
    again = CodedCrops(Numbered(), known, pool=3, seed=1)
    for step in (5, 4, 3):
        assert torch.equal(again.batch(step, 0), first[step - 3])
    sides = [256 // SHRUNK if step % THUMBNAILS == 0 else 256 for step in range(3)]
    assert [codes.shape[3] for codes in first] == sides
    assert not torch.equal(first[1], first[2])


def run(command: Command, arguments: str, *paths: Path) -> Result:
    """Run a command with its arguments, where a {} stands for a path."""
    names = iter(paths)
    words = [str(next(names)) if word == "{}" else word for word in arguments.split()]
    return CliRunner().invoke(command, words)


def test_files_get_smaller_and_the_network_rests(tiny_model: VQVAE, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = rng.normal(0, 15, (256, 256, 3)) + np.linspace(60, 190, 256)[:, None]
    photo = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    photos, out, start = tmp_path / "photos", tmp_path / "run", tmp_path / "start.pt"
    photos.mkdir()
    photo.save(photos / "a.png")
    config = {"model": asdict(tiny_model.config), TRAINED_FOR: ["ssimulacra2"]}
    save_start(start, tiny_model, config)
    where = "--init {} --data {} --valid {} --out {} --crop 256 --batch 1 --pool 4"
    how = "--no-bf16 --warmup 1 --ema 0.5 --lr 3e-3 --steps 30 --valid-every 10"
    done = run(main, f"{where} {how}", start, photos, photos, out)
    assert done.exit_code == 0, done.output
    state = load_checkpoint(out / "checkpoint.pt", torch.device("cpu"))
    for name, value in tiny_model.state_dict().items():
        if not name.startswith("prior.") and not name.endswith("logits"):
            assert torch.equal(state["ema"][name], value)
    with (out / "valid.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file) if row["quality"] == "30"]
    assert losses == sorted(losses, reverse=True)
    sizes = []
    for number, source in enumerate((start, out / "checkpoint.pt")):
        weights = tmp_path / f"{number}.safetensors"
        done = run(export.main, "{} {}", source, weights)
        assert done.exit_code == 0, done.output
        assert json.loads(weights.with_suffix(".json").read_text())[TRAINED_FOR] == ["ssimulacra2"]
        codec = Codec.load(weights, device="cpu")
        data = codec.encode(photo, quality=30)
        assert codec.decode(data).size == photo.size
        sizes.append(len(data))
    assert sizes[1] < 0.97 * sizes[0]


def test_a_checkpoint_without_codebooks_is_told(tiny_integers: VQVAE, tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    save_start(start, tiny_integers, {"model": asdict(tiny_integers.config)})
    where = "--init {} --data {} --valid {} --out {} --steps 1"
    done = run(main, where, start, tmp_path, tmp_path, tmp_path)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].endswith("has no codebooks yet: run train.codebooks first")


def test_a_start_is_asked_for(tmp_path: Path) -> None:
    done = run(main, "--data {} --valid {} --out {} --steps 1", tmp_path, tmp_path, tmp_path)
    assert done.exit_code == 2
    assert "--init is missing" in done.output
