"""The small models of the field's textbooks on MNIST: python -m train.textbook MODEL mnist.npz

MODEL is hvae (784 pixels, 8 latents, 2 above them), vqvae (convolutional, 512 codewords of 64
values) or iwae (50 latents, the bound of 5 samples). What is printed at the end are bits per
dimension of binary test images; docs/textbook.md says what toy versions of these get wrong.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from train import nll
from train.digit_vqvae import (
    STRIDE,
    Described,
    DigitConfig,
    DigitVQVAE,
    nats,
    perplexity,
    usage,
)
from train.digits import DigitSampler, binarised_for_testing, load_digits
from train.errors import DataError
from train.iwae import IWAETask, plain
from train.loop import Task, Trainer
from train.muon import MuonWithAdam
from train.options import COUNT, FILE, Arguments, Script, loop_options, option
from train.processes import Process
from vqcodec.density.bounds import Terms
from vqcodec.density.dense import DenseConfig, DenseVAE

SAMPLES = {"hvae": 1, "iwae": 5}  # k of the bound that is trained
DENSE = {"hvae": DenseConfig(latents=(8, 2), hidden=(200, 100)), "iwae": DenseConfig()}
MODELS = ("hvae", "vqvae", "iwae")
TEST_SAMPLES = 500
FIRST_IMAGES = 200  # that a codebook starts from


class VQVAETask:
    """-log p(x | z_q) in nats, and the errors of the codewords at all positions."""

    def __init__(self, valid: Tensor) -> None:
        """`valid` is binarised images, uint8 [N, 1, H, W]."""
        self._valid = valid

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss, its terms and the perplexity for a batch, uint8 [B, 1, H, W]."""
        out: Described = model(batch)
        positions = out.quantized.indices[0].numel()
        reconstruction = -out.reconstruction.mean()
        codebook = positions * out.quantized.loss
        terms = {"reconstruction": reconstruction, "codebook": codebook}
        return {"loss": reconstruction + codebook, **terms, "perplexity": out.quantized.perplexity}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return the mean bound on the validation images in nats, with a uniform prior."""
        assert isinstance(model, DigitVQVAE)
        return [{"loss": float(nats(model, self._valid).mean())}]


def report_dense(model: DenseVAE, test: Tensor) -> list[str]:
    """Return lines on the bounds of a VAE, of test images uint8 `[N, 1, H, W]`."""
    torch.manual_seed(0)
    with torch.no_grad():
        terms: Terms = model(test, 1)
    pixels = test[0].numel()
    layers = " + ".join(f"{float(kl.mean()):.2f}" for kl in terms.kl)
    bound = nll.negative_bounds(model, test, TEST_SAMPLES, seed=0)
    return [
        _line("ELBO", -terms.log_w[:, 0], pixels),
        _line(f"IWAE-{TEST_SAMPLES}", bound, pixels),
        f"KL {layers} nats, coarse to fine",
    ]


def report_vqvae(model: DigitVQVAE, train: Tensor, test: Tensor) -> list[str]:
    """Return lines on the bounds and the codebook of a VQ-VAE, images uint8 `[N, 1, H, W]`."""
    pixels, counts = test[0].numel(), usage(model, test)
    return [
        _line("uniform prior", nats(model, test), pixels),
        _line("their frequencies", nats(model, test, usage(model, train)), pixels),
        f"codebook: {int((counts > 0).sum())} of {len(counts)} codewords used, "
        f"perplexity {perplexity(counts):.1f}",
    ]


def _line(name: str, bounds: Tensor, pixels: int) -> str:
    bits = bounds / (math.log(2) * pixels)
    error = float(bits.std()) / len(bits) ** 0.5 if len(bits) > 1 else 0.0
    return f"{name}: at most {float(bits.mean()):.4f} ± {error:.4f} bits per dimension"


DEFAULTS = {
    "batch": 200, "lr": 2e-3, "warmup": 300, "decay": 1.0, "clip": math.inf, "bf16": False,
    "log_every": 150, "valid_every": 6000,
}  # fmt: skip


@click.command(cls=Script, context_settings={"default_map": DEFAULTS})
@click.argument("name", metavar="|".join(MODELS), type=click.Choice(MODELS))
@click.argument("data", metavar="NPZ", type=FILE)
@option("--passes", type=COUNT, default=20, help="Through the training images.")
@option("--valid-images", type=COUNT, default=1000, help="Test images to measure on.")
@loop_options
def main(name: str, data: Path, passes: int, valid_images: int, **options: Any) -> bool:
    """Train a textbook model on MNIST, an NPZ with x_train and x_test, and measure it."""
    if options["init"] is not None:
        raise click.UsageError("--init: these models start from nothing")
    process = Process.join(options["device"])
    images = load_digits(data, "train")
    test = binarised_for_testing(load_digits(data, "test")[:valid_images])
    sampler = DigitSampler(images, options["batch"], options["seed"])
    arguments = Arguments(**options, model=name, data=data, steps=passes * sampler.steps_per_pass)
    torch.manual_seed(arguments.seed)
    model: DenseVAE | DigitVQVAE
    task: Task
    if name == "vqvae":
        if any(side % STRIDE for side in images.shape[1:]):
            raise DataError(f"{data}: sides of images must be multiples of {STRIDE}")
        model, task = DigitVQVAE(DigitConfig()), VQVAETask(test)
        try:
            model.initialise(binarised_for_testing(images[:FIRST_IMAGES]))
        except ValueError as error:
            raise DataError(f"{data}: too few images to start from: {error}") from error
    else:
        sizes = dataclasses.replace(DENSE[name], pixels=math.prod(images.shape[1:]))
        model, task = DenseVAE(sizes), IWAETask(test, SAMPLES[name], plain)
        model.initialise(torch.from_numpy(images.mean(0) / 255).flatten())
    config = arguments.run_config(dataclasses.asdict(model.config))
    optimizer = (
        torch.optim.Adam(model.parameters(), arguments.lr)
        if name == "vqvae"
        else MuonWithAdam.by_shape(model.parameters(), arguments.lr)
    )
    trainer = Trainer(
        model, task, sampler, optimizer, arguments.settings(), arguments.out, process, config
    )
    finished = trainer.train(resume=arguments.resume)
    if finished and process.first:
        trained = trainer.ema.cpu()
        if isinstance(trained, DigitVQVAE):
            lines = report_vqvae(trained, binarised_for_testing(images), test)
        else:
            assert isinstance(trained, DenseVAE)
            lines = report_dense(trained, test)
        click.echo("\n".join(lines))
    return finished


if __name__ == "__main__":
    main()
