"""Training on digits: data, the paper's learning rate, the script and its measurement."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from train import iwae, nll
from train.digits import DigitSampler, binarised_for_testing, load_digits
from train.errors import DataError
from vqcodec.density.dense import DenseConfig, DenseVAE


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Forty training and twelve test images of 6x5 pixels: two blurred bars."""
    rng = np.random.default_rng(0)
    images = {}
    for name, count in (("x_train", 40), ("x_test", 12)):
        rows = np.zeros((count, 6, 5))
        rows[np.arange(count), rng.integers(0, 6, count)] = 250
        images[name] = (rows * rng.uniform(0.7, 1, rows.shape)).astype(np.uint8)
    path = tmp_path / "digits.npz"
    np.savez(path, **images)  # type: ignore[arg-type]
    return path


def train(digits: Path, out: Path, *options: str) -> Result:
    common = ["--data", str(digits), "--out", str(out), "--device", "cpu", "--batch", "8"]
    logs = ["--log-every", "5", "--valid-every", "10"]
    return CliRunner().invoke(iwae.main, [*common, *logs, *options])


def measure(*arguments: str) -> str:
    result = CliRunner().invoke(nll.main, arguments)
    assert result.exit_code == 0
    return result.stdout


def test_a_pass_sees_every_image_once_and_the_next_in_another_order() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1) * 20
    sampler = DigitSampler(np.where(images, 255, 0).astype(np.uint8), 4, seed=0)
    assert sampler.steps_per_pass == 3
    assert sum(int(sampler.batch(step, 0).sum()) for step in range(3)) == 11
    marked = DigitSampler(np.eye(12, dtype=np.uint8).reshape(12, 3, 4) * 255, 4, seed=0)
    passes = [
        torch.cat([marked.batch(3 * number + step, 0) for step in range(3)]).flatten(1).argmax(1)
        for number in range(2)
    ]
    assert sorted(passes[0].tolist()) == sorted(passes[1].tolist()) == list(range(12))
    assert passes[0].tolist() != passes[1].tolist()


def test_binarisation_is_fresh_each_pass_and_has_the_pixels_mean() -> None:
    images = np.full((50, 20, 20), 51, np.uint8)
    sampler = DigitSampler(images, 50, seed=0)
    first, second = sampler.batch(0, 0), sampler.batch(1, 0)
    assert first.shape == (50, 1, 20, 20)
    assert not torch.equal(first, second)
    assert torch.equal(first, sampler.batch(0, 0))
    assert float(first.float().mean()) == pytest.approx(0.2, abs=0.01)
    full = DigitSampler(np.full((1, 9, 9), 255, np.uint8), 1, seed=0).batch(0, 0)
    assert bool(full.all())
    # A part of the test images is binarised as it is among all of them.
    assert torch.equal(binarised_for_testing(images)[:7], binarised_for_testing(images[:7]))


@pytest.mark.parametrize("estimator", ["plain", "dreg", "resampling"])
def test_script_trains_and_is_measured(digits: Path, tmp_path: Path, estimator: str) -> None:
    options = ["--passes", "12", "-k", "3", "--layers", "2", "--estimator", estimator]
    options += ["--lr", "1e-2"]
    assert train(digits, tmp_path / "a", *options).exit_code == 0
    with (tmp_path / "a" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(5, 61, 5))
    assert {"reconstruction", "kl_0", "kl_1"} <= rows[0].keys()
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    arguments = [str(tmp_path / "a" / "checkpoint.pt"), "--data", str(digits)]
    arguments += ["--samples", "300", "--csv", str(tmp_path / "nll.csv")]
    assert measure(*arguments).count("NLL") == 1
    assert measure(*arguments, "--images", "8").count("NLL") == 1
    with (tmp_path / "nll.csv").open(newline="") as file:
        whole, part = csv.DictReader(file)
    assert (whole["layers"], whole["k"], whole["estimator"]) == ("2", "3", estimator)
    assert (whole["images"], whole["samples"], whole["passes"]) == ("12", "300", "12.0")
    assert part["images"] == "8"
    assert 0 < float(whole["nll"]) < float(rows[0]["loss"])


def test_a_run_knows_the_passes_of_the_one_it_started_from(digits: Path, tmp_path: Path) -> None:
    last = ""
    for number, k in enumerate((1, 3, 2)):
        init = ("--init", str(tmp_path / last / "checkpoint.pt")) if last else ()
        last = str(number)
        options = ("--passes", str(number + 1), "-k", str(k), *init)
        assert train(digits, tmp_path / last, *options).exit_code == 0
    checkpoint = str(tmp_path / last / "checkpoint.pt")
    table = tmp_path / "nll.csv"
    arguments = ["--data", str(digits), "--samples", "5", "--csv", str(table)]
    measure(checkpoint, *arguments)
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["k"], row["passes"], row["after"]) == ("2", "3.0", "1 at k = 1, 2 at k = 3")


def test_a_part_of_the_test_images_gives_what_it_gives_in_the_whole(digits: Path) -> None:
    model = DenseVAE(DenseConfig(pixels=30))
    images = binarised_for_testing(load_digits(digits, "test"))
    whole = nll.negative_bounds(model, images, 20, seed=0)
    torch.testing.assert_close(nll.negative_bounds(model, images[:8], 20, seed=0), whole[:8])


def test_what_is_no_digits_is_one_line(digits: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(digits.read_bytes()[:200])
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x_train=np.array([{}]), x_test=np.zeros((2, 3, 3)))
    other = tmp_path / "other.npz"
    np.savez(other, y=np.zeros(3))
    for path in (tmp_path / "missing.npz", broken, pickled, other):
        result = train(path, tmp_path / "out", "--steps", "1")
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
    with pytest.raises(DataError, match="not uint8"):
        load_digits(pickled, "test")
    result = train(digits, tmp_path / "out", "--steps", "1", "--batch", "50")
    assert result.exit_code == 1
    assert "only 40" in result.stderr


def test_the_length_is_told_in_one_way(digits: Path, tmp_path: Path) -> None:
    for options in ([], ["--steps", "1", "--passes", "1"]):
        result = train(digits, tmp_path / "out", *options)
        assert result.exit_code == 2
        assert "one of --steps and --passes" in result.stderr
