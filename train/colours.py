"""Errors of colour that leave luma alone: python -m train.colours CHECKPOINT OUT

The planes of the network are orthonormal, as squared error of red, green and blue wants them: an
error of a colour difference is one of luma too, and brightness is what the eye sees best. Here the
levels code, in place of their first plane, that plane and what the two others hold of luma, so that
an error of those shows in luma no more. Nothing but the quantisation error changes, and the steps
of colour, which may be coarser now; training goes on from there with a distortion that cares.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

from train.checkpoint import load_model, save_start, stages
from train.options import FILE, Script, option
from vqcodec.density.ycc import LUMA
from vqcodec.model.config import PLANES
from vqcodec.model.vqvae import VQVAE


def luma_of_planes(basis: Tensor) -> Tensor:
    """Return what each frequency's planes hold of the luma of its first, `[frequencies, PLANES]`.

    `basis` `[PLANES * n, n * PLANES]` is that of a synthesis, with n frequencies: by least squares.
    """
    frequencies = len(basis) // PLANES
    waves = basis.reshape(PLANES, -1, frequencies, PLANES)
    luma = torch.einsum("c,cyfp->fyp", torch.tensor(LUMA), waves)
    first = luma[:, :, :1]
    return (first * luma).sum(1) / first.square().sum(1)


@torch.no_grad()
def turn_to_luma(model: VQVAE, coarser: float) -> None:
    """Let the levels of `model` code luma apart, and colour in steps `coarser` times as large.

    With P the matrix that adds to each frequency's first plane the luma of its others, projections
    become projections times P, and what leads back is multiplied by the inverse of P.
    """
    finest = luma_of_planes(model.synthesis[-1].basis)
    for scale, numbers in enumerate(model.config.scales):
        channels = model.config.state_channels(scale)
        shares = finest if scale == len(model.synthesis) - 1 else finest[:1]
        turn = torch.eye(channels)
        first = torch.arange(0, channels, PLANES)
        for plane in range(1, PLANES):
            turn[first, first + plane] = shares[:, plane].expand(len(first))
        back = torch.linalg.inv(turn)
        for number in numbers:
            level = model.levels[number]
            of_colour = level.project.abs().argmax(1) % PLANES > 0
            level.project.copy_(level.project @ turn)
            level.unproject.copy_(back @ level.unproject)
            level.project[of_colour] /= coarser
            level.unproject[:, of_colour] *= coarser


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FILE)
@option("--coarser", type=click.FloatRange(0.1, 10), default=1.4, help="Steps of colour, times.")
def main(checkpoint: Path, out: Path, coarser: float) -> None:
    """Turn the levels of CHECKPOINT, of `train.vqvae` with integers, to luma and colour: OUT."""
    model, source = load_model(checkpoint, VQVAE.from_dict)
    turn_to_luma(model, coarser)
    config = {"model": source["config"]["model"], "stages": stages(source)}
    save_start(out, model, config)


if __name__ == "__main__":
    main()
