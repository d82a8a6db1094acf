"""Classify digits of which few have labels: python -m train.semi m1|m2 mnist.npz --vae CHECKPOINT

After Kingma et al. 2014, on the latents of a VAE of train.iwae, which has seen no labels. m1
spreads labels over a graph of the latents of all digits; m2, their "M1+M2", trains a class-
conditional VAE on them. What is printed at the end is the error on the test images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from train.checkpoint import load_model
from train.class_vae import ClassConfig, ClassVAE, known_bound, marginal_bound
from train.digits import (
    Labels,
    Pixels,
    RowSampler,
    balanced,
    load_digits,
    load_labels,
)
from train.errors import DataError
from train.iwae import passes
from train.log import append_row
from train.loop import Trainer
from train.muon import MuonWithAdam
from train.options import (
    COUNT,
    FILE,
    NATURAL,
    POSITIVE,
    Arguments,
    Command,
    Script,
    loop_options,
    option,
)
from train.processes import Process
from train.spreading import Graph
from vqcodec.density.dense import DenseVAE

FIELDS = ("model", "labels", "draw", "error", "images", "passes", "vae_passes")
CHUNK = 500
# Latents that a VAE does not use are noise: their posterior is the prior. The others' means have a
# standard deviation of more than that, here of the first 5,000 digits.
LEAST_SPREAD = 0.1
MEASURED = 5000


@dataclass(frozen=True)
class Digits:
    """Digits with `y` `[N]` for each, of which a run may know those of `known` `[n]` alone."""

    images: Pixels
    y: Labels
    known: Labels
    test: Pixels
    test_y: Labels

    @classmethod
    def load(cls, path: Path, labels: int, draw: int) -> Digits:
        """Read an .npz and draw whose labels are known; raises DataError if that cannot be."""
        images, test = load_digits(path, "train"), load_digits(path, "test")
        y = load_labels(path, "train", len(images))
        return cls(images, y, balanced(y, labels, draw), test, load_labels(path, "test", len(test)))

    def unseen(self, count: int) -> tuple[Pixels, Tensor]:
        """Return the first `count` training digits whose labels are not known, and their labels.

        They are gray, uint8 `[count, H, W]`. Settings are to be chosen by them, and not by the test
        images. Raises DataError if there are none.
        """
        rest = torch.ones(len(self.images), dtype=torch.bool)
        rest[torch.from_numpy(self.known)] = False
        chosen = rest.nonzero()[:count, 0].numpy()
        if not len(chosen):
            raise DataError("every digit has a label")
        return self.images[chosen], torch.from_numpy(self.y[chosen])


class Latents:
    """z_1 of a network of train.iwae, at rest: those of its latents that tell digits apart."""

    def __init__(self, path: Path, images: Pixels, device: torch.device) -> None:
        """Choose them by the first of the `images`, uint8 [N, H, W].

        Raises CheckpointError if there is no network, DataError if it is of images of another size
        or uses no latents.
        """
        vae, state = load_model(path, DenseVAE.from_dict)
        pixels = math.prod(images.shape[1:])
        if vae.config.pixels != pixels:
            raise DataError(f"{path} is of {vae.config.pixels} pixels, not of {pixels}")
        self.passes = round(passes(state), 2)
        self.device = device
        self._vae = vae.to(device).eval().requires_grad_(False)
        self._kept = torch.ones(vae.config.latents[0], dtype=torch.bool, device=device)
        self._kept = self.means(images[:MEASURED]).std(0) > LEAST_SPREAD
        if not len(self):
            raise DataError(f"{path} tells nothing of these digits in its latents")

    def __len__(self) -> int:
        return int(self._kept.sum())

    @torch.no_grad()
    def means(self, images: Pixels) -> Tensor:
        """Return the mean of q(z_1 | x) of each digit uint8 `[N, H, W]`, float32 `[N, d]`.

        Not a sample: the noise of samples hides the gaps between classes. Nor are they binarised:
        gray is how often a pixel would be white, and so the mean of all ways to do that.
        """
        parts = torch.split(torch.from_numpy(images).to(self.device), CHUNK)
        return torch.cat([self._vae.posterior(part / 255)[0][:, self._kept] for part in parts])


class SemiTask:
    """Minus the bounds of all digits, with or without a class, and the error of q(y | x).

    Everything is a mean over the digits without labels, in nats: n digits with labels weigh n / N,
    and their cross entropy `alpha`, which is alpha N of the whole.
    """

    def __init__(
        self, latents: Latents, digits: Digits, batch: int, alpha: float, valid: int
    ) -> None:
        """`batch` digits with labels go into a step, `valid` without are watched."""
        self._known = latents.means(digits.images[digits.known])
        self._y = torch.from_numpy(digits.y[digits.known]).to(latents.device)
        self._share = len(digits.known) / len(digits.images)
        self._batch = batch
        self._alpha = alpha
        seen, y = digits.unseen(valid)
        self._valid, self._valid_y = latents.means(seen), y.to(latents.device)

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms for latents of digits without labels `[B, d]`."""
        chosen = (uniform[: self._batch] * len(self._known)).long()
        log_w, log_q = model(torch.cat([self._known[chosen], batch]))
        few, y = len(chosen), self._y[chosen]
        unknown = -marginal_bound(log_w[few:], log_q[few:]).mean()
        known_loss = -known_bound(log_w[:few], y).mean()
        entropy = functional.nll_loss(log_q[:few], y)
        loss = unknown + self._share * known_loss + self._alpha * entropy
        return {"loss": loss, "unknown": unknown, "known": known_loss, "classes": entropy}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return minus the bound of digits watched, whose labels are not used, and the error."""
        assert isinstance(model, ClassVAE)
        bounds = [marginal_bound(*model(part)) for part in torch.split(self._valid, CHUNK)]
        error = per_cent_wrong(model.log_q, self._valid, self._valid_y)
        return [{"loss": -float(torch.cat(bounds).mean()), "error": error}]


@torch.no_grad()
def per_cent_wrong(scores: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Return how many of the rows of `x` have another class than `y` as that of highest score."""
    guessed = torch.cat([scores(part).argmax(-1) for part in torch.split(x, CHUNK)])
    return 100 * float((guessed != y).double().mean())


def digit_options(command: Command) -> Command:
    """What both models take: the digits, their latents, which of them have labels."""
    for decorate in reversed((
        click.argument("data", metavar="NPZ", type=FILE),
        option("--vae", type=FILE, required=True, metavar="CHECKPOINT", help="Of train.iwae."),
        option("--labels", type=COUNT, default=100, help="As many of each class."),
        option("--draw", type=NATURAL, default=0, help="Seed of which digits have labels."),
        option("--csv", "table", type=FILE, help="Append the result as a row, for benchmarks."),
    )):  # fmt: skip
        command = decorate(command)
    return command


def report(given: Arguments, digits: Digits, error: float, row: dict[str, object]) -> None:
    """Print the test error, and append it with what `row` has to the table, if one is given."""
    labels, images = len(digits.known), len(digits.test)
    click.echo(f"test error {error:.2f} %: {images} images, {labels} labels, draw {given.draw}")
    if given.table is not None:
        found = {"labels": labels, "draw": given.draw, "error": f"{error:.2f}", "images": images}
        append_row(given.table, FIELDS, row | found)


@click.group()
def main() -> None:
    """Classify MNIST, an NPZ with x_train, y_train, x_test and y_test, with few labels."""


@main.command(cls=Script)
@digit_options
def m1(**options: Any) -> None:
    """Spread the labels over all digits, by their latents, and measure it."""
    given = Arguments(**options)
    digits = Digits.load(given.data, given.labels, given.draw)
    latents = Latents(given.vae, digits.images, torch.device("cpu"))
    graph = Graph(latents.means(digits.images).double().numpy())
    shares = graph.spread(digits.known, digits.y[digits.known])
    wrong = graph.classify(latents.means(digits.test).double().numpy(), shares) != digits.test_y
    row = {"model": "m1", "passes": 0, "vae_passes": latents.passes}
    report(given, digits, 100 * float(wrong.mean()), row)


DEFAULTS = {
    "batch": 200, "lr": 1.2e-2, "warmup": 100, "decay": 1.0, "clip": math.inf, "bf16": False,
    "log_every": 300, "valid_every": 1500,
}  # fmt: skip


@main.command(cls=Script, context_settings={"default_map": DEFAULTS})
@digit_options
@option("--passes", type=COUNT, default=10, help="Through the training images.")
@option("--alpha", type=POSITIVE, default=1, help="Weight of the classes, times all images.")
@option("--known", type=COUNT, default=25, help="Digits with labels in a step.")
@option("--valid-images", type=COUNT, default=5000, help="Training images to watch, unlabelled.")
@loop_options
def m2(**options: Any) -> bool:
    """Train the class-conditional VAE on the latents of all digits, and measure it."""
    if options["init"] is not None:
        raise click.UsageError("--init: this model starts from nothing but --vae")
    process = Process.join(options["device"])
    digits = Digits.load(options["data"], options["labels"], options["draw"])
    latents = Latents(options["vae"], digits.images, process.device)
    seen = latents.means(digits.images).cpu().numpy()
    sampler = RowSampler(seen, options["batch"], options["seed"])
    given = Arguments(**options, steps=options["passes"] * sampler.steps_per_pass)
    torch.manual_seed(given.seed)
    model = ClassVAE(ClassConfig(len(latents), classes=int(digits.y.max()) + 1))
    trainer = Trainer(
        model,
        SemiTask(latents, digits, given.known, given.alpha, given.valid_images),
        sampler,
        MuonWithAdam.by_shape(model.parameters(), given.lr),
        given.settings(),
        given.out,
        process,
        given.run_config(dataclasses.asdict(model.config)),
    )
    finished = trainer.train(resume=given.resume)
    if finished and process.first:
        trained = trainer.ema
        assert isinstance(trained, ClassVAE)
        row = {"model": "m2", "passes": given.passes, "vae_passes": latents.passes}
        x = latents.means(digits.test)
        error = per_cent_wrong(trained.log_q, x, torch.from_numpy(digits.test_y).to(x.device))
        report(given, digits, error, row)
    return finished


if __name__ == "__main__":
    main()
