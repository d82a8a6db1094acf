"""The decoder's state: what encoder and decoder both know of the picture, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqcodec.entropy.prior import CLASS_SHIFT, Parts
from vqcodec.model.layers import select
from vqcodec.model.level import Level
from vqcodec.model.prior import ACTIVATION_UNIT
from vqcodec.model.vqvae import VQVAE


class DecoderState:
    """The synthesis state t of a grid as phases of levels are added to it, on both sides alike."""

    def __init__(self, network: VQVAE, knots: Tensor, t: Tensor) -> None:
        self.t, self.knots = t, knots
        self._network = network
        self._levels = network.all_levels()

    def enter(self, number: int, phase: int) -> Level:
        """Go to a phase of level `number`, which is of this grid; return the level.

        On a grid of one row or column it may have no positions, and then no columns nor gain.
        """
        self._level = level = self._levels[number]
        self._number, self._phase = number, phase
        self.positions = level.positions(phase, self.t)
        if len(self.positions):
            self.columns = select(self.t, self.positions)
            self.gain = level.gain(self.columns, self.knots)
        return level

    def add(self, indices: Sequence[Tensor]) -> None:
        """Add the codewords of the phase entered, `[codebooks, N]` a part."""
        level, t = self._level, self.t
        if len(self.positions):
            words = level.codebooks.lookup(indices, *self.gain.shape[2:])
            t = level.add(t, words / self.gain, self.positions)
        self.t = self._refined(t)

    def add_level(self, number: int, indices: Parts) -> None:
        """Add all phases of a level, `[codebooks, positions]` a part."""
        parts = [torch.from_numpy(part.astype(np.int64)).to(self.t.device) for part in indices]
        for phase in range(len(self._levels[number].refine)):
            self.enter(number, phase)
            self.add([part[:, self.positions] for part in parts])

    def reach(self, levels: range) -> int:
        """Return how many positions away what is to come looks if these levels are to be added."""
        return self._network.reach(levels) + self._network.sharpen_reach(levels)

    def narrow(self, rows: slice, columns: slice) -> None:
        """Keep these rows and columns of the grid alone; the first must be even ones."""
        t = self.t[..., rows, columns]
        self.t = t.contiguous(memory_format=torch.channels_last)

    def picture(self) -> Tensor:
        """Return the picture that the state after the last level stands for, `[B, 3, H, W]`."""
        return self._network.synthesise(self.t, self.knots)

    def _refined(self, t: Tensor) -> Tensor:
        return self._network.refined(t, self.knots, self._number, self._phase)


class SketchState(DecoderState):
    """The state of a picture that is shown smaller: without the blocks that work on the picture.

    They take half the time, and what they change is mostly detail.
    """

    def reach(self, levels: range) -> int:
        """Return how many positions away what is to come looks if these levels are to be added."""
        return self._network.reach(levels)

    def picture(self) -> Tensor:
        """Return the picture after any level."""
        return self._network.sketch(self.t, self.knots)

    def _refined(self, t: Tensor) -> Tensor:
        return self._level.refined(t, self.knots, self._phase)


def class_centres(classes: Tensor) -> Tensor:
    """Return the widths (the prior's 0..127/16) in the middle of integer classes."""
    return ((classes * (1 << CLASS_SHIFT)) + ((1 << CLASS_SHIFT) - 1) / 2) * ACTIVATION_UNIT
