"""Train the VAE of the IWAE paper: python -m train.iwae --data mnist.npz --out DIR --passes N

`python -m train.nll DIR/checkpoint.pt --data mnist.npz` then measures it on the test images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import click
import torch
from torch import Tensor, nn

from train.checkpoint import load_model
from train.digits import DigitSampler, Pixels, binarised_for_testing, load_digits
from train.loop import Trainer
from train.muon import MuonWithAdam
from train.options import COUNT, FILE, Arguments, Script, loop_options, option
from train.processes import Process
from vqcodec.density.bounds import Terms, dreg_loss, iwae_loss, log_mean_exp, resampled
from vqcodec.density.dense import DenseConfig, DenseVAE

VALIDATION_SAMPLES = 100
VALIDATION_BATCH = 10
RESAMPLED = 8


# The terms of k samples of a batch, and -L_k with a gradient.
Estimator = Callable[[nn.Module, Tensor, int], tuple[Terms, Tensor]]


def plain(model: nn.Module, batch: Tensor, k: int) -> tuple[Terms, Tensor]:
    """The gradient of the bound itself."""
    terms: Terms = model(batch, k)
    return terms, iwae_loss(terms)


def dreg(model: nn.Module, batch: Tensor, k: int) -> tuple[Terms, Tensor]:
    """The doubly reparameterised one for the inference network."""
    terms: Terms = model(batch, k, score=False)
    return terms, dreg_loss(terms)


def resampling(model: nn.Module, batch: Tensor, k: int) -> tuple[Terms, Tensor]:
    """The plain one of `RESAMPLED` samples that are drawn by their weights among the k."""
    with torch.no_grad():
        terms: Terms = model(batch, k)
        chosen = resampled(terms.log_w, RESAMPLED)
        noise = [
            eps.gather(1, chosen[..., None].expand(-1, -1, eps.shape[-1])) for eps in terms.noise
        ]
    surrogate = -model(batch, RESAMPLED, noise=noise).log_w.mean()
    return terms, surrogate + (iwae_loss(terms) - surrogate).detach()


ESTIMATORS: dict[str, Estimator] = {"plain": plain, "dreg": dreg, "resampling": resampling}


class IWAETask:
    """-L_k in nats, with the gradient of an estimator."""

    def __init__(self, valid: Tensor, k: int, estimator: Estimator) -> None:
        """`valid` is binarised images, uint8 [N, 1, H, W]."""
        self._valid = valid
        self._k = k
        self._estimator = estimator

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss and the terms of the ELBO for a batch, uint8 [B, 1, H, W]."""
        terms, loss = self._estimator(model, batch, self._k)
        layers = {f"kl_{number}": kl.mean() for number, kl in enumerate(terms.kl)}
        return {"loss": loss, "reconstruction": terms.reconstruction.mean(), **layers}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return the mean of -L_100 over the validation images."""
        device = next(model.parameters()).device
        bounds = []
        for batch in torch.split(self._valid, VALIDATION_BATCH):
            terms: Terms = model(batch.to(device), VALIDATION_SAMPLES)
            bounds.append(log_mean_exp(terms.log_w))
        return [{"samples": VALIDATION_SAMPLES, "loss": -float(torch.cat(bounds).mean())}]


def initial_model(arguments: Arguments, images: Pixels) -> tuple[DenseVAE, str]:
    """Return the network that training starts from, and its passes so far, in words.

    It is --init, or a new one for these images.
    """
    if arguments.init is not None:
        model, state = load_model(arguments.init, DenseVAE.from_dict)
        last = f"{passes(state):g} at k = {state['config']['settings']['k']}"
        return model, ", ".join(filter(None, (state["config"]["after"], last)))
    config = DenseConfig.of_layers(arguments.layers)
    model = DenseVAE(dataclasses.replace(config, pixels=math.prod(images.shape[1:])))
    model.initialise(torch.from_numpy(images.mean(0) / 255).flatten())
    return model, ""


def passes(state: Mapping[str, Any]) -> float:
    """Return how often a checkpoint's own run went through the training images."""
    config = state["config"]
    return float(state["pixels"] / (config["model"]["pixels"] * config["images"]))


# A rate that falls all the way, and steps as large as Muon bears: docs/density.md.
DEFAULTS = {
    "batch": 400, "lr": 8e-3, "warmup": 300, "decay": 1.0, "clip": math.inf, "bf16": False,
    "log_every": 150, "valid_every": 6000,
}  # fmt: skip


@click.command(cls=Script, context_settings={"default_map": DEFAULTS})
@option("--data", type=FILE, required=True, metavar="NPZ", help="x_train and x_test.")
@option("--valid-images", type=COUNT, default=1000, help="Test images to watch the bound on.")
@option("--steps", type=COUNT)
@option("--passes", type=COUNT, help="Through the training images, in place of --steps.")
@loop_options
@option("-k", type=COUNT, default=1, help="Samples of each image.")
@option("--layers", type=click.IntRange(1, 2), default=1, help="Stochastic layers.")
@option(
    "--estimator",
    type=click.Choice(list(ESTIMATORS)),
    default="plain",
    help="Of the gradient: dreg is doubly reparameterised for the inference network, "
    f"resampling takes {RESAMPLED} samples drawn by their weights, half the work for a large k.",
)
def main(**options: Any) -> bool:
    """Train the VAE of the IWAE paper on MNIST."""
    arguments = Arguments(**options)
    if (arguments.steps is None) == (arguments.passes is None):
        raise click.UsageError("Give one of --steps and --passes.")
    process = Process.join(arguments.device)
    images = load_digits(arguments.data, "train")
    held_out = load_digits(arguments.data, "test")[: arguments.valid_images]
    sampler = DigitSampler(images, arguments.batch, arguments.seed)
    if arguments.steps is None:
        arguments.steps = arguments.passes * sampler.steps_per_pass
    torch.manual_seed(arguments.seed)
    model, after = initial_model(arguments, images)
    config = arguments.run_config(dataclasses.asdict(model.config))
    trainer = Trainer(
        model,
        IWAETask(binarised_for_testing(held_out), arguments.k, ESTIMATORS[arguments.estimator]),
        sampler,
        MuonWithAdam.by_shape(model.parameters(), arguments.lr),
        arguments.settings(),
        arguments.out,
        process,
        config | {"images": len(images), "after": after},
    )
    return trainer.train(resume=arguments.resume)


if __name__ == "__main__":
    main()
