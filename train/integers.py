"""From a weights file back to integers: python -m train.integers WEIGHTS OUT

The other way of `train.codebooks`: what ships becomes a checkpoint of the first stage of training,
from which a better or another model is trained with --init. Channels that shared a codebook
and its class get classes of their own; blocks can be added, which begin as the identity.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from train.checkpoint import TRAINED_FOR, runs_of, save_start
from train.options import COUNT, FILE, Script, option
from vqcodec.entropy.layer import SHIFT, Layer
from vqcodec.model.config import QUALITIES
from vqcodec.model.layers import Conv2d
from vqcodec.model.prior import ACTIVATION_UNIT, PriorPhase
from vqcodec.model.quantizer import CLASS_KNOTS, Codebooks, integer_log_p
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import find
from vqcodec.weights.store import Weights, load

# How often a value is zero tells its scale best between these.
LEAST_ZERO, MOST_ZERO = 0.2, 0.98


@torch.no_grad()
def with_integers(shipped: Weights, analysis_blocks: int, synthesis_blocks: int) -> VQVAE:
    """Return the network with integers in place of its codebooks, and at least so many blocks."""
    network = shipped.network()
    config = dataclasses.replace(
        network.config,
        groups=None,
        analysis_blocks=max(analysis_blocks, network.config.analysis_blocks),
        synthesis_blocks=max(synthesis_blocks, network.config.synthesis_blocks),
    )
    result = VQVAE(config)
    state = result.state_dict()
    for name, value in network.state_dict().items():
        if name in state:
            state[name].copy_(value)
    for target, layer in zip(result.prior.upsample, shipped.prior.upsample, strict=True):
        _copy_layer(target, layer)
    for number, level in enumerate(network.levels):
        groups = zip(level.codebooks.groups, shipped.prior.levels[number].groups, strict=True)
        # Codebooks that share their codewords have them once.
        offsets = [class_offsets(codebooks).expand(count, -1) for codebooks, count in groups]
        phases = shipped.prior.levels[number].phases
        for phase, prior in zip(phases, result.prior.levels[number], strict=True):
            _copy_layer(prior.update, phase.update)
            _copy_layer(prior.hidden, phase.hidden)
            _split_classes(prior, phase.head, torch.from_numpy(phase.slope), offsets)
    return result


def class_offsets(codebooks: Codebooks) -> Tensor:
    """Return how much wider than the class of its codebook a channel is, in classes `[count, dim]`.

    So that integers of that scale are zero as often as the codewords of the codebook.
    """
    knots = torch.linspace(0, 8, CLASS_KNOTS)
    p = torch.softmax(codebooks.bounded_logits(), -1)
    zero = torch.einsum("gcw,gwd->gcd", p, (codebooks.codewords.abs() < 0.5).float())
    fine = torch.linspace(-4, 12, 1601)
    falling = integer_log_p(torch.zeros(1), fine).exp()
    log_scale = fine[torch.searchsorted(-falling, -zero).clamp(max=len(fine) - 1)]
    telling = ((zero > LEAST_ZERO) & (zero < MOST_ZERO)).float()
    offsets = telling * (log_scale - knots[:, None])
    return offsets.sum(1) / telling.sum(1).clamp(min=1)


def _copy_layer(target: Conv2d, layer: Layer) -> None:
    """Give a convolution the weights of an integer layer, in units of one."""
    weight = torch.from_numpy(layer.weight).permute(2, 1, 0).reshape(target.weight.shape)
    target.weight.copy_(weight / 2**SHIFT)
    target.bias.copy_(torch.from_numpy(layer.bias) * ACTIVATION_UNIT / 2**SHIFT)


def _split_classes(prior: PriorPhase, head: Layer, slope: Tensor, offsets: list[Tensor]) -> None:
    """Give every channel the class of its codebook, and its own offset from it."""
    channels = torch.cat([group.flatten() for group in offsets])
    counts = torch.cat([torch.full((len(group),), group.shape[1]) for group in offsets])
    codebook = torch.repeat_interleave(torch.arange(len(counts)), counts)
    weight = torch.from_numpy(head.weight[0]).T[codebook]
    prior.head.weight.copy_(weight[:, :, None, None] / 2**SHIFT)
    bias = torch.from_numpy(np.ascontiguousarray(head.bias))[codebook]
    prior.head.bias.copy_(bias * ACTIVATION_UNIT / 2**SHIFT + channels)
    prior.slope.copy_(slope[codebook] * QUALITIES * ACTIVATION_UNIT / 2**SHIFT)


@click.command(cls=Script)
@click.argument("weights")
@click.argument("out", type=FILE)
@option("--analysis-blocks", type=COUNT, default=1, help="Have at least so many.")
@option("--synthesis-blocks", type=COUNT, default=1, help="Have at least so many.")
def main(weights: str, out: Path, analysis_blocks: int, synthesis_blocks: int) -> None:
    """Turn WEIGHTS, the name or file of a model, into a checkpoint with integers, OUT."""
    shipped = load(find(weights))
    model = with_integers(shipped, analysis_blocks, synthesis_blocks)
    card = shipped.info.card
    config = {"model": dataclasses.asdict(model.config), "stages": runs_of(card)}
    if TRAINED_FOR in card:
        config[TRAINED_FOR] = card[TRAINED_FOR]
    save_start(out, model, config)


if __name__ == "__main__":
    main()
