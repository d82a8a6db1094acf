"""The closed loop, state -> residual -> codewords -> new state, which is the same on every side.

Training quantises with the float prior, the encoder searches indices under the integer prior, and
the decoder reads them; all three go through the phases of the levels with :class:`Phase`:

    y = gain(t) * project(h - t)
    z_q = codewords of y
    t <- refine(t + unproject(z_q / gain))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqcodec.model.layers import columns_of
from vqcodec.model.level import Level

if TYPE_CHECKING:
    from vqcodec.model.vqvae import VQVAE


@dataclass(frozen=True)
class Phase:
    """A phase of a level, entered in a state t `[B, C, H, W]`.

    `positions` `[N]` are those that it codes, `columns` `[B, N, C]` the state there and `gain`
    `[B, N, channels]` the inverse of the quantisation step. On a grid of one row or column there
    may be none.
    """

    network: VQVAE
    quality_weights: Tensor
    t: Tensor
    number: int
    phase: int
    positions: Tensor
    columns: Tensor
    gain: Tensor

    @classmethod
    def enter(
        cls, network: VQVAE, quality_weights: Tensor, t: Tensor, number: int, phase: int
    ) -> Phase:
        """Enter phase `phase` of level `number`, counted from the coarsest."""
        level = network.levels[number]
        positions = level.positions(phase, t)
        with full_precision(t):
            columns = columns_of(t, positions)
            gain = level.gain(columns, quality_weights)
        return cls(network, quality_weights, t, number, phase, positions, columns, gain)

    @property
    def level(self) -> Level:
        """The level that the phase is of."""
        return self.network.levels[self.number]

    def latents(self, h: Tensor) -> Tensor:
        """Return y, the residual of the features `h` (like t) in steps, `[B, N, channels]`."""
        with full_precision(h):
            return self.gain * self.level.residual(columns_of(h, self.positions), self.columns)

    def decoded(self, z_q: Tensor) -> Tensor:
        """Return the new state, with codewords `z_q` `[B, N, channels]` added, and refined."""
        with full_precision(self.t):
            t = self.level.add(self.t, z_q / self.gain, self.positions)
        refined = self.network.refined(t, self.quality_weights, self.number, self.phase)
        return refined.to(self.t.dtype)


def decode_level(
    network: VQVAE, quality_weights: Tensor, t: Tensor, number: int, indices: Sequence[Tensor]
) -> Tensor:
    """Return the state `[1, C, H, W]` after a level with known indices.

    They are int64 `[codebooks, H * W]`, one tensor a group of codebooks.
    """
    level = network.levels[number]
    for phase in range(len(level.refine)):
        entered = Phase.enter(network, quality_weights, t, number, phase)
        chosen = [group[:, entered.positions] for group in indices]
        t = entered.decoded(level.codebooks.lookup(chosen, len(t)))
    return t


def full_precision(x: Tensor) -> torch.autocast:
    """Return a context in which autocast does not lower the precision of linear transforms."""
    return torch.autocast(x.device.type, enabled=False)
