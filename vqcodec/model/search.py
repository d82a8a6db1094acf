"""The best codeword of one-dimensional codebooks under rate and distortion, without trying all.

Codewords are tried by rank around the value, beside the one nearest zero: with probabilities that
fall from zero outwards no other is the best. Most values are small and need no trial: where the
zero codeword is both the nearest and the likeliest, it is the best.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Ranks tried around a value; None is the zero codeword.
NEIGHBOURS = (-2, -1, 0, 1, None)


class SortedSearch:
    """Codebooks prepared for :meth:`find`: sorted, and where zero is the best for certain."""

    def __init__(self, codewords: Tensor, logits: Tensor) -> None:
        """`codewords` are `[count, size]`; `logits` `[count, knots, size]`, linear in between."""
        self._order = codewords.argsort(1)
        self._codewords = codewords.gather(1, self._order)
        self._logits = logits.gather(2, self._order[:, None].expand_as(logits))
        self._zero = self._codewords.abs().argmin(1, keepdim=True)
        # Values below `low` or above `high` are nearer to another codeword than zero.
        edge = self._codewords.new_full((len(codewords), 1), math.inf)
        middles = torch.cat(
            [-edge, (self._codewords[:, 1:] + self._codewords[:, :-1]) / 2, edge], 1
        )
        self._low, self._high = (middles.gather(1, self._zero + side) for side in (0, 1))
        # Zero is the likeliest codeword up to the class `limit`, where there is one.
        likeliest = self._logits.argmax(2) == self._zero
        knots = likeliest.int().cumprod(1).sum(1, keepdim=True)
        self._limit = (knots - 1) * (8 / (logits.shape[1] - 1))

    def find(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> Tensor:
        """Return the indices of the best codewords, int64, of values `[count, N]`.

        `weight` is the cost of squared error in nats and `log_scale` is 0..8, both like `y`.
        """
        count, size = self._codewords.shape
        best = self._order.gather(1, self._zero).repeat(1, y.shape[1]).flatten()
        certain = (y >= self._low) & (y <= self._high) & (log_scale <= self._limit)
        rest = (~certain).flatten().nonzero()[:, 0]
        book = rest // y.shape[1]
        y, weight, log_scale = (x.flatten()[rest] for x in (y, weight, log_scale))
        rank = self._ranks(y, book)
        zero = self._zero[book, 0]
        low, share = knots_around(log_scale, self._logits.shape[1])
        codewords, start = self._codewords.flatten(), book * size
        logits, row = self._logits.flatten(), (book * self._logits.shape[1] + low) * size
        chosen, highest = zero, torch.full_like(y, -math.inf)
        for offset in NEIGHBOURS:
            tried = zero if offset is None else (rank + offset).clamp(0, size - 1)
            log_p = torch.lerp(logits[row + tried], logits[row + size + tried], share)
            score = log_p - weight * (y - codewords[start + tried]).square()
            chosen = torch.where(score > highest, tried, chosen)
            highest = torch.maximum(score, highest)
        best[rest] = self._order.flatten()[start + chosen]
        return best.reshape(count, -1)

    def _ranks(self, y: Tensor, book: Tensor) -> Tensor:
        """Return how many codewords of its codebook lie below each value."""
        device = torch.device("cpu") if y.is_mps else y.device  # MPS has no float64
        codewords = self._codewords.to(device, torch.float64)
        # Codebooks are laid end to end, so far apart that a value ranks within its own.
        apart = 4 * codewords.abs().amax() + 1
        far = apart / 2
        shift = torch.arange(len(codewords), device=device) * apart
        line = (codewords + shift[:, None]).flatten()
        value = y.to(device, torch.float64).clamp(-far, far) + shift[book.to(device)]
        return torch.searchsorted(line, value).to(y.device) - book * codewords.shape[1]


def knots_around(log_scale: Tensor, knots: int) -> tuple[Tensor, Tensor]:
    """Return the knot below `log_scale`, of so many over 0..8, and the share of the next."""
    position = log_scale * ((knots - 1) / 8)
    low = position.detach().floor().long().clamp(max=knots - 2)
    return low, position - low
