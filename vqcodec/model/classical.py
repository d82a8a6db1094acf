"""The classical VQ-VAE quantizer in the codec's own codebooks: what RDVQ is compared with.

The nearest codeword whatever it costs, a straight-through gradient that knows nothing of the rate,
and codewords that learn from the codebook loss. The prior learns from the indices as ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqcodec.model.config import Group
from vqcodec.model.quantizer import CodebookQuantizer, Codebooks
from vqcodec.model.vector_quantizer import (
    COMMITMENT,
    codebook_error,
    commitment_error,
    nearest,
    straight_through,
)


class ClassicalQuantizer(CodebookQuantizer):
    """A :class:`CodebookQuantizer` (same parameters) that assigns and learns as VQ-VAE does.

    Training passes add the codebook loss and the commitment loss of each image up, in bits: squared
    error at the price the Lagrangian puts on it. See :meth:`take_auxiliary_loss`.
    """

    def __init__(self, groups: Sequence[Group], shared: bool = False) -> None:
        super().__init__(groups, shared)
        self._auxiliary_losses: list[Tensor] = []

    def take_auxiliary_loss(self) -> Tensor:
        """Return the losses of the passes since the last call, summed: float32 `[B]`."""
        losses, self._auxiliary_losses = self._auxiliary_losses, []
        return torch.stack(losses).sum(0)

    def forward(self, y: Tensor, weight: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`; arguments as for the base class."""
        values, nats, losses = [], [], []
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(log_scale))
        for codebooks, group, cost, classes in zip(self.groups, *inputs, strict=True):
            index = nearest(group, codebooks.codewords)[..., None]
            codewords = codebooks.codewords.gather(1, index.expand_as(group))
            values.append(straight_through(group, codewords))
            nats.append(-codebooks.log_p(classes).gather(-1, index)[..., 0])
            price = cost.sqrt()
            pair = (price * group, price * codewords)
            losses.append(codebook_error(*pair) + COMMITMENT * commitment_error(*pair))
        if self.training:
            self._auxiliary_losses.append(self.bits_of_images(losses, len(y)))
        return self.join(values, len(y)), self.bits_of_images(nats, len(y))

    def search(self, codebooks: Codebooks, y: Tensor, weight: Tensor, log_scale: Tensor) -> Tensor:
        """Return the nearest indices in one group, int64 `[books, rows]`."""
        pieces = codebooks.chunks([y])
        return torch.cat([nearest(rows, codebooks.codewords) for (rows,) in pieces], 1)
