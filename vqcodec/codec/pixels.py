"""Pixels that go into the network, tile by tile, and those that come out of it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.codec.tiles import Tile, overlap
from vqcodec.fileformat.image import Pixels
from vqcodec.model.config import PLANES
from vqcodec.model.vqvae import VQVAE


def bordered(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    """Return rows and columns of an image; where they lie beyond it its border is repeated."""
    within = (
        np.arange(span.start, span.stop).clip(0, side - 1)
        for span, side in zip((rows, columns), pixels.shape, strict=False)
    )
    part: Pixels = pixels[np.ix_(*within)]
    return part


def tile_of(pixels: Pixels, tile: Tile, stride: int, like: Tensor) -> Tensor:
    """Return a tile with its margin, `[1, 3, H, W]` in [0, 1], typed and placed `like` another.

    Beyond the image its border is repeated.
    """
    spans = (tile.wide_rows, tile.wide_columns)
    wide = bordered(pixels, *(slice(stride * s.start, stride * s.stop) for s in spans))
    x = torch.from_numpy(wide).to(like.device, like.dtype)
    return x.permute(2, 0, 1)[None] / 255


def show(x_hat: Tensor, tile: Tile, picture: Pixels, rows: slice, columns: slice) -> None:
    """Write a tile of `x_hat`, which has its margin, into `picture` of some rows and columns."""
    stride = x_hat.shape[2] // (tile.wide_rows.stop - tile.wide_rows.start)
    down = overlap(tile.rows, tile.wide_rows, rows, stride)
    across = overlap(tile.columns, tile.wide_columns, columns, stride)
    shown = x_hat[0].permute(1, 2, 0)[down[0], across[0]]
    picture[down[1], across[1]] = _to_pixels(shown)


def picture_of_means(network: VQVAE, means: Tensor) -> Pixels:
    """Return the picture, `[H, W, 3]`, whose blocks have `means`, `[1, 3, H, W]`."""
    # What the transform makes of the primary colours says what colour a mean is.
    side = network.config.padding
    colours = torch.eye(PLANES).to(means).expand(side, side, -1, -1).permute(2, 3, 0, 1)
    black = network.coefficients(torch.zeros_like(colours[:1]))
    seen = (network.coefficients(colours) - black)[:, :PLANES].mean((2, 3))
    columns = means[0].permute(1, 2, 0).float()
    return _to_pixels(torch.linalg.solve(seen.float(), columns, left=False) + 0.5)


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """Return `[H, W]` or `[H, W, 3]` so many times smaller, means of squares, sides rounded up."""
    return pixels if factor == 1 else np.array(Image.fromarray(pixels).reduce(factor))


def _to_pixels(x: Tensor) -> Pixels:
    """Return `[H, W, 3]` in [0, 1] as uint8."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
