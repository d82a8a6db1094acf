"""What a network starts from: directions and classes that make it a transform codec."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcodec.model.config import PLANES
from vqcodec.model.level import Level
from vqcodec.model.prior import PriorPhase
from vqcodec.model.quantizer import SCALE_OFFSET, SCALE_SLOPE
from vqcodec.model.vqvae import VQVAE


@torch.no_grad()
def initialise(model: VQVAE, x: Tensor) -> None:
    """Choose each level's directions and first classes from a batch of images, as VQVAE takes them.

    A level takes whole coefficients, in order of falling variance; a coefficient's class starts as
    if its values were independent.
    """
    features = [model.coefficients(x)]
    for analysis in reversed(model.analysis[:-1]):
        features.insert(0, analysis(features[0][:, :PLANES]))
    for scale, numbers in enumerate(model.config.scales):
        std = features[scale].std(dim=(0, 2, 3))
        order = torch.cat([std[:PLANES] + std.max(), std[PLANES:]]).argsort(descending=True)
        if scale:
            std[:PLANES] = 0.1  # the means are known from the scale above
        else:
            # Means range over hundreds of steps: a coarser step, made up for on finer scales.
            model.levels[0].log_gain.table[:, :PLANES] += math.log(0.2)
        for number in numbers:
            level = model.levels[number]
            channels = len(level.project)
            taken, order = order[:channels], order[channels:]
            level.project[torch.arange(channels), taken] = 1
            level.unproject[taken, torch.arange(channels)] = 1
            for prior in model.prior.levels[number]:
                _initialise_classes(prior, level, std[taken])


def _initialise_classes(prior: PriorPhase, level: Level, std: Tensor) -> None:
    table = level.log_gain.table / math.log(2)
    rise = (table[-1] - table[0]) / SCALE_SLOPE
    # 0.45: a logistic distribution's scale is 0.55 of its deviation, and detail is sparse.
    middle = (torch.log2(0.45 * std) + table.mean(0) - SCALE_OFFSET) / SCALE_SLOPE
    # At zero or below a class would be stuck: the prior's activations are clamped there.
    lowest = (middle - rise / 2).clamp(min=0.25)
    prior.head.bias.copy_(lowest)
    prior.slope.copy_((middle + rise / 2).clamp(min=0.25) - lowest)
