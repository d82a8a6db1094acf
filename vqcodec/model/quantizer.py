"""Entropy-constrained quantizers with a soft index posterior: values -> codewords and bits.

:class:`IntegerQuantizer` has the integers as its codewords: training starts with it, because its
range is hard to outgrow. :class:`CodebookQuantizer` has learned codewords of 1, 2, 4 or 8
dimensions, as many as the range of the values asks for, and is what files are coded with: forward,
the index is the one that minimises bits + weight * squared error under the prior; backward, it is
replaced by a posterior q(k | y) ~ p(k) exp(-b |y - e_k|^2) over the codewords, so that the encoder
feels the rate (RDVQ).

In both the prior learns from the hard indices alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.config import Group
from vqcodec.model.layers import module_list
from vqcodec.model.search import SortedSearch, knots_around

RANGE = 511
# The hard choice weighs squared error as the Lagrangian does; the soft one is three times softer.
SOFTNESS = 1 / 3
# A log_scale of 0..127/16 stands for a distribution of a scale of 2^-4.5 to 2^7.4 steps.
SCALE_SLOPE, SCALE_OFFSET = 1.5, -4.5
CLASS_KNOTS = 17
# Scores of codewords that are computed together: what fits a processor's cache.
SCORES_AT_ONCE = 1 << 20
# The tail of a table of up to 256 codewords is cut this many nats below its mode: a pure model
# would send an outlier to the wrong codeword, and the closed loop would carry the error on. The
# more codewords there are, the less is left to each.
TAIL, TAIL_CODEWORDS = 14.0, 256


def log2_scale(log_scale: Tensor) -> Tensor:
    """Return log2 of the scale, in steps, that the prior's `log_scale` of 0..127/16 stands for."""
    return SCALE_SLOPE * log_scale + SCALE_OFFSET


def integer_log_p(k: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log-probability (nats) of integer `k` under a logistic distribution."""
    inverse = torch.exp2(-log2_scale(log_scale))
    size = k.abs()
    p = torch.sigmoid((0.5 - size) * inverse) - torch.sigmoid((-0.5 - size) * inverse)
    return torch.log(p + 2.5e-7)  # which is little even for all of them


class IntegerQuantizer(nn.Module):
    """Scalar quantisation to the integers -511..511, one class of the prior per channel.

    In training values are rounded, with the straight-through gradient, and the encoder feels the
    rate of values with uniform noise in place of rounding (Minnen & Singh 2020); in evaluation the
    choice weighs bits against error.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.symbols = channels

    def forward(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`.

        `y` and `log_scale` are float32 columns `[B, N, C]`; `weight` `[B, 1, C]` is what a unit of
        squared error costs in nats.
        """
        y = y.clamp(-RANGE, RANGE)  # whose gradient tells a gain that is too high
        low = y.detach().clamp(max=RANGE - 1).floor()
        log_low, log_high = (integer_log_p(k, log_scale) for k in (low, low + 1))
        advantage = 2 * (y.detach() - low) - 1
        if not self.training:
            advantage = log_high - log_low + weight * advantage
        high = advantage > 0
        nats = -torch.where(high, log_high, log_low)
        if self.training:
            noisy = y + torch.rand_like(y) - 0.5
            smooth = -integer_log_p(noisy, log_scale.detach())
            nats = nats + smooth - smooth.detach()
        hard = low + high.to(y.dtype)
        return y + (hard - y).detach(), nats.sum(dim=(1, 2)) / math.log(2)


def small_codewords(dim: int, count: int) -> Tensor:
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
    """`count` codebooks of `size` codewords in `dim` dimensions, with their learned tables.

    `codewords` is `[count, size, dim]`. `logits` `[count, CLASS_KNOTS, size]` holds unnormalised
    log-probabilities at knots of the class axis; they are linear in between.
    """

    def __init__(self, dim: int, size: int, count: int) -> None:
        super().__init__()
        self.dim, self.count = dim, count
        codewords = small_codewords(dim, size)
        knots = torch.linspace(0, 8, CLASS_KNOTS)
        log_p = integer_log_p(codewords.abs(), knots[:, None, None]).sum(-1)
        self.codewords = nn.Parameter(codewords.expand(count, -1, -1).clone())
        self.logits = nn.Parameter(log_p.expand(count, -1, -1).clone())

    def bounded_logits(self) -> Tensor:
        """Return the logits with their tails cut, `[count, CLASS_KNOTS, size]`."""
        tail = TAIL + 2 * math.log(max(self.logits.shape[-1] / TAIL_CODEWORDS, 1))
        return torch.maximum(self.logits, self.logits.amax(-1, keepdim=True) - tail)

    def log_p(self, log_scale: Tensor) -> Tensor:
        """Return log-probabilities in nats `[count, N, size]` of classes `[count, N]`."""
        return functional.log_softmax(class_weights(log_scale) @ self.bounded_logits(), dim=-1)

    def nats(self, index: Tensor, log_scale: Tensor) -> Tensor:
        """Return the information content of indices, in nats; all are `[count, N]`."""
        logits = self.bounded_logits()
        normaliser = torch.logsumexp(_dense_classes(logits), -1)
        low, share = knots_around(log_scale, CLASS_KNOTS)
        places = low * logits.shape[-1] + index
        below, above = (logits.flatten(1).gather(1, places + k * logits.shape[-1]) for k in (0, 1))
        return _interpolate(normaliser, log_scale) - torch.lerp(below, above, share)

    def chunks(self, inputs: Sequence[Tensor]) -> Iterable[tuple[Tensor, ...]]:
        """Cut tensors `[count, N, …]` into pieces whose codewords can be scored at once."""
        rows = max(1, SCORES_AT_ONCE // (self.count * self.codewords.shape[1]))
        return zip(*(torch.split(x, rows, 1) for x in inputs), strict=True)

    @torch.no_grad()
    def search(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> Tensor:
        """Return the index of the highest score, int64 `[count, N]`; arguments as for `scores`."""
        if self.dim > 1:
            rows = self.chunks([y, weight, log_scale])
            return torch.cat([self.scores(*piece).argmax(-1) for piece in rows], 1)
        search = SortedSearch(self.codewords[..., 0], self.bounded_logits())
        return search.find(y[..., 0], weight[..., 0], log_scale)

    def scores(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> Tensor:
        """Return log p(k) - weight * |y - e_k|^2 up to a constant per row, `[count, N, size]`.

        `y` and `weight` are `[count, N, dim]`, `log_scale` is `[count, N]`.
        """
        return _scores(self.codewords, self.bounded_logits(), y, weight, class_weights(log_scale))


def _scores(codewords: Tensor, logits: Tensor, y: Tensor, weight: Tensor, knots: Tensor) -> Tensor:
    """Return the scores of :meth:`Codebooks.scores` as one matrix product."""
    features = torch.cat([2 * weight * y, weight, knots], -1)
    transposed = codewords.transpose(1, 2)
    return features @ torch.cat([transposed, -transposed.square(), logits], 1)


def class_weights(log_scale: Tensor) -> Tensor:
    """Return interpolation weights `[..., CLASS_KNOTS]` of classes 0..127/16."""
    knots = torch.arange(CLASS_KNOTS, device=log_scale.device)
    return (1 - (log_scale[..., None] * ((CLASS_KNOTS - 1) / 8) - knots).abs()).clamp(min=0)


class CodebookQuantizer(nn.Module):
    """Product vector quantisation: channels in groups, a codebook and a class of the prior a group.

    `groups` gives (dimension, codewords, number) of codebooks of like size; the channels are taken
    in order. Where they are `shared`, those of a group have the same codewords and tables: they are
    one codebook, whose rows are those of the first channel, then of the next. With `soft` false the
    encoder gets no gradient, and codewords and tables learn from hard indices alone.
    """

    soft = True

    def __init__(self, groups: Sequence[Group], shared: bool = False) -> None:
        super().__init__()
        self.groups = module_list(
            Codebooks(dim, size, 1 if shared else count) for dim, size, count in groups
        )
        self.counts = [count for _, _, count in groups]
        self.symbols = sum(self.counts)

    def split(self, y: Tensor) -> list[Tensor]:
        """Split columns `[B, N, C]` into rows of each codebook, `[books, rows, dim]` a group."""
        rows = y.flatten(0, 1).T.contiguous()
        dims = [codebooks.dim for codebooks in self.groups]
        sizes = [dim * count for dim, count in zip(dims, self.counts, strict=True)]
        channels = zip(torch.split(rows, sizes), self.groups, strict=True)
        return [
            torch.unflatten(group, 0, (len(group) // codebooks.dim, codebooks.dim))
            .transpose(1, 2)
            .reshape(codebooks.count, -1, codebooks.dim)
            for group, codebooks in channels
        ]

    def split_symbols(self, columns: Tensor) -> list[Tensor]:
        """Split `[B, N, symbols]` into rows of each codebook, `[books, rows]` a group."""
        rows = torch.split(columns.flatten(0, 1).T.contiguous(), self.counts)
        return [
            group.reshape(codebooks.count, -1)
            for group, codebooks in zip(rows, self.groups, strict=True)
        ]

    def join(self, groups: Sequence[Tensor], batch: int) -> Tensor:
        """Undo :meth:`split`, back to `[batch, N, C]`."""
        values = [
            group.reshape(count, -1, group.shape[-1]).transpose(1, 2).flatten(0, 1)
            for group, count in zip(groups, self.counts, strict=True)
        ]
        rows = torch.cat(values)
        return rows.T.contiguous().view(batch, rows.shape[1] // batch, len(rows))

    def bits_of_images(self, nats: Sequence[Tensor], batch: int) -> Tensor:
        """Return the bits of each image, `[batch]`, of nats `[books, rows]` a group."""
        counted = zip(nats, self.counts, strict=True)
        rows = torch.cat([group.reshape(count, -1) for group, count in counted])
        return rows.view(len(rows), batch, rows.shape[1] // batch).sum(dim=(0, 2)) / math.log(2)

    def forward(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`; arguments as for :class:`IntegerQuantizer`."""
        values, nats = [], []
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(log_scale))
        for codebooks, group, cost, classes in zip(self.groups, *inputs, strict=True):
            # Its gradient goes to the codewords and to the prior, not to `y`.
            index = codebooks.search(group, cost, classes)
            z_q = _codewords_at(codebooks.codewords, index)
            rate = codebooks.nats(index, classes)
            if self.soft and y.requires_grad:
                soft_value, soft_nats = _soften(codebooks, group, cost, classes)
                z_q = z_q + (soft_value - soft_value.detach())
                rate = rate + (soft_nats - soft_nats.detach())
            values.append(z_q)
            nats.append(rate)
        return self.join(values, len(y)), self.bits_of_images(nats, len(y))

    @torch.no_grad()
    def indices(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> list[Tensor]:
        """Return the best indices, int64 `[count, B*N]`, one tensor a group."""
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(log_scale))
        found = (
            self.search(codebooks, *group)
            for codebooks, *group in zip(self.groups, *inputs, strict=True)
        )
        return [rows.reshape(count, -1) for rows, count in zip(found, self.counts, strict=True)]

    def bits_of(self, indices: Sequence[Tensor], log_scale: Tensor) -> Tensor:
        """Return the bits `[B]` of :meth:`indices` under `log_scale`, columns `[B, N, symbols]`."""
        nats = [
            codebooks.nats(index.reshape(codebooks.count, -1), classes)
            for codebooks, index, classes in zip(
                self.groups, indices, self.split_symbols(log_scale), strict=True
            )
        ]
        return self.bits_of_images(nats, len(log_scale))

    def search(self, codebooks: Codebooks, y: Tensor, weight: Tensor, log_scale: Tensor) -> Tensor:
        """Return the best indices in one group, int64 `[books, rows]`."""
        return codebooks.search(y, weight, log_scale)

    def lookup(self, indices: Sequence[Tensor], batch: int) -> Tensor:
        """Return the codewords of :meth:`indices`, `[batch, N, C]`."""
        values = [
            _codewords_at(codebooks.codewords, index.reshape(codebooks.count, -1))
            for codebooks, index in zip(self.groups, indices, strict=True)
        ]
        return self.join(values, batch)


def _codewords_at(codewords: Tensor, index: Tensor) -> Tensor:
    """Return `codewords[g, index[g, n]]`, `[count, N, dim]`."""
    return codewords.gather(1, index[..., None].expand(-1, -1, codewords.shape[-1]))


def _soften(
    codebooks: Codebooks, y: Tensor, weight: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return value `[count, N, dim]` and nats `[count, N]` expected under the soft posterior.

    The gradient goes to `y` alone. Both are linear in the posterior, so that two matrix products
    do for all codewords; the nats lack the normaliser, which does not depend on `y`.
    """
    codewords, logits = codebooks.codewords.detach(), codebooks.bounded_logits().detach()
    knots = class_weights(log_scale.detach())
    q = torch.softmax(_scores(codewords, logits, y, SOFTNESS * weight, knots), dim=-1)
    expected = q @ torch.cat([codewords, logits.transpose(1, 2)], -1)
    value, expected_logits = expected[..., : codebooks.dim], expected[..., codebooks.dim :]
    return value, -(expected_logits * knots).sum(-1)


_DENSE = 4  # normalisers per knot interval


def _dense_classes(logits: Tensor) -> Tensor:
    """Return the logits at a finer grid of classes, `[count, _DENSE * (knots - 1) + 1, size]`."""
    log_scale = torch.linspace(0, 8, _DENSE * (CLASS_KNOTS - 1) + 1, device=logits.device)
    return class_weights(log_scale) @ logits


def _interpolate(table: Tensor, log_scale: Tensor) -> Tensor:
    """Interpolate `table` `[count, M]` over classes 0..8 at `log_scale` `[count, N]`."""
    low, share = knots_around(log_scale, table.shape[1])
    return table.gather(1, low) * (1 - share) + table.gather(1, low + 1) * share
