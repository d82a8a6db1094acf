"""The textbooks' models on digits, and what toy versions of them get wrong."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from train import textbook
from train.digit_vqvae import DigitConfig, DigitVQVAE, nats, perplexity, usage
from vqcodec.density.bounds import Terms, iwae_loss, log_mean_exp
from vqcodec.density.dense import DenseConfig, DenseVAE, Gaussian
from vqcodec.density.likelihoods import bernoulli_log_p

SMALL = DigitConfig(codewords=8, dim=4, width=8)


@pytest.fixture
def bars() -> Tensor:
    """Sixty-four images of 8x8: a row and a column, each anywhere."""
    rows, columns = np.divmod(np.arange(64), 8)
    images = np.zeros((64, 1, 8, 8), np.uint8)
    images[np.arange(64), 0, rows] = 1
    images[np.arange(64), 0, :, columns] = 1
    return torch.from_numpy(images)


@pytest.fixture
def digits(tmp_path: Path, bars: Tensor) -> Path:
    path = tmp_path / "digits.npz"
    images = bars[:, 0].numpy() * np.uint8(250)
    np.savez(path, x_train=np.tile(images, (3, 1, 1)), x_test=images[::5])
    return path


def train(name: str, digits: Path, out: Path, *options: str) -> Result:
    common = ["--out", str(out), "--device", "cpu", "--batch", "16", "--warmup", "5"]
    return CliRunner().invoke(textbook.main, [name, str(digits), *common, *options])


def bits(line: str) -> float:
    found = re.search(r"at most (\d+\.\d+) ± \d+\.\d+ bits per dimension", line)
    assert found
    return float(found[1])


@pytest.mark.parametrize("name", ["hvae", "iwae"])
def test_a_vae_tells_its_bounds(name: str, digits: Path, tmp_path: Path) -> None:
    result = train(name, digits, tmp_path / "run", "--passes", "5", "--lr", "1e-2")
    assert result.exit_code == 0, result.output
    elbo, iwae, kl = result.stdout.splitlines()[-3:]
    assert bits(iwae) < bits(elbo) < 1.0
    assert iwae.startswith("IWAE-500")
    assert kl.count(" + ") == {"hvae": 1, "iwae": 0}[name]


def test_a_vqvae_tells_its_bounds_and_its_codebook(digits: Path, tmp_path: Path) -> None:
    result = train("vqvae", digits, tmp_path / "run", "--passes", "1")
    assert result.exit_code == 0, result.output
    uniform, counted, codebook = result.stdout.splitlines()[-3:]
    # Four positions of 9 bits each under the uniform prior.
    assert bits(counted) < bits(uniform)
    assert bits(uniform) > 4 * 9 / 64
    assert re.fullmatch(r"codebook: \d+ of 512 codewords used, perplexity \d+\.\d", codebook)


@pytest.mark.parametrize(
    ("height", "said"),
    [
        (6, "x.npz: sides of images must be multiples of 4\n"),
        (8, "80 vectors are too few for 512 codewords\n"),
    ],
    ids=["sides", "too few"],
)
def test_images_that_do_not_fit_are_one_line(tmp_path: Path, height: int, said: str) -> None:
    images = np.zeros((20, height, 8), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=images, x_test=images)
    result = train("vqvae", tmp_path / "x.npz", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr.endswith(said)


def test_a_codebook_starts_where_the_encoder_is(bars: Tensor) -> None:
    torch.manual_seed(0)
    model = DigitVQVAE(SMALL).eval()
    before = perplexity(usage(model, bars))
    model.initialise(bars)
    assert perplexity(usage(model, bars)) > max(4, 1.5 * before)


def test_bound_of_a_vqvae_sums_its_parts(bars: Tensor) -> None:
    torch.manual_seed(0)
    model = DigitVQVAE(SMALL).eval()
    with torch.no_grad():
        out = model(bars)
    torch.testing.assert_close(nats(model, bars), 4 * math.log(8) - out.reconstruction)
    counts = usage(model, bars)
    assert int(counts.sum()) == 64 * 4
    assert float(nats(model, bars, counts).mean()) < float(nats(model, bars).mean())
    assert perplexity(torch.tensor([5, 5, 0, 5])) == pytest.approx(3)


# What toy versions get wrong


def test_a_weighted_mean_of_log_weights_is_no_bound() -> None:
    """p(z) = N(0, 1), p(x | z) = N(z, 1), x = 0, and q the prior: log p(x) = log N(0; 0, 2)."""
    torch.manual_seed(0)
    log_w = -0.5 * torch.randn(4000, 5).square() - 0.5 * math.log(2 * math.pi)
    exact = -0.5 * math.log(4 * math.pi)
    toy = (torch.softmax(log_w, -1) * log_w).sum(-1)
    assert bool((toy >= log_mean_exp(log_w) - 1e-6).all())
    assert float(toy.mean()) > exact + 0.05
    bounds = [float(log_mean_exp(log_w[:, :k]).mean()) for k in (1, 2, 5)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < exact


def test_without_a_straight_through_gradient_no_encoder_learns(bars: Tensor) -> None:
    torch.manual_seed(0)
    model = DigitVQVAE(SMALL)
    encoder = list(model.encoder.parameters())
    reconstruction = model(bars).reconstruction.sum()
    gradients = torch.autograd.grad(reconstruction, encoder)
    assert all(bool(gradient.any()) for gradient in gradients)
    quantizer = model.quantizer
    indices = quantizer.encode(model.encoder(bars.float()).permute(0, 2, 3, 1))
    toy = model.decoder(quantizer.decode(indices).permute(0, 3, 1, 2)).sum()
    assert set(torch.autograd.grad(toy, encoder, allow_unused=True)) == {None}


def test_a_decoder_of_the_top_latents_alone_all_but_empties_the_others(bars: Tensor) -> None:
    """p(x | z_2): z_1 is only a step on the way to q(z_2 | z_1), and what it tells only costs."""
    spent = {}
    for name in ("whole", "toy"):
        torch.manual_seed(0)
        model = DenseVAE(DenseConfig(pixels=64, latents=(8, 2), hidden=(48, 48)))
        model.initialise(bars.float().mean(0).flatten())
        toy = Gaussian(2, 48, 32)  # 64 outputs, which are taken for the logits
        optimizer = torch.optim.Adam([*model.parameters(), *toy.parameters()], 1e-2)
        for _ in range(300):
            terms: Terms = model(bars, 4)
            if name == "toy":
                logits = torch.cat(toy(terms.z[1]), -1)
                terms = Terms(bernoulli_log_p(bars.flatten(1).float(), logits), terms.kl)
            optimizer.zero_grad()
            torch.autograd.backward(iwae_loss(terms))
            optimizer.step()
        spent[name] = float(terms.kl[1].detach().mean())
    assert spent["toy"] < 2
    assert spent["whole"] > 4
