"""From integers to codebooks: python -m train.codebooks CHECKPOINT OUT --data PATH…

Training starts with integers as words, because they have no range to outgrow. This turns such a
checkpoint into one with learned codebooks, sized by what the channels really hold: a channel
gets a codebook of its own, the larger the wider it ranges; channels that are nearly always zero
share one by the eight. Words start where the integers left off, tables as the frequencies of what
the network then chooses; training goes on with --init.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from train.arguments import run_script
from train.checkpoint import load_checkpoint, load_weights, save_checkpoint
from train.data import CropSampler, load_images
from train.errors import CheckpointError
from vqcodec.model.config import Config, Groups
from vqcodec.model.layers import QUALITIES
from vqcodec.model.level import Level
from vqcodec.model.prior import PriorPhase
from vqcodec.model.quantizer import (
    CLASS_KNOTS,
    CodebookQuantizer,
    IntegerQuantizer,
    class_weights,
    integer_log_p,
    log2_width,
)
from vqcodec.model.vqvae import VQVAE

# A channel whose range, in steps, exceeds the bound gets a codebook of so many words to itself; the
# others share codebooks of 256 words by the eight.
WORD_BOUNDS = ((256, 20.0), (64, 7.0), (32, 3.0), (16, 1.2))
SPARSE_DIM, SPARSE_WORDS = 8, 256
# Measured where steps are finest, and nearly to the last value: beyond it words are coarse.
RANGE_QUALITY = 100.0
QUANTILE = 0.9999
MEASURED_BATCHES = 24
# How many words the distribution that a table has is worth beside those that are counted.
TABLE_STRENGTH = 100.0

# Called with a quantizer, its arguments and its result.
Watcher = Callable[[nn.Module, tuple[Tensor, ...], object], None]


def choose_groups(ranges: Tensor) -> Groups:
    """Return the codebooks, (dimension, words, number), for channels of falling `ranges` `[C]`."""
    least_words, least_bound = WORD_BOUNDS[-1]
    shared = int((ranges <= least_bound).sum()) // SPARSE_DIM
    counts = dict.fromkeys((words for words, _ in WORD_BOUNDS), 0)
    for value in ranges[: len(ranges) - SPARSE_DIM * shared].tolist():
        fitting = (words for words, bound in WORD_BOUNDS if value > bound)
        counts[next(fitting, least_words)] += 1
    groups = [(1, words, count) for words, count in counts.items()]
    return tuple(group for group in (*groups, (SPARSE_DIM, SPARSE_WORDS, shared)) if group[-1])


@torch.no_grad()
def measure_ranges(model: VQVAE, batches: Tensor) -> list[Tensor]:
    """Return the `QUANTILE` of |y| in steps, a level `[C]`, over uint8 `[N, B, 3, H, W]`."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        seen.setdefault(module, []).append(inputs[0].abs().transpose(0, 1).flatten(1))

    _watch_quantizers(model, note, batches, lambda size: torch.full((size,), RANGE_QUALITY))
    values = [torch.cat(seen[level.quantizer], 1) for level in model.all_levels()]
    return [v.kthvalue(max(1, int(QUANTILE * v.shape[1])), dim=1).values for v in values]


@torch.no_grad()
def with_codebooks(model: VQVAE, ranges: list[Tensor]) -> VQVAE:
    """Return the network with codebooks in place of integers, equal to it up to its words.

    Channels are sorted by falling range, so all that touches them is permuted.
    """
    orders = [r.argsort(descending=True, stable=True) for r in ranges]
    groups = tuple(choose_groups(r[order]) for r, order in zip(ranges, orders, strict=True))
    result = VQVAE(dataclasses.replace(model.config, groups=groups))
    state = result.state_dict()
    for name, value in model.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)
    old_levels, new_levels = model.all_levels(), result.all_levels()
    for number, order in enumerate(orders):
        _permute_level(old_levels[number], new_levels[number], order)
        phases = zip(model.prior.levels[number], result.prior.levels[number], strict=True)
        for old, new in phases:
            _merge_classes(old, new, new_levels[number].codebooks, order)
    _permute_inputs(result, orders)
    return result


def _permute_level(old: Level, new: Level, order: Tensor) -> None:
    new.take.copy_(old.take[order])
    new.put.copy_(old.put[:, order])
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
    for codebooks in quantizer.parts:
        dim, count = codebooks.dim, codebooks.count
        channels, rows = slice(start, start + dim * count), slice(row, row + count)
        for target, source in (
            (new.head.weight, weight),
            (new.head.bias, bias),
            (new.slope, slope),
        ):
            target[rows] = torch.unflatten(source[channels], 0, (count, dim)).mean(1)
        offsets = torch.unflatten(typical[channels], 0, (count, dim))
        offsets = offsets - offsets.mean(1, keepdim=True)
        knots = torch.linspace(0, 8, CLASS_KNOTS)
        # [count, knots, words, dim]
        width = (knots[:, None, None] + offsets[:, None, None, :]).clamp(0, 8)
        words = codebooks.words[:, None].abs()
        codebooks.logits.copy_(integer_log_p(words, log2_width(width)).sum(-1))
        start, row = start + dim * count, row + count


def _permute_inputs(model: VQVAE, orders: list[Tensor]) -> None:
    """Reorder what the prior reads of each level, in the levels after it and between the scales."""
    config, levels = model.config, model.prior.levels
    first_fine = len(config.channels[0])
    for number, order in enumerate(orders):
        readers = list(levels[number])[1:]
        if number + 1 < len(levels) and number + 1 != first_fine:
            readers.append(levels[number + 1][0])
        for reader in readers:
            own = reader.update.weight[:, config.prior_width :]
            own.copy_(own[:, order])
    # [hidden | last magnitudes | earlier magnitudes | values of all levels in order]
    coarse = config.channels[0]
    last = len(coarse) - 1
    sequence = [last, *range(last), *range(len(coarse))]
    weight = model.prior.upsample.weight
    start = config.prior_width
    for number in sequence:
        own = weight[:, start : start + coarse[number]].clone()
        weight[:, start : start + coarse[number]] = own[:, orders[number]]
        start += coarse[number]


@torch.no_grad()
def fit_tables(model: VQVAE, batches: Tensor, generator: torch.Generator) -> None:
    """Set the tables to how often the network chooses each word in each class.

    Over uint8 `[N, B, 3, H, W]`, at random qualities.
    """
    counts = {
        codebooks: torch.zeros_like(codebooks.logits)
        for level in model.all_levels()
        for codebooks in level.codebooks.parts
    }

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(module, CodebookQuantizer)
        chosen = module.indices(*inputs), module.split_symbols(inputs[2])
        for codebooks, indices, width in zip(module.parts, *chosen, strict=True):
            knots = class_weights(width).transpose(1, 2)
            rows = indices[:, None].expand(-1, CLASS_KNOTS, -1)
            counts[codebooks].scatter_add_(2, rows, knots)

    def quality(size: int) -> Tensor:
        return 1 + (QUALITIES - 1) * torch.rand(size, generator=generator)

    _watch_quantizers(model, count, batches, quality)
    for codebooks, own in counts.items():
        before = torch.softmax(codebooks.bounded_logits(), -1)
        codebooks.logits.copy_((own + TABLE_STRENGTH * before).log())


def _watch_quantizers(
    model: VQVAE, note: Watcher, batches: Tensor, quality: Callable[[int], Tensor]
) -> None:
    """Run uint8 `[N, B, 3, H, W]` at qualities made for each batch, and show all quantizers."""
    hooks = [level.quantizer.register_forward_hook(note) for level in model.all_levels()]
    for batch in batches:
        model(batch.float() / 255, quality(len(batch)))
    for hook in hooks:
        hook.remove()


def run(arguments: argparse.Namespace) -> bool:
    """Convert as told."""
    state = load_checkpoint(arguments.checkpoint, torch.device("cpu"))
    model = VQVAE(Config.from_dict(state["config"]["model"]))
    if not isinstance(model.levels[0][0].quantizer, IntegerQuantizer):
        raise CheckpointError(f"{arguments.checkpoint} has codebooks already")
    load_weights(model, state["ema"], arguments.checkpoint)
    sampler = CropSampler(load_images(arguments.data, arguments.memory << 30), 192, 8, seed=1)
    batches = torch.stack([sampler.batch(step, 0) for step in range(MEASURED_BATCHES)])
    converted = with_codebooks(model, measure_ranges(model, batches)).eval()
    fit_tables(converted, batches, torch.Generator().manual_seed(1))
    weights = converted.state_dict()
    config = {**state["config"], "model": dataclasses.asdict(converted.config)}
    save_checkpoint(arguments.out, {**state, "model": weights, "ema": weights, "config": config})
    for number, groups in enumerate(converted.config.groups or ()):
        print(
            f"level {number}: "
            + ", ".join(f"{n} codebooks of {w} words in {d} dimensions" for d, w, n in groups)
        )
    return True


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="train.codebooks", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH")
    parser.add_argument("--memory", type=int, default=8, metavar="GIB", help="for decoded images")
    return run_script(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
