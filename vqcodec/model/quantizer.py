"""Entropy-constrained quantizers with a soft index posterior: values -> codewords and bits.

:class:`IntegerQuantizer` has the integers as its words: training starts with it, because it has no
range to outgrow. :class:`CodebookQuantizer` has learned words of 1, 2, 4 or 8 dimensions, and is
what files are coded with: forward, the index is the one that minimises bits + weight * squared
error under the prior; backward, it is replaced by a posterior q(k | y) ~ p(k) exp(-b |y - e_k|^2)
over the words, so that the encoder feels the rate (RDVQ).

In both the prior learns from the hard indices alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.layers import module_list

WORDS = 256
RANGE = 127
# The hard choice weighs squared error as the Lagrangian does; the soft one is three times softer.
SOFTNESS = 1 / 3
# A class of 0..127/16 stands for a width of 2^-4.5 to 2^7.4 steps.
WIDTH_SLOPE, WIDTH_OFFSET = 1.5, -4.5
CLASS_KNOTS = 17
# Positions whose words are scored together: what fits a processor's cache.
SCORED_AT_ONCE = 128
# The tail of a table is cut this many nats below its mode: a pure model would send an outlier to
# the wrong word, and the closed loop would carry the error on.
TAIL = 12.0


def log2_width(width: Tensor) -> Tensor:
    """Return log2 of the scale, in steps, that a class of the prior stands for."""
    return WIDTH_SLOPE * width + WIDTH_OFFSET


def integer_log_p(k: Tensor, log2_scale: Tensor) -> Tensor:
    """Return the log-probability (nats) of integer `k` under a logistic distribution of a scale."""
    inverse = torch.exp2(-log2_scale)
    size = k.abs()
    p = torch.sigmoid((0.5 - size) * inverse) - torch.sigmoid((-0.5 - size) * inverse)
    return torch.log(p + 1e-6)


class IntegerQuantizer(nn.Module):
    """Scalar quantisation to the integers -127..127, one class of the prior per channel.

    In training values are rounded, with the straight-through gradient, and the encoder feels the
    rate of values with uniform noise in place of rounding (Minnen & Singh 2020); in evaluation the
    choice weighs bits against error.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.symbols = channels

    def forward(self, y: Tensor, weight: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`.

        `y`, `width` are float32 `[B, C, H, W]`; `weight` `[B, C, 1, 1]` is what a unit of squared
        error costs in nats.
        """
        log2_scale = log2_width(width)
        low = y.detach().clamp(-RANGE, RANGE - 1).floor()
        log_low, log_high = integer_log_p(low, log2_scale), integer_log_p(low + 1, log2_scale)
        advantage = 2 * (y.detach() - low) - 1
        if not self.training:
            advantage = log_high - log_low + weight * advantage
        high = advantage > 0
        nats = -torch.where(high, log_high, log_low)
        if self.training:
            noisy = y + torch.rand_like(y) - 0.5
            smooth = -integer_log_p(noisy, log2_scale.detach())
            nats = nats + smooth - smooth.detach()
        hard = low + high.to(y.dtype)
        return y + (hard - y).detach(), nats.sum(dim=(1, 2, 3)) / math.log(2)


def small_words(dim: int) -> Tensor:
    """Return the `WORDS` integer points of smallest length, float32 `[WORDS, dim]`, zero first."""
    reach = {1: WORDS // 2, 2: 10, 4: 3, 8: 2}[dim]
    axis = range(-reach, reach + 1)
    if dim == 8:  # too many to enumerate: only points with at most two nonzero coordinates matter
        points = {(0,) * dim}
        for i, j in itertools.combinations(range(dim), 2):
            for a, b in itertools.product(axis, axis):
                point = [0] * dim
                point[i], point[j] = a, b
                points.add(tuple(point))
        candidates = sorted(points)
    else:
        candidates = sorted(itertools.product(axis, repeat=dim))
    grid = torch.tensor(candidates, dtype=torch.float32)
    length = grid.abs().sum(1) + 1e-3 * grid.square().sum(1)
    return grid[length.argsort(stable=True)[:WORDS]].contiguous()


class Codebooks(nn.Module):
    """`count` codebooks of `WORDS` words in `dim` dimensions, with their learned tables.

    `words` is `[count, WORDS, dim]`. `logits` `[count, CLASS_KNOTS, WORDS]` holds unnormalised
    log-probabilities at knots of the class axis; they are linear in between.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.dim, self.count = dim, count
        words = small_words(dim)
        knots = torch.linspace(0, 8, CLASS_KNOTS)
        log_p = integer_log_p(words.abs(), log2_width(knots)[:, None, None]).sum(-1)
        self.words = nn.Parameter(words.expand(count, -1, -1).clone())
        self.logits = nn.Parameter(log_p.expand(count, -1, -1).clone())

    def bounded_logits(self) -> Tensor:
        """Return the logits with their tails cut, `[count, CLASS_KNOTS, WORDS]`."""
        return torch.maximum(self.logits, self.logits.amax(-1, keepdim=True) - TAIL)

    def log_p(self, width: Tensor) -> Tensor:
        """Return log-probabilities in nats `[count, N, WORDS]` of classes `[count, N]`."""
        return functional.log_softmax(class_weights(width) @ self.bounded_logits(), dim=-1)

    def scores(self, y: Tensor, weight: Tensor, width: Tensor) -> Tensor:
        """Return log p(k) - weight * |y - e_k|^2 up to a constant per row, `[count, N, WORDS]`.

        `y` and `weight` are `[count, N, dim]`, `width` is `[count, N]`.
        """
        return _scores(self.words, self.bounded_logits(), y, weight, class_weights(width))


def _scores(words: Tensor, logits: Tensor, y: Tensor, weight: Tensor, knots: Tensor) -> Tensor:
    """Return the scores of :meth:`Codebooks.scores` as one matrix product."""
    features = torch.cat([2 * weight * y, weight, knots], -1)
    transposed = words.transpose(1, 2)
    return features @ torch.cat([transposed, -transposed.square(), logits], 1)


def class_weights(width: Tensor) -> Tensor:
    """Return interpolation weights `[..., CLASS_KNOTS]` of classes 0..127/16."""
    knots = torch.arange(CLASS_KNOTS, device=width.device)
    return (1 - (width[..., None] * ((CLASS_KNOTS - 1) / 8) - knots).abs()).clamp(min=0)


class CodebookQuantizer(nn.Module):
    """Product vector quantisation: channels in groups, a codebook and a class of the prior a group.

    `groups` gives (dimension, number of codebooks) pairs; the channels are taken in order. With
    `soft` false the encoder gets no gradient, and words and tables learn from hard indices alone.
    """

    soft = True

    def __init__(self, groups: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.parts = module_list(Codebooks(dim, count) for dim, count in groups)
        self.groups = tuple(groups)
        self.symbols = sum(count for _, count in groups)

    def split(self, y: Tensor) -> list[Tensor]:
        """Split `[B, C, H, W]` into `[count, B*H*W, dim]`, one tensor a part."""
        rows = y.permute(1, 0, 2, 3).flatten(1)
        parts = torch.split(rows, [dim * count for dim, count in self.groups])
        return [
            torch.unflatten(part, 0, (count, dim)).transpose(1, 2)
            for part, (dim, count) in zip(parts, self.groups, strict=True)
        ]

    def split_symbols(self, width: Tensor) -> list[Tensor]:
        """Split `[B, symbols, H, W]` into `[count, B*H*W]`, one tensor a part."""
        rows = width.transpose(0, 1).flatten(1)
        return list(torch.split(rows, [count for _, count in self.groups]))

    def join(self, parts: Sequence[Tensor], height: int, width: int) -> Tensor:
        """Undo :meth:`split`, back to `[B, C, height, width]`."""
        rows = torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts])
        return torch.unflatten(rows, 1, (-1, height, width)).transpose(0, 1)

    def forward(self, y: Tensor, weight: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`; arguments as for :class:`IntegerQuantizer`."""
        values, nats = [], []
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(width))
        for codebooks, part, cost, classes in zip(self.parts, *inputs, strict=True):
            z_q, rate = _assign(codebooks, part, cost, classes)
            if self.soft and y.requires_grad:
                soft_value, soft_nats = _soften(codebooks, part, cost, classes)
                z_q = z_q + (soft_value - soft_value.detach())
                rate = rate + (soft_nats - soft_nats.detach())
            values.append(z_q)
            nats.append(rate)
        per_image = torch.unflatten(torch.cat(nats), 1, (y.shape[0], -1)).sum(dim=(0, 2))
        return self.join(values, *y.shape[2:]), per_image / math.log(2)

    @torch.no_grad()
    def indices(self, y: Tensor, weight: Tensor, width: Tensor) -> list[Tensor]:
        """Return the best indices, int64 `[count, B*H*W]`, one tensor a part."""
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(width))
        return [
            torch.cat(
                [
                    codebooks.scores(*rows).argmax(-1)
                    for rows in zip(*(torch.split(x, SCORED_AT_ONCE, 1) for x in own), strict=True)
                ],
                dim=1,
            )
            for codebooks, *own in zip(self.parts, *inputs, strict=True)
        ]

    def lookup(self, indices: Sequence[Tensor], height: int, width: int) -> Tensor:
        """Return the codewords of :meth:`indices`, `[B, C, height, width]`."""
        values = [
            _words_at(codebooks.words, index)
            for codebooks, index in zip(self.parts, indices, strict=True)
        ]
        return self.join(values, height, width)


def _words_at(words: Tensor, index: Tensor) -> Tensor:
    """Return `words[g, index[g, n]]`, `[count, N, dim]`."""
    return words.gather(1, index[..., None].expand(-1, -1, words.shape[-1]))


def _assign(
    codebooks: Codebooks, y: Tensor, weight: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the best codewords `[count, N, dim]` and their nats `[count, N]`.

    The gradient goes to the words and to the prior, not to `y`.
    """
    with torch.no_grad():
        index = codebooks.scores(y, weight, width).argmax(-1)
    logits = codebooks.bounded_logits()
    rows = logits.transpose(1, 2).gather(1, index[..., None].expand(-1, -1, CLASS_KNOTS))
    chosen = (class_weights(width) * rows).sum(-1)
    normaliser = torch.logsumexp(_dense_classes(logits), -1)
    return _words_at(codebooks.words, index), _interpolate(normaliser, width) - chosen


def _soften(
    codebooks: Codebooks, y: Tensor, weight: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Return value `[count, N, dim]` and nats `[count, N]` expected under the soft posterior.

    The gradient goes to `y` alone. Both are linear in the posterior, so that two matrix products
    do for all words; the nats lack the normaliser, which does not depend on `y`.
    """
    words, logits = codebooks.words.detach(), codebooks.bounded_logits().detach()
    knots = class_weights(width.detach())
    q = torch.softmax(_scores(words, logits, y, SOFTNESS * weight, knots), dim=-1)
    expected = q @ torch.cat([words, logits.transpose(1, 2)], -1)
    value, expected_logits = expected[..., : codebooks.dim], expected[..., codebooks.dim :]
    return value, -(expected_logits * knots).sum(-1)


_DENSE = 4  # normalisers per knot interval


def _dense_classes(logits: Tensor) -> Tensor:
    """Return the logits at a finer grid of classes, `[count, _DENSE * (knots - 1) + 1, WORDS]`."""
    width = torch.linspace(0, 8, _DENSE * (CLASS_KNOTS - 1) + 1, device=logits.device)
    return class_weights(width) @ logits


def _interpolate(table: Tensor, width: Tensor) -> Tensor:
    """Interpolate `table` `[count, M]` over classes 0..8 at `width` `[count, N]`."""
    position = width * ((table.shape[1] - 1) / 8)
    low = position.detach().floor().long().clamp(max=table.shape[1] - 2)
    share = position - low
    return table.gather(1, low) * (1 - share) + table.gather(1, low + 1) * share
