"""Digits of which few have labels: the marginal bound, which labels are known, both scripts."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor
from torch.nn import functional

from train import iwae, semi
from train.class_vae import ClassConfig, ClassVAE, known_bound, marginal_bound
from train.digits import balanced
from train.errors import DataError
from vqcodec.density.dense import DenseConfig, DenseVAE

CLASSES = 4
SMALL = ClassConfig(inputs=3, latents=2, classes=CLASSES, hidden=8, classifier=6)


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars of 8x8 pixels in one of four places, here and there a pixel missing or added."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    images = np.zeros((count, 8, 8))
    for image, place in zip(images, y, strict=True):
        image[2 * place : 2 * place + 2] = 255
    flipped = rng.random(images.shape) < 0.12
    return np.where(flipped, 255 - images, images).astype(np.uint8), y.astype(np.uint8)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    (x_train, y_train), (x_test, y_test) = drawn(400, 0), drawn(200, 1)
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture
def vae(digits: Path, tmp_path: Path) -> Path:
    """A VAE of train.iwae of the digits, trained for a moment."""
    arguments = ["--data", str(digits), "--out", str(tmp_path / "vae"), "--device", "cpu"]
    lengths = ["--passes", "10", "--batch", "40", "--warmup", "10"]
    assert CliRunner().invoke(iwae.main, [*arguments, *lengths]).exit_code == 0
    return tmp_path / "vae" / "checkpoint.pt"


def run(model: str, digits: Path, vae: Path, *options: str) -> Result:
    given = [model, str(digits), "--vae", str(vae), "--labels", "8", *options]
    return CliRunner().invoke(semi.main, given)


def trained(digits: Path, vae: Path, out: Path, *options: str) -> Result:
    common = ["--out", str(out), "--device", "cpu", "--batch", "40", "--warmup", "10"]
    watched = ["--valid-every", "50", "--valid-images", "60", "--log-every", "20"]
    return run("m2", digits, vae, *common, *watched, *options)


def model_and_vectors() -> tuple[ClassVAE, Tensor]:
    torch.manual_seed(0)
    return ClassVAE(SMALL), torch.randn(5, 3)


def log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    variance = torch.exp(2 * log_std)
    return -functional.gaussian_nll_loss(mean, x, variance, full=True, reduction="none").sum(-1)


def test_the_marginal_bound_is_the_sum_over_the_classes() -> None:
    model, x = model_and_vectors()
    torch.manual_seed(1)
    log_w, log_q = model(x)
    torch.manual_seed(1)
    noise = torch.randn(5, CLASSES, 2)
    expected = torch.zeros(5)
    for place in range(CLASSES):
        y = functional.one_hot(torch.full((5,), place), CLASSES).float()
        mean, log_std = model.encoder(torch.cat([x, y], 1))
        z = mean + log_std.exp() * noise[:, place]
        joint = log_density(x, *model.decoder(torch.cat([z, y], 1))) - math.log(CLASSES)
        joint = joint + log_density(z, torch.zeros_like(z), torch.zeros_like(z))
        log_weight = joint - log_density(z, mean, log_std)
        torch.testing.assert_close(known_bound(log_w, torch.full((5,), place)), log_weight)
        q = torch.softmax(model.classifier(x), -1)[:, place]
        expected = expected + q * (log_weight - q.log())
    torch.testing.assert_close(marginal_bound(log_w, log_q), expected)
    # No q(y | x) makes more of it than the one in proportion to the weights.
    assert bool((marginal_bound(log_w, log_q) <= torch.logsumexp(log_w, -1)).all())
    best = torch.log_softmax(log_w, -1)
    torch.testing.assert_close(marginal_bound(log_w, best), torch.logsumexp(log_w, -1))


def test_digits_without_labels_teach_the_encoder_and_the_classifier() -> None:
    model, x = model_and_vectors()
    torch.autograd.backward(-marginal_bound(*model(x)).mean())
    for part in (model.encoder, model.decoder, model.classifier):
        assert all(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


def test_labels_are_balanced_and_drawn_by_a_seed() -> None:
    y = np.random.default_rng(0).integers(0, CLASSES, 300)
    chosen = balanced(y, 20, 3)
    assert len(set(chosen.tolist())) == 20
    assert np.bincount(y[chosen]).tolist() == [5] * CLASSES
    assert np.array_equal(chosen, balanced(y, 20, 3))
    assert not np.array_equal(chosen, balanced(y, 20, 4))
    with pytest.raises(DataError, match="21 labels"):
        balanced(y, 21, 0)
    with pytest.raises(DataError, match="fewer than 100"):
        balanced(y, 100 * CLASSES, 0)


def test_what_is_watched_are_digits_without_labels(digits: Path) -> None:
    known = semi.Digits.load(digits, 8, 0)
    images, y = known.unseen(1000)
    assert len(images) == len(y) == 400 - 8
    rest = np.delete(known.images, known.known, 0)
    assert np.array_equal(images, rest)


def test_both_models_tell_digits_apart_after_a_moment(
    digits: Path, vae: Path, tmp_path: Path
) -> None:
    table = tmp_path / "semi.csv"
    into = ["--csv", str(table)]
    assert run("m1", digits, vae, *into).exit_code == 0
    result = trained(digits, vae, tmp_path / "run", "--passes", "12", "--lr", "1e-2", *into)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("test error ")
    with table.open(newline="") as file:
        m1, m2 = csv.DictReader(file)
    assert [row["model"] for row in (m1, m2)] == ["m1", "m2"]
    for row in (m1, m2):
        assert (row["labels"], row["draw"], row["images"]) == ("8", "0", "200")
        assert float(row["vae_passes"]) == 10
        assert float(row["error"]) < 25  # 75 by chance
    assert m2["passes"] == "12"
    with (tmp_path / "run" / "valid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_a_run_goes_on_where_it_was(digits: Path, vae: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert trained(digits, vae, whole, "--passes", "2", "--decay", "0").exit_code == 0
    assert trained(digits, vae, parts, "--passes", "1", "--decay", "0").exit_code == 0
    again = trained(digits, vae, parts, "--passes", "2", "--decay", "0", "--resume")
    assert again.exit_code == 0, again.output
    states = [torch.load(out / "checkpoint.pt")["ema"] for out in (whole, parts)]
    for name, weights in states[0].items():
        torch.testing.assert_close(states[1][name], weights, rtol=0, atol=0)


def test_what_does_not_fit_is_one_line(digits: Path, vae: Path, tmp_path: Path) -> None:
    unlabelled, short = tmp_path / "unlabelled.npz", tmp_path / "short.npz"
    (x, y), (x_test, y_test) = drawn(40, 0), drawn(20, 1)
    np.savez(unlabelled, x_train=x, x_test=x_test)
    np.savez(short, x_train=x, y_train=y[:30], x_test=x_test, y_test=y_test)
    other = tmp_path / "other.npz"
    np.savez(other, x_train=x[:, 1:], y_train=y, x_test=x_test[:, 1:], y_test=y_test)
    for data, checkpoint, said in (
        (unlabelled, vae, "no array y_train"),
        (short, vae, "not the classes of 40 images"),
        (other, vae, "of 64 pixels, not of 56"),
        (digits, tmp_path / "missing.pt", "no checkpoint"),
    ):
        result = run("m1", data, checkpoint)
        assert result.exit_code == 1
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    np.savez(other, x_train=np.zeros_like(x), y_train=y, x_test=x_test, y_test=y_test)
    result = run("m1", other, vae)
    assert result.exit_code == 1
    assert "tells nothing of these digits" in result.stderr
    for labels, said in (("9", "9 labels are not as many"), ("4000", "fewer than 1000")):
        result = run("m1", digits, vae, "--labels", labels)
        assert result.exit_code == 1
        assert said in result.stderr
    assert trained(digits, vae, tmp_path / "run", "--init", str(vae)).exit_code == 2


def test_a_vae_of_other_latents_takes_the_layer_next_to_the_image() -> None:
    torch.manual_seed(0)
    vae = DenseVAE(DenseConfig(pixels=9, latents=(4, 2), hidden=(8, 8)))
    x = torch.randint(0, 2, (6, 1, 3, 3), dtype=torch.uint8)
    mean, log_std = vae.posterior(x)
    torch.manual_seed(1)
    terms = vae(x, 1)
    expected = mean[:, None] + log_std.exp()[:, None] * terms.noise[0]
    torch.testing.assert_close(terms.z[0], expected)
