"""Entropy-constrained quantizers with a soft index posterior: values -> codewords and bits.

:class:`IntegerQuantizer` has the integers as its words: training starts with it, because it has no
range to outgrow. :class:`CodebookQuantizer` has learned words of 1, 2, 4 or 8 dimensions, as many
as the range of the values asks for, and is what files are coded with: forward, the index is the one
that minimises bits + weight * squared error under the prior; backward, it is replaced by a
posterior q(k | y) ~ p(k) exp(-b |y - e_k|^2) over the words, so that the encoder feels the rate
(RDVQ).

In both the prior learns from the hard indices alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.layers import module_list
from vqcodec.model.search import SortedSearch, knots_around

RANGE = 127
# The hard choice weighs squared error as the Lagrangian does; the soft one is three times softer.
SOFTNESS = 1 / 3
# A class of 0..127/16 stands for a width of 2^-4.5 to 2^7.4 steps.
WIDTH_SLOPE, WIDTH_OFFSET = 1.5, -4.5
CLASS_KNOTS = 17
# Scores of words that are computed together: what fits a processor's cache.
SCORES_AT_ONCE = 1 << 20
# The tail of a table is cut this many nats below its mode: a pure model would send an outlier to
# the wrong word, and the closed loop would carry the error on.
TAIL = 14.0


# Dimension, words and number of the codebooks of a part.
Group = tuple[int, int, int]


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
        y = y.clamp(-RANGE, RANGE)  # whose gradient tells a gain that is too high
        log2_scale = log2_width(width)
        low = y.detach().clamp(max=RANGE - 1).floor()
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


def small_words(dim: int, count: int) -> Tensor:
    """Return `count` integer points, float32 `[count, dim]`, zero first: a codebook to start from.

    Most are the points of smallest length. An eighth (but four a dimension at least) lies far out
    on the axes, so that the rare value beyond the others is coded coarsely and not lost.
    """
    reach = {1: count // 2, 2: 10, 4: 3, 8: 2}[dim]
    axis = range(-reach, reach + 1)
    if dim == 8:  # too many to enumerate: only points with at most two nonzero coordinates matter
        candidates = {(0,) * dim}
        for i, j in itertools.combinations(range(dim), 2):
            for a, b in itertools.product(axis, axis):
                candidates.add(_point(dim, {i: a, j: b}))
    else:
        candidates = set(itertools.product(axis, repeat=dim))
    distances = max(count // (16 * dim), 2)
    near = sorted(candidates, key=_length)[: count - 2 * dim * distances]
    first = 1 + max(abs(x) for point in near for x in point)
    ratio = max(RANGE / first, 1.0) ** (1 / distances)
    far = [
        _point(dim, {i: sign * max(first + step, round(first * ratio ** (step + 0.5)))})
        for step in range(distances)
        for sign in (1, -1)
        for i in range(dim)
    ]
    return torch.tensor([*near, *far], dtype=torch.float32)


def _point(dim: int, coordinates: Mapping[int, int]) -> tuple[int, ...]:
    """Return the point with these coordinates, zero elsewhere."""
    return tuple(coordinates.get(i, 0) for i in range(dim))


def _length(point: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    return sum(map(abs, point)), sum(x * x for x in point), point


class Codebooks(nn.Module):
    """`count` codebooks of `size` words in `dim` dimensions, with their learned tables.

    `words` is `[count, size, dim]`. `logits` `[count, CLASS_KNOTS, size]` holds unnormalised
    log-probabilities at knots of the class axis; they are linear in between.
    """

    def __init__(self, dim: int, size: int, count: int) -> None:
        super().__init__()
        self.dim, self.count = dim, count
        words = small_words(dim, size)
        knots = torch.linspace(0, 8, CLASS_KNOTS)
        log_p = integer_log_p(words.abs(), log2_width(knots)[:, None, None]).sum(-1)
        self.words = nn.Parameter(words.expand(count, -1, -1).clone())
        self.logits = nn.Parameter(log_p.expand(count, -1, -1).clone())

    def bounded_logits(self) -> Tensor:
        """Return the logits with their tails cut, `[count, CLASS_KNOTS, size]`."""
        return torch.maximum(self.logits, self.logits.amax(-1, keepdim=True) - TAIL)

    def log_p(self, width: Tensor) -> Tensor:
        """Return log-probabilities in nats `[count, N, size]` of classes `[count, N]`."""
        return functional.log_softmax(class_weights(width) @ self.bounded_logits(), dim=-1)

    def chunks(self, inputs: Sequence[Tensor]) -> Iterable[tuple[Tensor, ...]]:
        """Cut tensors `[count, N, …]` into pieces whose words can be scored at once."""
        rows = max(1, SCORES_AT_ONCE // (self.count * self.words.shape[1]))
        return zip(*(torch.split(x, rows, 1) for x in inputs), strict=True)

    @torch.no_grad()
    def search(self, y: Tensor, weight: Tensor, width: Tensor) -> Tensor:
        """Return the index of the highest score, int64 `[count, N]`; arguments as for `scores`."""
        if self.dim > 1:
            rows = self.chunks([y, weight, width])
            return torch.cat([self.scores(*own).argmax(-1) for own in rows], 1)
        search = SortedSearch(self.words[..., 0], self.bounded_logits())
        return search.find(y[..., 0], weight[..., 0], width)

    def scores(self, y: Tensor, weight: Tensor, width: Tensor) -> Tensor:
        """Return log p(k) - weight * |y - e_k|^2 up to a constant per row, `[count, N, size]`.

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

    `groups` gives (dimension, words, number of codebooks) of each part; the channels are taken in
    order. With `soft` false the encoder gets no gradient, and words and tables learn from hard
    indices alone.
    """

    soft = True

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__()
        self.parts = module_list(Codebooks(*group) for group in groups)
        self.symbols = sum(codebooks.count for codebooks in self.parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """Split `[B, C, H, W]` into `[count, B*H*W, dim]`, one tensor a part."""
        rows = y.permute(1, 0, 2, 3).flatten(1)
        parts = torch.split(rows, [own.dim * own.count for own in self.parts])
        return [
            torch.unflatten(part, 0, (own.count, own.dim)).transpose(1, 2)
            for part, own in zip(parts, self.parts, strict=True)
        ]

    def split_symbols(self, width: Tensor) -> list[Tensor]:
        """Split `[B, symbols, H, W]` into `[count, B*H*W]`, one tensor a part."""
        rows = width.transpose(0, 1).flatten(1)
        return list(torch.split(rows, [codebooks.count for codebooks in self.parts]))

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
        return [codebooks.search(*own) for codebooks, *own in zip(self.parts, *inputs, strict=True)]

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
    index = codebooks.search(y, weight, width)
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
    """Return the logits at a finer grid of classes, `[count, _DENSE * (knots - 1) + 1, size]`."""
    width = torch.linspace(0, 8, _DENSE * (CLASS_KNOTS - 1) + 1, device=logits.device)
    return class_weights(width) @ logits


def _interpolate(table: Tensor, width: Tensor) -> Tensor:
    """Interpolate `table` `[count, M]` over classes 0..8 at `width` `[count, N]`."""
    low, share = knots_around(width, table.shape[1])
    return table.gather(1, low) * (1 - share) + table.gather(1, low + 1) * share
