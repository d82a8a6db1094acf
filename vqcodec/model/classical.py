"""The classical VQ-VAE quantizer in the codec's own codebooks: what RDVQ is compared with.

The nearest codeword whatever it costs, a straight-through gradient that knows nothing of the rate,
and codewords that learn from the codebook loss. The prior learns from the indices as ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqcodec.model.quantizer import CodebookQuantizer, Group
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

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(groups)
        self._auxiliary_losses: list[Tensor] = []

    def take_auxiliary_loss(self) -> Tensor:
        """Return the losses of the passes since the last call, summed: float32 `[B]`."""
        losses, self._auxiliary_losses = self._auxiliary_losses, []
        return torch.stack(losses).sum(0)

    def forward(self, y: Tensor, weight: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Return `z_q` like `y`, and bits `[B]`; arguments as for the base class."""
        values, nats, losses = [], [], []
        inputs = (self.split(y), self.split(weight.expand_as(y)), self.split_symbols(width))
        for codebooks, part, cost, classes in zip(self.parts, *inputs, strict=True):
            index = nearest(part, codebooks.words)[..., None]
            words = codebooks.words.gather(1, index.expand_as(part))
            values.append(straight_through(part, words))
            nats.append(-codebooks.log_p(classes).gather(-1, index)[..., 0])
            price = cost.sqrt()
            pair = (price * part, price * words)
            losses.append(codebook_error(*pair) + COMMITMENT * commitment_error(*pair))
        if self.training:
            self._auxiliary_losses.append(_bits(losses, y.shape[0]))
        return self.join(values, *y.shape[2:]), _bits(nats, y.shape[0])

    @torch.no_grad()
    def indices(self, y: Tensor, weight: Tensor, width: Tensor) -> list[Tensor]:
        """Return the nearest indices, int64 `[count, B*H*W]`, one tensor a part."""
        return [
            torch.cat([nearest(rows, codebooks.words) for (rows,) in codebooks.chunks([part])], 1)
            for codebooks, part in zip(self.parts, self.split(y), strict=True)
        ]


def _bits(nats: Sequence[Tensor], images: int) -> Tensor:
    """Return the sum for each image in bits, `[images]`, of nats `[count, images * H * W]`."""
    rows = torch.cat(list(nats))
    return rows.view(len(rows), images, -1).sum(dim=(0, 2)) / math.log(2)
