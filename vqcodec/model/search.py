"""The best word of one-dimensional codebooks under rate and distortion, without trying them all.

Words are tried by rank around the value, beside the word nearest zero: with probabilities that fall
from zero outwards no other is the best. Most values are small and need no trial: where the zero
word is both the nearest and the likeliest, it is the best.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Ranks tried around a value; None is the zero word.
NEIGHBOURS = (-2, -1, 0, 1, None)


class SortedSearch:
    """Codebooks prepared for :meth:`find`: words sorted, and where zero is the best for certain."""

    def __init__(self, words: Tensor, logits: Tensor) -> None:
        """`words` is float `[count, size]`; `logits` `[count, knots, size]`, linear in between."""
        self._order = words.argsort(1)
        self._words = words.gather(1, self._order)
        self._logits = logits.gather(2, self._order[:, None].expand_as(logits))
        self._zero = self._words.abs().argmin(1, keepdim=True)
        # Values below `low` or above `high` are nearer to another word than zero.
        edge = self._words.new_full((len(words), 1), math.inf)
        middles = torch.cat([-edge, (self._words[:, 1:] + self._words[:, :-1]) / 2, edge], 1)
        self._low, self._high = (middles.gather(1, self._zero + side) for side in (0, 1))
        # Zero is the likeliest word up to the class `limit`, where there is one.
        likeliest = self._logits.argmax(2) == self._zero
        knots = likeliest.int().cumprod(1).sum(1, keepdim=True)
        self._limit = (knots - 1) * (8 / (logits.shape[1] - 1))

    def find(self, y: Tensor, weight: Tensor, width: Tensor) -> Tensor:
        """Return the indices of the best words, int64, of values `[count, N]`.

        `weight` is the cost of squared error in nats and `width` the class, 0..8, both like `y`.
        """
        count, size = self._words.shape
        best = self._order.gather(1, self._zero).repeat(1, y.shape[1]).flatten()
        certain = (y >= self._low) & (y <= self._high) & (width <= self._limit)
        rest = (~certain).flatten().nonzero()[:, 0]
        book = rest // y.shape[1]
        y, weight, width = (x.flatten()[rest] for x in (y, weight, width))
        rank = self._ranks(y, book)
        zero = self._zero[book, 0]
        low, share = knots_around(width, self._logits.shape[1])
        words, start = self._words.flatten(), book * size
        logits, row = self._logits.flatten(), (book * self._logits.shape[1] + low) * size
        chosen, highest = zero, torch.full_like(y, -math.inf)
        for offset in NEIGHBOURS:
            tried = zero if offset is None else (rank + offset).clamp(0, size - 1)
            log_p = torch.lerp(logits[row + tried], logits[row + size + tried], share)
            score = log_p - weight * (y - words[start + tried]).square()
            chosen = torch.where(score > highest, tried, chosen)
            highest = torch.maximum(score, highest)
        best[rest] = self._order.flatten()[start + chosen]
        return best.reshape(count, -1)

    def _ranks(self, y: Tensor, book: Tensor) -> Tensor:
        """Return how many words of its codebook lie below each value."""
        words = self._words.double()
        # Codebooks are laid end to end, so far apart that a value ranks within its own.
        apart = 4 * words.abs().amax() + 1
        far = apart / 2
        shift = torch.arange(len(words), device=y.device) * apart
        line = (words + shift[:, None]).flatten()
        rank = torch.searchsorted(line, y.double().clamp(-far, far) + shift[book])
        return rank - book * words.shape[1]


def knots_around(width: Tensor, knots: int) -> tuple[Tensor, Tensor]:
    """Return the knot below `width`, of so many over classes 0..8, and the share of the next."""
    position = width * ((knots - 1) / 8)
    low = position.detach().floor().long().clamp(max=knots - 2)
    return low, position - low
