"""The block that draws the natural look on a finished picture: what few bits mean, and grain.

Grain is noise of the strength that the block finds at every place, coloured by a convolution of its
own. No error tells what grain looked like, but how strong it was follows from the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcodec.model.blocks import PictureBlock
from vqcodec.model.config import NATURAL_LAYERS, NATURAL_NOISE, PLANES, Config
from vqcodec.model.layers import Conv2d

# Steps. Nothing tells grain of strength 0 to grow.
FIRST_STRENGTH = 0.005


class NaturalBlock(PictureBlock):
    """Adds to a picture what makes it look natural, of noise; see :class:`PictureBlock`."""

    def __init__(self, config: Config, hidden: int) -> None:
        super().__init__(config, hidden, NATURAL_LAYERS)
        self.strength = Conv2d(hidden, 4 * PLANES, 3, padding=1)
        self.grain = Conv2d(4 * NATURAL_NOISE, 4 * PLANES, 3, padding=1)
        nn.init.zeros_(self.strength.weight)
        nn.init.constant_(self.strength.bias, FIRST_STRENGTH)
        nn.init.zeros_(self.grain.weight)
        nn.init.zeros_(self.grain.bias)
        with torch.no_grad():
            self.grain.weight[..., 1, 1] = torch.eye(4 * NATURAL_NOISE).repeat(PLANES, 1)

    @torch.no_grad()
    def start_from(self, block: PictureBlock) -> None:
        """See at first what another block sees, which is no wider and of no more layers."""
        own = dict(self.named_parameters())
        for name, value in block.named_parameters():
            if not name.startswith("out."):
                own[name][: len(value)] = 0
                own[name][tuple(map(slice, value.shape))] = value

    def draw(self, x: Tensor, t: Tensor, quality_weights: Tensor, noise: Tensor) -> Tensor:
        """Return what the block adds to `x`, of `noise` `[B, 4, H / 2, W / 2]`; as forward."""
        change: Tensor = self(x, t, quality_weights, self.grain(noise))
        return change

    def _change(self, x: Tensor, t: Tensor, quality_weights: Tensor, *halves: Tensor) -> Tensor:
        hidden = self._hidden(x, t, quality_weights)
        change = self._out(self.out, hidden, quality_weights)
        return change + self._out(self.strength, hidden, quality_weights, halves[0])
