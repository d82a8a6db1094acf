"""From integers to codebooks: python -m train.codebooks CHECKPOINT OUT --data PATH…

Training starts with integers as codewords, because they have no range to outgrow. This turns such a
checkpoint into one with learned codebooks, sized by what the channels really hold: a channel
gets a codebook of its own, the larger the wider it ranges; channels that are nearly always zero
share one by the eight. Where the config shares codebooks, all channels of a level have one that
holds every integer. Codewords start where the integers left off, tables as the frequencies of what
the network then chooses; training goes on with --init.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from train.checkpoint import load_model, save_checkpoint
from train.data import CropSampler
from train.errors import CheckpointError
from train.options import COUNT, FILE, Script, data_option, option
from vqcodec.model.config import QUALITIES, Groups
from vqcodec.model.level import Level
from vqcodec.model.prior import PriorPhase
from vqcodec.model.quantizer import (
    CLASS_KNOTS,
    RANGE,
    CodebookQuantizer,
    IntegerQuantizer,
    class_weights,
    integer_log_p,
)
from vqcodec.model.vqvae import VQVAE

# A channel whose range, in steps, exceeds the bound gets a codebook of so many codewords to itself;
# the others share codebooks of 256 codewords by the eight.
CODEWORD_BOUNDS = ((256, 20.0), (64, 7.0), (32, 3.0), (16, 1.2))
SPARSE_DIM, SPARSE_CODEWORDS = 8, 256
# Measured where steps are finest, and nearly to the last value: beyond it codewords are coarse.
RANGE_QUALITY = 100.0
QUANTILE = 0.9999
MEASURED_BATCHES = 24
LEAST_CROP = 192
# How many codewords the distribution that a table has is worth beside those that are counted.
TABLE_STRENGTH = 100.0

# Called with a quantizer, its arguments and its result.
Watcher = Callable[[nn.Module, tuple[Tensor, ...], object], None]


def choose_groups(ranges: Tensor) -> Groups:
    """Return the codebooks, (dimension, codewords, number), for channels of falling ranges."""
    least_codewords, least_bound = CODEWORD_BOUNDS[-1]
    shared = int((ranges <= least_bound).sum()) // SPARSE_DIM
    counts = dict.fromkeys((codewords for codewords, _ in CODEWORD_BOUNDS), 0)
    for value in ranges[: len(ranges) - SPARSE_DIM * shared].tolist():
        fitting = (codewords for codewords, bound in CODEWORD_BOUNDS if value > bound)
        counts[next(fitting, least_codewords)] += 1
    groups = [(1, codewords, count) for codewords, count in counts.items()]
    return tuple(group for group in (*groups, (SPARSE_DIM, SPARSE_CODEWORDS, shared)) if group[-1])


@torch.no_grad()
def measure_ranges(model: VQVAE, batches: Tensor) -> list[Tensor]:
    """Return the `QUANTILE` of |y| in steps, a level `[C]`, over uint8 `[N, B, 3, H, W]`."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        seen.setdefault(module, []).append(inputs[0].abs().flatten(0, 1).T)

    _watch_quantizers(model, note, batches, lambda size: torch.full((size,), RANGE_QUALITY))
    values = [torch.cat(seen[level.quantizer], 1) for level in model.levels]
    return [v.kthvalue(max(1, int(QUANTILE * v.shape[1])), dim=1).values for v in values]


@torch.no_grad()
def with_codebooks(model: VQVAE, ranges: list[Tensor]) -> VQVAE:
    """Return the network with codebooks in place of integers, equal to it up to its codewords.

    Channels are sorted by falling range, so all that touches them is permuted; where codebooks are
    shared, those of a level have them in common and stay as they are.
    """
    if model.config.shared_codebooks:
        orders = [torch.arange(len(r)) for r in ranges]
        groups: tuple[Groups, ...] = tuple(((1, 2 * RANGE + 1, len(r)),) for r in ranges)
    else:
        orders = [r.argsort(descending=True, stable=True) for r in ranges]
        groups = tuple(choose_groups(r[order]) for r, order in zip(ranges, orders, strict=True))
    result = VQVAE(dataclasses.replace(model.config, groups=groups))
    state = result.state_dict()
    for name, value in model.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)
    old_levels, new_levels = model.levels, result.levels
    for number, order in enumerate(orders):
        _permute_level(old_levels[number], new_levels[number], order)
        phases = zip(model.prior.levels[number], result.prior.levels[number], strict=True)
        for old, new in phases:
            _merge_classes(old, new, new_levels[number].codebooks, order)
    _permute_inputs(result, orders)
    return result


def _permute_level(old: Level, new: Level, order: Tensor) -> None:
    new.project.copy_(old.project[order])
    new.unproject.copy_(old.unproject[:, order])
    new.log_gain.table.copy_(old.log_gain.table[:, order])
    new.adapt.weight.copy_(old.adapt.weight[order])
    new.adapt.bias.copy_(old.adapt.bias[order])


def _merge_classes(
    old: PriorPhase, new: PriorPhase, quantizer: CodebookQuantizer, order: Tensor
) -> None:
    """Give a codebook the mean class of its channels, and its tables their differences from it."""
    weight, bias, slope = old.head.weight[order], old.head.bias[order], old.slope[order]
    typical = bias + slope / 2
    start = row = 0
    for codebooks, count in zip(quantizer.groups, quantizer.counts, strict=True):
        dim = codebooks.dim
        channels, rows = slice(start, start + dim * count), slice(row, row + count)
        for target, source in (
            (new.head.weight, weight),
            (new.head.bias, bias),
            (new.slope, slope),
        ):
            target[rows] = torch.unflatten(source[channels], 0, (count, dim)).mean(1)
        start, row = start + dim * count, row + count
        if dim == 1:
            continue  # whose tables are those of integers
        offsets = torch.unflatten(typical[channels], 0, (count, dim))
        offsets = offsets - offsets.mean(1, keepdim=True)
        knots = torch.linspace(0, 8, CLASS_KNOTS)
        # [count, knots, codewords, dim]
        log_scale = (knots[:, None, None] + offsets[:, None, None, :]).clamp(0, 8)
        codewords = codebooks.codewords[:, None].abs()
        codebooks.logits.copy_(integer_log_p(codewords, log_scale).sum(-1))


def _permute_inputs(model: VQVAE, orders: list[Tensor]) -> None:
    """Reorder what the prior reads of each level, in the levels after it and between the scales."""
    width, levels = model.config.prior_width, model.prior.levels
    for numbers in model.config.scales:
        for number in numbers:
            readers = [*levels[number][1:], *(levels[n][0] for n in numbers if n == number + 1)]
            for reader in readers:
                inputs = reader.update.weight[:, width:]
                inputs.copy_(inputs[:, orders[number]])
    for numbers, upsample in zip(model.config.scales, model.prior.upsample, strict=False):
        # [hidden | last magnitudes | earlier magnitudes | values of all levels in order]
        start = width
        for number in (numbers[-1], *numbers[:-1], *numbers):
            inputs = upsample.weight[:, start : start + len(orders[number])]
            inputs.copy_(inputs[:, orders[number]])
            start += len(orders[number])


@torch.no_grad()
def fit_tables(model: VQVAE, batches: Tensor, generator: torch.Generator) -> None:
    """Set the tables to how often the network chooses each codeword in each class.

    Over uint8 `[N, B, 3, H, W]`, at random qualities.
    """
    counts = {
        codebooks: torch.zeros_like(codebooks.logits)
        for level in model.levels
        for codebooks in level.codebooks.groups
    }

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(module, CodebookQuantizer)
        chosen = module.indices(*inputs), module.split_symbols(inputs[2])
        for codebooks, indices, log_scale in zip(module.groups, *chosen, strict=True):
            weights = class_weights(log_scale).transpose(1, 2)
            rows = indices.reshape(log_scale.shape)[:, None].expand(-1, CLASS_KNOTS, -1)
            counts[codebooks].scatter_add_(2, rows, weights)

    def quality(size: int) -> Tensor:
        return 1 + (QUALITIES - 1) * torch.rand(size, generator=generator)

    _watch_quantizers(model, count, batches, quality)
    for codebooks, counted in counts.items():
        before = torch.softmax(codebooks.bounded_logits(), -1)
        codebooks.logits.copy_((counted + TABLE_STRENGTH * before).log())


def _watch_quantizers(
    model: VQVAE, note: Watcher, batches: Tensor, quality: Callable[[int], Tensor]
) -> None:
    """Run uint8 `[N, B, 3, H, W]` at qualities made for each batch, and show all quantizers."""
    with watching(model, note):
        for batch in batches:
            model(batch.float() / 255, quality(len(batch)))


@contextmanager
def watching(model: VQVAE, note: Watcher) -> Iterator[None]:
    """Call `note` with what the quantizers of all levels are given, and return, coarse to fine."""
    hooks = [level.quantizer.register_forward_hook(note) for level in model.levels]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@click.command(cls=Script)
@click.argument("checkpoint", type=FILE)
@click.argument("out", type=FILE)
@data_option
@option("--memory", type=COUNT, default=8, metavar="GIB", help="For decoded images.")
def main(checkpoint: Path, out: Path, data: tuple[Path, ...], memory: int) -> None:
    """Turn a CHECKPOINT with integers into one with codebooks, OUT."""
    model, state = load_model(checkpoint, VQVAE.from_dict)
    if not isinstance(model.levels[0].quantizer, IntegerQuantizer):
        raise CheckpointError(f"{checkpoint} has codebooks already")
    side = -(-LEAST_CROP // model.config.padding) * model.config.padding
    sampler = CropSampler.open(data, memory << 30, side, 8, seed=1)
    batches = torch.stack([sampler.batch(step, 0) for step in range(MEASURED_BATCHES)])
    converted = with_codebooks(model, measure_ranges(model, batches)).eval()
    fit_tables(converted, batches, torch.Generator().manual_seed(1))
    weights = converted.state_dict()
    config = {**state["config"], "model": dataclasses.asdict(converted.config)}
    save_checkpoint(out, {**state, "model": weights, "ema": weights, "config": config})
    for number, groups in enumerate(converted.config.groups or ()):
        print(
            f"level {number}: "
            + ", ".join(f"{n} codebooks of {w} codewords in {d} dimensions" for d, w, n in groups)
        )


if __name__ == "__main__":
    main()
