"""Train the natural look of a codec at rest: python -m train.natural --codec CHECKPOINT …

    --data PATH… --valid PATH… --out DIR --steps N

CHECKPOINT is what `train.codebooks` made and `train.export` turned into the weights that ship. Of
the codec nothing changes: a block learns what to add to its pictures so that they look like the
originals. With --adversary a discriminator judges them; start it from a run without (--init), or
from the look of weights that ship (--look).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from train import features, texture
from train.adversary import Discriminator, discriminator_loss, generator_loss
from train.checkpoint import load_checkpoint, load_model, load_weights, runs_of, stages
from train.loop import Trainer
from train.options import (
    COUNT,
    FILE,
    NOT_NEGATIVE,
    Arguments,
    Script,
    image_options,
    option,
)
from train.processes import Process
from vqcodec.model.config import NATURAL_NOISE, PLANES, QUALITIES
from vqcodec.model.layers import quality_weights
from vqcodec.model.natural import NaturalBlock
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import find
from vqcodec.weights.store import load

VALIDATION_QUALITIES = (5, 15, 30, 50)
# Low qualities, which have most to win, come more often.
QUALITY_POWER = 2.0
VISIBLE = (0.5 / 255) ** 2  # variance of a grid that shows on smooth areas
# What hardly differs from nothing: those of a picture that is as good as its original.
TINY_ERROR, TINY_DISTANCE = 1e-5, 1e-2


@dataclass(frozen=True)
class Looks:
    """Pictures `[B, 3, H, W]` in [0, 1]: faithful and natural; and losses `[B]` of the contest."""

    faithful: Tensor
    natural: Tensor
    generator: Tensor
    discriminator: Tensor


class NaturalLook(nn.Module):
    """A codec at rest, the block that draws its natural look, and a discriminator if there is one.

    Images are as for :class:`VQVAE`.
    """

    def __init__(self, codec: VQVAE, width: int, *, contest: bool) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False)
        self.block = NaturalBlock(codec.config, width)
        self.block.start_from(codec.finish)
        self.discriminator = Discriminator(PLANES) if contest else None

    def forward(self, x: Tensor, quality: Tensor) -> Looks:
        """Return the looks of `x` coded at `quality` (float32 `[B]`), with noise of its own."""
        weights = quality_weights(quality)
        with torch.no_grad():
            t, _ = self.codec.coded(x, quality)
            faithful, t = self.codec.finished(t, weights)
        blocks = 4 * NATURAL_NOISE, x.shape[2] // 2, x.shape[3] // 2
        noise = torch.randn(len(x), *blocks, device=x.device)
        natural = faithful + self.block.draw(faithful, t, weights, noise).to(x.dtype)
        pictures = faithful / 4 + 0.5, natural / 4 + 0.5
        if self.discriminator is None:
            return Looks(*pictures, x.new_zeros(len(x)), x.new_zeros(len(x)))
        real = (x - 0.5) * 4
        return Looks(
            *pictures,
            generator_loss(self.discriminator, natural, faithful),
            discriminator_loss(self.discriminator, real, natural, faithful),
        )


class NaturalTask:
    """Squared error, features, texture and grids, and what the discriminator says.

    Squared error and the distance of features count by the logarithm of how many times those of the
    faithful picture they are, so that every quality pulls equally.
    """

    def __init__(self, valid: Sequence[Tensor], weights: Mapping[str, float]) -> None:
        """`valid` is batches of whole images, uint8 `[B, 3, H, W]`.

        `weights` are those of "features", "texture", "grid", and "generator", what the
        discriminator says.
        """
        self._valid, self._weights = valid, weights

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss and its parts for a batch of crops, uint8 `[B, 3, H, W]`."""
        quality = 1 + (QUALITIES - 1) * uniform**QUALITY_POWER
        x = batch.float() / 255
        looks: Looks = model(x, quality)
        terms = {name: value.mean() for name, value in self._terms(x, looks).items()}
        terms["generator"] = looks.generator.mean()
        terms["discriminator"] = looks.discriminator.mean()
        weighted = [weight * terms[name] for name, weight in self._weights.items()]
        return {
            "loss": torch.stack([terms["error"], *weighted, terms["discriminator"]]).sum(),
            **terms,
        }

    def _terms(self, x: Tensor, looks: Looks) -> dict[str, Tensor]:
        """Return logarithms of squared error and features over those before, texture and grid."""
        with torch.autocast(x.device.type, enabled=False):
            faithful, natural = looks.faithful.float(), looks.natural.float()
            errors = [(x - y).square().mean((1, 2, 3)) for y in (natural, faithful)]
            with torch.no_grad():
                before = features.distance(x, faithful)
            return {
                "error": _log_ratio(errors[0], errors[1], TINY_ERROR),
                "features": _log_ratio(features.distance(x, natural), before, TINY_DISTANCE),
                "texture": texture.distance(x, natural),
                "grid": texture.grid(natural - faithful) / VISIBLE,
            }

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return a row for each of a few qualities: means over images, without the contest."""
        rows = []
        device = next(model.parameters()).device
        for quality in VALIDATION_QUALITIES:
            found: list[dict[str, Tensor]] = []
            for batch in self._valid:
                x = batch.float().to(device) / 255
                looks: Looks = model(x, torch.full((len(x),), float(quality), device=device))
                found.append(self._terms(x, looks))
            row = {name: float(torch.cat([f[name] for f in found]).mean()) for name in found[0]}
            loss = sum(self._weights.get(name, 1) * value for name, value in row.items())
            rows.append({"quality": quality, "loss": loss, **row})
        return rows


def _log_ratio(after: Tensor, before: Tensor, tiny: float) -> Tensor:
    return ((after + tiny) / (before + tiny)).log()


def parameter_groups(model: NaturalLook, lr: float) -> list[dict[str, Any]]:
    """Return Adam's parameter groups; the discriminator forgets its past gradients sooner."""
    groups: list[dict[str, Any]] = [{"params": list(model.block.parameters()), "lr": lr}]
    if model.discriminator is not None:
        parameters = list(model.discriminator.parameters())
        groups.append({"params": parameters, "lr": lr, "betas": (0.5, 0.99)})
    return groups


def start(model: NaturalLook, arguments: Arguments) -> list[dict[str, Any]]:
    """Give the block the weights of --init or --look; return the runs behind them.

    Raises:
        CheckpointError: --init is no run of this script, or either has a block of another width.
        ModelError: --look has no look.
    """
    if arguments.look is not None:
        shipped = load(find(arguments.look))
        block = shipped.natural_block().state_dict()
        load_weights(model.block, block, shipped.info.natural.path)
        return runs_of(shipped.info.natural.card)
    if arguments.init is None:
        return []
    state = load_checkpoint(arguments.init, torch.device("cpu"))
    load_weights(model.block, block_weights(state), arguments.init)
    return stages(state)


def block_weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the averaged weights of the block in a checkpoint of this script."""
    prefix = "block."
    return {
        name.removeprefix(prefix): value
        for name, value in state["ema"].items()
        if name.startswith(prefix)
    }


@click.command(cls=Script)
@image_options
@option("--codec", type=FILE, required=True, metavar="CHECKPOINT", help="With codebooks.")
@option("--look", metavar="MODEL", help="Start from that of a model, its name or file.")
@option("--width", type=COUNT, default=32, help="Of the block, at least that of the last one.")
@option("--features", type=NOT_NEGATIVE, default=2.0, help="Weight of a classifier's features.")
@option("--texture", type=NOT_NEGATIVE, default=1.0, help="Weight of the deviations of bands.")
@option("--grid", type=NOT_NEGATIVE, default=0.1, help="Weight of what repeats every 8 pixels.")
@option("--adversary", type=NOT_NEGATIVE, default=0.0, help="Weight of a discriminator; 0: none.")
def main(codec: Path, **options: Any) -> bool:
    """Train the natural look of a codec on crops of images."""
    arguments = Arguments(codec=codec, **options)
    if arguments.look is not None and arguments.init is not None:
        raise click.UsageError("either --init or --look")
    process = Process.join(arguments.device)
    network, _ = load_model(codec, VQVAE.from_dict)
    sampler, valid = arguments.photographs(process, network.config.padding)
    torch.manual_seed(arguments.seed)
    model = NaturalLook(network, arguments.width, contest=arguments.adversary > 0)
    before = start(model, arguments)
    weights = {name: vars(arguments)[name] for name in ("features", "texture", "grid")}
    if arguments.adversary:
        weights["generator"] = arguments.adversary
    trainer = Trainer(
        model,
        NaturalTask(valid, weights),
        sampler,
        torch.optim.Adam(parameter_groups(model, arguments.lr), betas=(0.9, 0.99), fused=True),
        arguments.settings(),
        arguments.out,
        process,
        {**arguments.run_config({"width": arguments.width}), "stages": before},
    )
    return trainer.train(resume=arguments.resume)


if __name__ == "__main__":
    main()
