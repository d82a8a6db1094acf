"""Train the density model: python -m train.hvae --data PATH… --valid PATH… --out DIR --steps N

It sees photographs at half the resolution of their files: what JPEG and demosaicing did to single
pixels is no part of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import click
import torch
from torch import Tensor, nn

from train.checkpoint import load_model, stages
from train.data import Halved, Sampler, first_crops, halve
from train.errors import TrainError
from train.loop import Trainer
from train.muon import MuonWithAdam
from train.options import COUNT, NOT_NEGATIVE, SHARE, Arguments, Script, image_options, option
from train.processes import Process
from vqcodec.density.bounds import Terms
from vqcodec.density.fitting import initialise
from vqcodec.density.ladder import Ladder, LadderConfig

ADAM_SHARE = 0.06  # of the rate
SMALL_STEPS = {"predict", "head", "pixels"}
INITIAL_PIXELS = 3 << 18  # what the linear parts are fitted to; all of it in memory, many times


class HVAETask:
    """The negative ELBO in bits per dimension, no layer's KL counted below `free_bits`.

    Free bits (Kingma et al. 2016) keep a layer from falling silent. They are bits per dimension of
    the image too, a layer at a time, and only in the loss: what is logged is the bound.
    """

    def __init__(self, valid: Sequence[Tensor], free_bits: float) -> None:
        """`valid` is batches of whole images, uint8 [B, 3, H, W]."""
        self._valid = valid
        self._free_bits = free_bits

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss and the bound's terms for a batch of crops, uint8 [B, 3, H, W]."""
        reconstruction, kl = _bits_per_dimension(model(batch), batch)
        loss = reconstruction + kl.mean(1).clamp(min=self._free_bits).sum()
        return {
            "loss": loss.mean(),
            "reconstruction": reconstruction.mean(),
            "kl": kl.sum(0).mean(),
        }

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return one row: the mean over whole images, its parts, and the worst image."""
        device = next(model.parameters()).device
        points = []
        for batch in self._valid:
            for image in batch:
                x = image[None].to(device)
                reconstruction, kl = _bits_per_dimension(model(x), x)
                points.append((float(reconstruction), float(kl.sum())))
        reconstructions, divergences = zip(*points, strict=True)
        bpd = [sum(point) for point in points]
        return [
            {
                "loss": sum(bpd) / len(bpd),
                "reconstruction": sum(reconstructions) / len(bpd),
                "kl": sum(divergences) / len(bpd),
                "worst": max(bpd),
            }
        ]


def _bits_per_dimension(terms: Terms, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reconstruction `[B]` and the KL of each layer `[L, B]`."""
    unit = math.prod(x.shape[1:]) * math.log(2)
    kl = torch.stack([layer.mean(1) for layer in terms.kl])
    return -terms.reconstruction.mean(1) / unit, kl / unit


def initial_model(
    arguments: Arguments, sampler: Sampler, processes: int
) -> tuple[Ladder, list[dict[str, Any]]]:
    """Return the network that training starts from, --init or fitted to some crops, and its past.

    Raises CheckpointError, and TrainError for crops that the network would have to pad.
    """
    past: list[dict[str, Any]] = []
    if arguments.init is None:
        model = Ladder(
            LadderConfig(arguments.scales, arguments.width, arguments.blocks, arguments.components)
        )
    else:
        model, source = load_model(arguments.init, Ladder.from_dict)
        past = stages(source)
    stride = 1 << model.config.scales
    if arguments.crop % stride:
        raise TrainError(f"--crop {arguments.crop} is no multiple of {stride}")
    if arguments.init is None:
        initialise(model, first_crops(sampler, -(-INITIAL_PIXELS // arguments.crop**2), processes))
    return model, past


def optimizer(model: Ladder, lr: float) -> MuonWithAdam:
    """Return Muon for the convolutions over features, and Adam at a lower rate for the rest.

    Of the rest, what weighs grey levels and what gives scales must move in small steps: a layer's
    scale reaches all layers after it.
    """
    features: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        small = parameter.ndim < 4 or not SMALL_STEPS.isdisjoint(name.split("."))
        (rest if small else features).append(parameter)
    adam = torch.optim.Adam(rest, ADAM_SHARE * lr, betas=(0.9, 0.99), fused=True)
    return MuonWithAdam(features, lr, adam)


@click.command(
    cls=Script, context_settings={"default_map": {"crop": 128, "lr": 1e-2, "warmup": 100}}
)
@image_options
@option("--scales", type=COUNT, default=LadderConfig.scales)
@option("--width", type=COUNT, default=LadderConfig.width, help="Channels.")
@option("--blocks", type=COUNT, default=LadderConfig.blocks, help="Residual blocks a layer.")
@option("--components", type=COUNT, default=LadderConfig.components, help="Logistics of a prior.")
@option(
    "--soft-colour",
    type=SHARE,
    default=0.3,
    help="Share of the crops whose colours are at half their resolution.",
)
@option(
    "--ycc",
    type=SHARE,
    default=0.3,
    help="Share of the crops seen as integers of luma and colour differences.",
)
@option(
    "--free-bits",
    type=NOT_NEGATIVE,
    default=0.0,
    metavar="BPD",
    help="What each layer may say at no cost, in bits per dimension of the image.",
)
def main(**options: Any) -> bool:
    """Train the density model on crops of images."""
    arguments = Arguments(**options)
    process = Process.join(arguments.device)
    crops, whole = arguments.photographs(process, scale=2)
    sampler = Halved(crops, arguments.seed, arguments.soft_colour, arguments.ycc)
    valid = [halve(batch) for batch in whole]
    torch.manual_seed(arguments.seed)
    model, past = initial_model(arguments, sampler, process.world_size)
    trainer = Trainer(
        model,
        HVAETask(valid, arguments.free_bits),
        sampler,
        optimizer(model, arguments.lr),
        arguments.settings(),
        arguments.out,
        process,
        {**arguments.run_config(dataclasses.asdict(model.config)), "stages": past},
    )
    return trainer.train(resume=arguments.resume)


if __name__ == "__main__":
    main()
