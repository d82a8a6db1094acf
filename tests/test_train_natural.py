"""Training the natural look: its losses, and a short run from end to end."""

from __future__ import annotations

import copy
import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from train import export, export_natural, texture
from train.adversary import Discriminator, discriminator_loss, generator_loss
from train.checkpoint import load_checkpoint, save_checkpoint
from train.natural import main
from vqcodec.codec.codec import Codec
from vqcodec.codec.looks import LOOKS
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import find
from vqcodec.weights.store import load


def textured(seed: int, amplitude: float) -> Tensor:
    noise = np.random.default_rng(seed).normal(0, amplitude, (1, 1, 128, 128))
    return torch.from_numpy(noise + 0.5).float().expand(1, 3, -1, -1)


def test_texture_is_what_details_do_not_matter_to() -> None:
    x = textured(0, 0.1)
    assert texture.distance(x, x).item() == 0
    assert texture.distance(x, textured(1, 0.1)).item() < 0.02
    flat = texture.distance(x, torch.full_like(x, 0.5)).item()
    assert flat == pytest.approx(1, abs=0.05)
    assert texture.distance(x, textured(1, 0.05)).item() == pytest.approx(0.25, abs=0.05)


def test_texture_is_compared_place_by_place() -> None:
    x = textured(0, 0.1).clone()
    x[..., :64] = 0.5
    assert texture.distance(x, x.flip(-1)).item() > 0.5


def test_texture_has_a_gradient_where_there_is_none() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    loss = texture.distance(textured(0, 0.1)[..., :64, :64], flat).sum()
    (gradient,) = torch.autograd.grad(loss, flat)
    assert gradient.isfinite().all()


def test_a_grid_is_what_repeats() -> None:
    grid = torch.zeros(1, 3, 128, 128)
    grid[..., ::8] = 1
    assert texture.grid(grid).item() == pytest.approx(1 / 8 - 1 / 64)
    assert texture.grid(textured(0, 1.0) - 0.5).item() < 3 / 256  # of as many blocks
    assert texture.grid(torch.full_like(grid, 0.3)).item() < 1e-12


def test_haar_keeps_energy() -> None:
    x = textured(3, 0.1)[:, :1]
    low, bands = texture.haar(x)
    energy = 4 * low.square().sum() + bands.square().sum()
    torch.testing.assert_close(energy, x.square().sum())


def gradients(loss: Tensor, discriminator: Discriminator, made: Tensor) -> tuple[bool, bool]:
    """Return whether a loss has a gradient for the discriminator, and for what was made."""
    inputs = [*discriminator.parameters(), made]
    found = torch.autograd.grad(loss.sum(), inputs, allow_unused=True)
    *own, of_made = (gradient is not None and bool(gradient.any()) for gradient in found)
    return any(own), of_made


def test_each_loss_trains_its_own_side_alone() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(3)
    real, condition = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    made = torch.randn(2, 3, 64, 64, requires_grad=True)
    loss = generator_loss(discriminator, made, condition)
    assert loss.shape == (2,)
    assert gradients(loss, discriminator, made) == (False, True)
    loss = discriminator_loss(discriminator, real, made, condition)
    assert loss.shape == (2,)
    assert gradients(loss, discriminator, made) == (True, False)


def test_a_discriminator_learns_to_tell() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(1)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2, betas=(0.5, 0.99))
    condition = torch.zeros(4, 1, 32, 32)
    for _ in range(60):
        real, made = torch.randn(4, 1, 32, 32), 0.3 * torch.randn(4, 1, 32, 32)
        loss = discriminator_loss(discriminator, real, made, condition).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 1.2  # 2 where it cannot tell
    fooled = generator_loss(discriminator, torch.randn(4, 1, 32, 32), condition).mean()
    assert fooled < generator_loss(discriminator, 0.3 * torch.randn(4, 1, 32, 32), condition).mean()


@pytest.fixture
def folder(tmp_path: Path, tiny_model: VQVAE) -> Path:
    """A folder with a checkpoint of the small network and a photograph, noise over a ramp."""
    state = tiny_model.state_dict()
    config = {"model": asdict(tiny_model.config), "settings": {}, "stages": []}
    checkpoint = {"model": state, "ema": state, "step": 0, "config": config}
    save_checkpoint(tmp_path / "codec.pt", checkpoint)
    rng = np.random.default_rng(0)
    noisy = rng.normal(0, 15, (128, 192, 3)) + np.linspace(60, 190, 192)[:, None]
    (tmp_path / "photos").mkdir()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / "a.png")
    return tmp_path


def train(folder: Path, out: str, *more: str) -> None:
    photos = str(folder / "photos")
    where = ("--codec", str(folder / "codec.pt"), "--data", photos, "--valid", photos)
    how = ("--crop", "64", "--batch", "2", "--no-bf16", "--log-every", "1", "--lr", "3e-3")
    steps = ("--warmup", "1", "--ema", "0.5", "--width", "8", "--out", str(folder / out))
    done = CliRunner().invoke(main, [*where, *how, *steps, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def rows(folder: Path, out: str, name: str) -> list[dict[str, str]]:
    with (folder / out / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_texture_is_learned_and_the_codec_rests(
    folder: Path, tiny_model: VQVAE, tiny_weights: Path
) -> None:
    weights = ("--features", "0", "--texture", "5")
    train(folder, "run", "--steps", "40", "--valid-every", "40", *weights)
    state = load_checkpoint(folder / "run" / "checkpoint.pt", torch.device("cpu"))
    for name, value in tiny_model.state_dict().items():
        assert torch.equal(state["model"][f"codec.{name}"], value)
    shutil.copy(tiny_weights, folder / "tiny.safetensors")
    model = str(folder / "tiny.safetensors")
    run = [str(folder / "run" / "checkpoint.pt"), model]
    assert CliRunner().invoke(export_natural.main, run, catch_exceptions=False).exit_code == 0
    codec = Codec.load(model, device="cpu")
    photo = Image.open(folder / "photos" / "a.png")
    data = codec.encode(photo, quality=5)
    original, *looks = (
        torch.from_numpy(np.array(image) / 255).float().permute(2, 0, 1)[None]
        for image in (photo, *(codec.decode(data, look=look) for look in LOOKS))
    )
    faithful, natural = (texture.distance(original, look).item() for look in looks)
    assert natural < 0.5 * faithful
    assert float(rows(folder, "run", "valid.csv")[0]["texture"]) == pytest.approx(natural, abs=0.05)
    assert json.loads((folder / "tiny.natural.json").read_text())["steps"] == 40


def test_a_contest_goes_on_from_a_run_without(folder: Path) -> None:
    train(folder, "alone", "--steps", "2")
    first = str(folder / "alone" / "checkpoint.pt")
    train(folder, "contest", "--steps", "2", "--init", first, "--adversary", "0.1")
    (_, last) = rows(folder, "contest", "log.csv")
    assert float(last["discriminator"]) > 0
    states = [
        load_checkpoint(folder / out / "checkpoint.pt", torch.device("cpu"))
        for out in ("alone", "contest")
    ]
    assert [len(state["config"]["stages"]) for state in states] == [0, 1]
    name = "block.enter.weight"
    off = (states[0]["ema"][name] - states[1]["ema"][name]).abs().max()
    assert 0 < off < 0.02  # the same, but for two steps


def test_a_run_goes_on_from_the_look_of_a_model(folder: Path, tiny_weights: Path) -> None:
    train(folder, "first", "--steps", "2")
    model = str(shutil.copy(tiny_weights, folder / "tiny.safetensors"))
    run = [str(folder / "first" / "checkpoint.pt"), model]
    assert CliRunner().invoke(export_natural.main, run, catch_exceptions=False).exit_code == 0
    train(folder, "second", "--steps", "1", "--look", model)
    first, second = (
        load_checkpoint(folder / out / "checkpoint.pt", torch.device("cpu"))
        for out in ("first", "second")
    )
    assert [stage["step"] for stage in second["config"]["stages"]] == [2]
    name = "block.enter.weight"
    assert 0 < (first["ema"][name] - second["ema"][name]).abs().max() < 0.01  # but for a step


def test_a_model_has_the_look_of_another_with_its_network(
    folder: Path, tiny_weights: Path, tiny_model: VQVAE
) -> None:
    train(folder, "run", "--steps", "2")
    model = str(shutil.copy(tiny_weights, folder / "tiny.safetensors"))
    other = folder / "other.safetensors"
    with torch.no_grad():
        tiny_model = copy.deepcopy(tiny_model)
        tiny_model.prior.levels[0][0].slope.add_(1)
    export.export(tiny_model, other, {})
    for source, target in ((str(folder / "run" / "checkpoint.pt"), model), (model, str(other))):
        run = CliRunner().invoke(export_natural.main, [source, target], catch_exceptions=False)
        assert run.exit_code == 0
    cards = [
        json.loads((folder / f"{name}.natural.json").read_text()) for name in ("tiny", "other")
    ]
    assert cards[0] == cards[1]
    first, second = (load(find(path)).natural for path in (model, other))
    assert all(np.array_equal(first[name], second[name]) for name in first | second)


def test_weights_of_another_run_are_refused(folder: Path) -> None:
    arguments = ("--codec", str(folder / "codec.pt"), "--init", str(folder / "codec.pt"))
    photos = str(folder / "photos")
    where = ("--data", photos, "--valid", photos, "--out", str(folder / "run"))
    done = CliRunner().invoke(main, [*arguments, *where, "--crop", "64", "--steps", "1"])
    assert done.exit_code == 1
    assert "holds another model" in done.stderr
