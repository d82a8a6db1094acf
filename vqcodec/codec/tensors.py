"""Synthesis in PyTorch, and pixels as tensors."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.codec.pixels import bordered
from vqcodec.codec.tiles import Tile
from vqcodec.entropy.levels import Symbols
from vqcodec.fileformat.image import Pixels
from vqcodec.model.closed_loop import decode_level
from vqcodec.model.config import PLANES
from vqcodec.model.natural import NaturalBlock
from vqcodec.model.vqvae import VQVAE


class TorchSynthesis:
    """The synthesis of a network at a quality, on the device and in the type of its parameters."""

    at_once = 1  # PyTorch's own threads share a tile

    def __init__(
        self,
        network: VQVAE,
        quality: int,
        *,
        on_picture: bool,
        natural: NaturalBlock | None = None,
    ) -> None:
        self._network = network if on_picture else network.without_picture_blocks()
        self._weights = network.quality_weights(quality)
        self._natural = natural

    @torch.inference_mode()
    def start(self, height: int, width: int) -> Tensor:
        """Return the state before the first level, whose grid is `height` x `width`."""
        return self._network.start(self._weights, height, width)

    def room(self, height: int, width: int) -> Tensor:
        """Return room for a state of the finest scale, to be written to."""
        config, like = self._network.config, self._weights
        shape = 1, config.state_channels(len(config.scales) - 1), height, width
        channels_last = torch.channels_last
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=channels_last)

    @torch.inference_mode()
    def means(self, t: Tensor, scale: int) -> Tensor:
        """Return the means on the grid of `scale` that the state above it holds."""
        return self._network.means(t, scale)

    @torch.inference_mode()
    def enter(self, means: Tensor, scale: int) -> Tensor:
        """Return the state before the first level of a scale but the coarsest."""
        return self._network.enter(means, self._weights, scale)

    @torch.inference_mode()
    def level(self, t: Tensor, number: int, indices: Symbols) -> Tensor:
        """Return the state after a level, whose indices are `[codebooks, H * W]` a group."""
        chosen = [torch.from_numpy(group.astype(np.int64)).to(t.device) for group in indices]
        t = t.contiguous(memory_format=torch.channels_last)
        return decode_level(self._network, self._weights, t, number, chosen)

    @torch.inference_mode()
    def picture(self, t: Tensor, noise: NDArray[np.float32] | None = None) -> Pixels:
        """Return the picture of a state of the finest scale; of noise, its natural look."""
        t = t.contiguous(memory_format=torch.channels_last)
        draw = None
        if noise is not None and self._natural is not None:
            draw = partial(self._natural.draw, noise=torch.from_numpy(noise).to(t))
        return to_pixels(self._network.synthesise(t, self._weights, draw))

    @torch.inference_mode()
    def picture_of_means(self, means: Tensor) -> Pixels:
        """Return the picture, a pixel a position, whose blocks have `means` `[1, 3, H, W]`."""
        # What the transform makes of the primary colours says what colour a mean is.
        side = self._network.config.padding
        colours = torch.eye(PLANES).to(means).expand(side, side, -1, -1).permute(2, 3, 0, 1)
        black = self._network.coefficients(torch.zeros_like(colours[:1]))
        seen = (self._network.coefficients(colours) - black)[:, :PLANES].mean((2, 3))
        columns = means[0].permute(1, 2, 0).float()
        x = torch.linalg.solve(seen.float(), columns, left=False) + 0.5
        return to_pixels(x.permute(2, 0, 1)[None])


def tile_of(pixels: Pixels | NDArray[np.float32], tile: Tile, stride: int, like: Tensor) -> Tensor:
    """Return a tile with its margin, `[1, 3, H, W]` in [0, 1], typed and placed `like` another.

    Beyond the image its border is repeated.
    """
    spans = (tile.wide_rows, tile.wide_columns)
    wide = bordered(pixels, *(slice(stride * s.start, stride * s.stop) for s in spans))
    planes = torch.from_numpy(np.array(wide.transpose(2, 0, 1), order="C"))
    return planes.to(like.device, like.dtype).div_(255)[None]


def to_pixels(x: Tensor) -> Pixels:
    """Return `[1, 3, H, W]` in [0, 1] as uint8 `[H, W, 3]`."""
    shown = x[0].clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return shown.permute(1, 2, 0).contiguous().cpu().numpy()
