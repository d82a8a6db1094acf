"""The codec's training task, and how its script reports errors."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from train.checkpoint import load_checkpoint, load_model, save_checkpoint, stages
from train.distortion import Distortion, dissimilarity
from train.loop import CHECKPOINT
from train.vqvae import VALIDATION_QUALITIES, VQVAETask, main, rate_distortion
from vqcodec.model.config import QUALITIES, Config
from vqcodec.model.vqvae import VQVAE

FLAT = Config(lmbda_min=0.02, lmbda_max=0.02)
TINY = Config(
    channels=((4,), (6,)),
    phases=((1,), (2,)),
    hidden=((4,), (4,)),
    hidden_between_phases=4,
    pixel_hidden=(4, 4),
    analysis_blocks=1,
    synthesis_blocks=1,
    prior_width=4,
    prior_head=4,
)
# Positions of 128 pixels: more than crops and validation images are multiples of by default.
THREE_SCALES = dataclasses.replace(
    TINY,
    lmbda_max=0.03,
    strides=(4, 4, 8),
    transforms=("dct", "dct", "lapped"),
    channels=((4,), (6,), (6, 8)),
    phases=((1,), (2,), (1, 2)),
    hidden=((4,), (4,), (4, 4)),
)


@dataclass
class Output:
    bits: Tensor
    mse: Tensor
    x_hat: Tensor


class Darken(nn.Module):
    """Spends half a bit per pixel and returns every pixel darker by 3/255, and a bit more."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(3.2 / 255.0))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, quality: Tensor) -> Output:
        self.seen.append(quality)
        bits = torch.full(x.shape[:1], 0.5 * x.shape[-2] * x.shape[-1])
        x_hat = x - self.offset
        return Output(bits, (x - x_hat).square().mean(dim=(1, 2, 3)), x_hat)


@pytest.fixture
def scene(scenes: Tensor) -> Tensor:
    """Two images that are large enough for MS-SSIM, uint8 [2, 3, 192, 192]."""
    return torch.cat([scenes[0], scenes[1]], 2)[..., :192, :]


def test_loss_is_the_normalised_rate_distortion_cost() -> None:
    model, task = Darken(), VQVAETask([], FLAT)
    batch = torch.full((3, 3, 8, 16), 100, dtype=torch.uint8)
    terms = task.loss(model, batch, torch.rand(3))
    assert float(terms["bpp"].detach()) == pytest.approx(0.5)
    assert float(terms["loss"].detach()) == pytest.approx((0.5 + 0.02 * 3.2**2) / 2.0, rel=1e-4)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    assert model.offset.grad is not None
    assert float(model.offset.grad) > 0


@pytest.mark.parametrize("structure", [0.3, 1.0])
def test_structure_takes_its_share_of_the_distortion(scene: Tensor, structure: float) -> None:
    model, task = Darken(), VQVAETask([], FLAT, Distortion({"structure": structure}))
    terms = task.loss(model, scene, torch.rand(2))
    unlike = dissimilarity(scene / 255, scene / 255 - 3.2 / 255)
    assert float(terms["structure"].detach()) == pytest.approx(float(unlike.mean()))
    distortion = (1 - structure) * 3.2**2 + structure * 1650 * float(unlike.mean())
    expected = (0.5 + 0.02 * distortion) / 2.0
    assert float(terms["loss"].detach()) == pytest.approx(expected, rel=1e-4)
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    assert model.offset.grad is not None
    assert float(model.offset.grad) > 0


def test_quality_is_uniform_from_the_lowest_to_the_highest() -> None:
    model, task = Darken(), VQVAETask([], Config())
    batch = torch.zeros((3, 3, 1, 1), dtype=torch.uint8)
    task.loss(model, batch, torch.tensor([0.0, 0.5, 1.0]))
    (qualities,) = model.seen
    assert qualities.tolist() == [1, (1 + QUALITIES) / 2, QUALITIES]


@torch.no_grad()
def test_validation_measures_eight_bit_pixels_at_each_quality() -> None:
    valid = [
        torch.full((2, 3, 64, 64), 100, dtype=torch.uint8),
        torch.full((1, 3, 64, 128), 1, dtype=torch.uint8),
    ]
    model, config = Darken(), Config(lmbda_min=0.0005, lmbda_max=0.05)
    rows = VQVAETask(valid, config).validate(model)
    assert [row["quality"] for row in rows] == list(VALIDATION_QUALITIES)
    images = sum(len(batch) for batch in valid)
    assert [float(q) for q in model.seen] == [
        q for q in VALIDATION_QUALITIES for _ in range(images)
    ]
    for row in rows:
        lmbda = 0.0005 * 100 ** ((row["quality"] - 1) / (QUALITIES - 1))
        # Two images are 3 levels darker; in the third, level 1 becomes 0.
        psnr = [20 * math.log10(255 / 3)] * 2 + [20 * math.log10(255)]
        assert row["psnr"] == pytest.approx(sum(psnr) / 3, rel=1e-5)
        assert row["bpp"] == pytest.approx(0.5)
        scale = math.sqrt(lmbda / 0.005)
        assert row["worst"] == pytest.approx((0.5 + lmbda * 9) / scale, rel=1e-4)
        assert row["loss"] == pytest.approx((0.5 + lmbda * 19 / 3) / scale, rel=1e-4)


def test_cost_at_the_unit_is_in_bits_per_pixel() -> None:
    ones = torch.ones(2)
    cost = rate_distortion(ones, ones / 255.0**2, 0.005 * ones)
    torch.testing.assert_close(cost, 1.005 * ones)


@pytest.fixture
def arguments(scene: Tensor, tmp_path: Path) -> list[str]:
    """The arguments of one training step on one picture."""
    Image.fromarray(scene[0].permute(1, 2, 0).numpy()).save(tmp_path / "scene.png")
    data = ["--data", str(tmp_path), "--valid", str(tmp_path), "--out", str(tmp_path / "out")]
    return [*data, "--steps", "1", "--batch", "1", "--log-every", "1", "--device", "cpu"]


def test_script_weighs_structure_as_told(arguments: list[str], tmp_path: Path) -> None:
    weights = VQVAE(TINY).state_dict()
    initial = {"model": weights, "ema": weights, "step": 3, "seconds": 60.0, "pixels": 500}
    config = {"config": {"model": dataclasses.asdict(TINY), "command": "train the first"}}
    save_checkpoint(tmp_path / "initial.pt", {**initial, **config})
    options = ["--init", str(tmp_path / "initial.pt"), "--structure", "0.2"]
    assert CliRunner().invoke(main, [*arguments, *options]).exit_code == 0
    assert "structure" in (tmp_path / "out" / "log.csv").read_text().splitlines()[0].split(",")
    # The runs that led to it, for the model card.
    state = load_checkpoint(tmp_path / "out" / CHECKPOINT, torch.device("cpu"))
    first, second = stages(state)
    assert first == {"command": "train the first", "step": 3, "seconds": 60.0, "pixels": 500}
    assert second["step"] == 1
    assert second["seconds"] > 0


@pytest.mark.parametrize("told", [{}, {"lmbda_min": 0.003}])
def test_a_network_of_another_shape_is_trained(
    arguments: list[str], told: dict[str, float], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(THREE_SCALES)))
    options = ["--config", str(tmp_path / "config.json"), "--crop", "128"]
    options += [f"--{name.replace('_', '-')}={value}" for name, value in told.items()]
    assert CliRunner().invoke(main, [*arguments, *options]).exit_code == 0
    model, state = load_model(tmp_path / "out" / CHECKPOINT, VQVAE.from_dict)
    assert model.config == dataclasses.replace(THREE_SCALES, **told)  # type: ignore[arg-type]
    settings = state["config"]["settings"]
    assert settings["lmbda_min"] == model.config.lmbda_min
    assert settings["lmbda_max"] == 0.03
    with (tmp_path / "out" / "valid.csv").open(newline="") as file:
        assert all(math.isfinite(float(row["loss"])) for row in csv.DictReader(file))


def test_crops_that_the_network_would_pad_are_refused(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(THREE_SCALES)))
    result = CliRunner().invoke(
        main, [*arguments, "--config", str(tmp_path / "config.json"), "--crop", "64"]
    )
    assert (result.exit_code, result.stderr) == (1, "error: --crop 64 is no multiple of 128\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "no attribute 'items'"),
        ('{"depth": 3}', "unexpected keyword argument 'depth'"),
        ('{"prior_width": 0}', "prior_width is out of bounds"),
        ('{"lmbda_min": 0}', "not above 0"),
        ('{"phases": [[3], [3, 2, 2, 2, 2]]}', "not of the same levels"),
        ('{"channels": [[48, 145], [6, 10, 12, 20, 112]]}', "more than a scale has coefficients"),
        ('{"groups": [[[1, 16, 4]]]}', "not of as many levels"),
        (json.dumps({"groups": 7 * [[[1, 16, 4]]]}), "without codebooks"),
    ],
)
def test_a_bad_config_is_one_line_and_exit_1(
    arguments: list[str], text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    result = CliRunner().invoke(main, [*arguments, "--config", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path} is no config of a new network: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_config_and_a_trained_network_are_refused_together(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, [*arguments, "--config", "a.json", "--init", "b.pt"])
    assert result.exit_code == 2
    assert "--config is for a new network" in result.stderr


def test_empty_data_set_is_one_line_and_exit_1(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path), "--valid", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, "--steps", "1", "--device", "cpu"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: nothing to train on in {tmp_path}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--seed", "-1"),
        ("--ema", "2"),
        ("--structure", "1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(option: str, value: str) -> None:
    required = ["--data", "a", "--valid", "b", "--out", "c", "--steps", "1"]
    result = CliRunner().invoke(main, [*required, option, value])
    assert result.exit_code == 2
    assert option in result.stderr
