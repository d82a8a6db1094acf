"""Training the density model: its loss, free bits, the script from images to a checkpoint."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn

from train import hvae
from train.checkpoint import load_model, stages
from train.hvae import HVAETask
from vqcodec.density.bounds import Terms
from vqcodec.density.ladder import Ladder


class Counting(nn.Module):
    """Reconstructs at 3 bits a dimension, with one layer of 0.5 and a silent one."""

    def __init__(self) -> None:
        super().__init__()
        self.kl = nn.Parameter(torch.tensor([0.5, 0.0]))

    def forward(self, x: Tensor) -> Terms:
        unit = math.log(2) * math.prod(x.shape[1:])
        first, silent = (value * unit * torch.ones(len(x), 1) for value in self.kl)
        return Terms(torch.full((len(x), 1), -3.0 * unit), (first, silent))


def test_loss_is_the_bound_in_bits_per_dimension() -> None:
    batch = torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    terms = HVAETask([], 0.0).loss(Counting(), batch, torch.rand(len(batch)))
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(
        {"loss": 3.5, "reconstruction": 3.0, "kl": 0.5}
    )


def test_a_layer_below_its_free_bits_is_not_pushed_down() -> None:
    model, batch = Counting(), torch.zeros((2, 3, 4, 4), dtype=torch.uint8)
    terms = HVAETask([], 0.1).loss(model, batch, torch.rand(len(batch)))
    assert float(terms["loss"].detach()) == pytest.approx(3.6)
    assert float(terms["kl"].detach()) == pytest.approx(0.5)
    torch.autograd.backward(terms["loss"])
    assert model.kl.grad is not None
    assert model.kl.grad.tolist() == pytest.approx([1.0, 0.0])


def test_validation_counts_every_image_once() -> None:
    valid = [torch.zeros((2, 3, 4, 4), dtype=torch.uint8), torch.zeros((1, 3, 8, 4)).byte()]
    with torch.no_grad():
        (row,) = HVAETask(valid, 0.0).validate(Counting())
    assert row == pytest.approx({"loss": 3.5, "reconstruction": 3.0, "kl": 0.5, "worst": 3.5})


@pytest.fixture
def images(scenes: Tensor, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(scenes.flatten(0, 1)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def train(images: Path, out: Path, *options: str) -> Result:
    data = ["--data", str(images), "--valid", str(images), "--valid-images", "2"]
    sizes = ["--scales", "3", "--width", "8", "--crop", "64", "--batch", "2", "--device", "cpu"]
    logs = ["--log-every", "4", "--valid-every", "8"]
    return CliRunner().invoke(hvae.main, [*data, *sizes, *logs, "--out", str(out), *options])


def test_script_lowers_the_bound_from_a_good_start(images: Path, tmp_path: Path) -> None:
    assert train(images, tmp_path / "a", "--steps", "24", "--warmup", "4").exit_code == 0
    with (tmp_path / "a" / "valid.csv").open(newline="") as file:
        rows = [float(row["loss"]) for row in csv.DictReader(file)]
    assert rows[-1] < rows[0] < 5.5
    again = ["--init", str(tmp_path / "a" / "checkpoint.pt"), "--steps", "4"]
    assert train(images, tmp_path / "b", *again).exit_code == 0
    with (tmp_path / "b" / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) < 5
    _, state = load_model(tmp_path / "b" / "checkpoint.pt", Ladder.from_dict)
    assert [stage["step"] for stage in stages(state)] == [24, 4]


def test_crop_that_needs_padding_is_refused(images: Path, tmp_path: Path) -> None:
    result = train(images, tmp_path / "a", "--steps", "1", "--crop", "60")
    assert result.exit_code == 1
    assert "--crop 60 is no multiple of 8" in result.stderr
