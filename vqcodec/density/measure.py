"""Bits per dimension of an image under the density model, as numbers and as a map.

A dimension is a value of the image: three a pixel in colour, one in gray. The model sees gray as
colour whose three values are equal, so its bits pay for that too.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqcodec.density.bounds import jackknife_error, log_mean_exp
from vqcodec.density.ladder import GROUPS, Ladder
from vqcodec.fileformat.image import Pixels

# Larger images are cut into tiles, to bound memory. The tiles are independent in the model, so the
# sum over tiles is still a bound.
TILE = 1024
BLOCK = 8
# From few bits to many: black, purple, red, orange, pale yellow.
_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


@dataclass(frozen=True)
class Density:
    """Bounds on an image's information in bits per dimension, with their standard errors.

    `elbo` is the mean over `samples`, `iwae` L_k of all of them; the errors are None for one
    sample. `reconstruction` and `kl`, a value for each stochastic layer, coarse to fine, sum to
    `elbo`.
    """

    samples: int
    elbo: float
    elbo_error: float | None
    iwae: float
    iwae_error: float | None
    reconstruction: float
    kl: list[float]

    def kl_of_scales(self) -> list[float]:
        """The KL summed over the layers of each scale, coarse to fine; first the coarsest means."""
        return [self.kl[0]] + [
            sum(self.kl[start : start + len(GROUPS)])
            for start in range(1, len(self.kl), len(GROUPS))
        ]


@torch.inference_mode()
def measure(model: Ladder, pixels: Pixels, k: int, *, gray: bool = False, seed: int = 0) -> Density:
    """Return the bounds of uint8 `[H, W, 3]` pixels with `k` samples, a function of the seed."""
    unit = math.log(2) * (pixels.size // 3 if gray else pixels.size)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        samples = []
        for _ in range(k):
            total: Tensor | None = None
            for _, tile in _tiles(pixels):
                terms = model(tile)
                parts = torch.cat([-terms.reconstruction, *terms.kl]).double()[:, 0]
                total = parts if total is None else total + parts
            assert total is not None
            samples.append(total / unit)
    parts = torch.stack(samples)  # [k, 1 + layers], bits per dimension
    log_w = -unit * parts.sum(1)
    several = k > 1
    return Density(
        samples=k,
        elbo=float(-log_w.mean() / unit),
        elbo_error=float(log_w.std() / k**0.5 / unit) if several else None,
        iwae=float(-log_mean_exp(log_w) / unit),
        iwae_error=float(jackknife_error(log_w) / unit) if several else None,
        reconstruction=float(parts[:, 0].mean()),
        kl=parts[:, 1:].mean(0).tolist(),
    )


@torch.inference_mode()
def block_map(
    model: Ladder, pixels: Pixels, *, gray: bool = False, seed: int = 0
) -> NDArray[np.float64]:
    """Return bits per dimension of each 8x8 block (smaller at the edges), `[ceil(H/8), ceil(W/8)]`.

    One sample. What a coarse latent costs is spread evenly over the pixels that it stands for.
    """
    height, width = pixels.shape[:2]
    nats = np.zeros((height, width))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        for (top, left), tile in _tiles(pixels):
            maps = model.maps(tile)
            own = nats[top : top + TILE, left : left + TILE]
            own -= maps.reconstruction[0].numpy()
            for number, kl in enumerate(maps.kl):
                stride = 1 << (model.config.scales - max(0, number - 1) // len(GROUPS))
                own += _spread(kl[0].numpy(), stride, *own.shape)
    starts = [np.arange(0, side, BLOCK) for side in (height, width)]
    sums = np.add.reduceat(np.add.reduceat(nats, starts[0], 0), starts[1], 1)
    rows, columns = np.minimum(BLOCK, height - starts[0]), np.minimum(BLOCK, width - starts[1])
    sizes = np.outer(rows, columns)
    blocks: NDArray[np.float64] = sums / (sizes * (1 if gray else 3) * math.log(2))
    return blocks


def draw_map(blocks: NDArray[np.float64], width: int, height: int) -> bytes:
    """Return a PNG of `width` x `height`, the cheapest block black, the dearest pale yellow."""
    low, high = float(blocks.min()), float(blocks.max())
    share = (blocks - low) / max(high - low, 1e-9)
    stops = np.linspace(0, 1, len(_COLOURS))
    planes = [np.interp(share, stops, plane) for plane in np.array(_COLOURS).T]
    image = Image.fromarray(np.stack(planes, -1).round().astype(np.uint8))
    whole = image.resize((image.width * BLOCK, image.height * BLOCK), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    whole.crop((0, 0, width, height)).save(stream, "PNG")
    return stream.getvalue()


def _tiles(pixels: Pixels) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Yield the place and the pixels of each tile, uint8 `[1, 3, H, W]`."""
    height, width = pixels.shape[:2]
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = np.array(pixels[top : top + TILE, left : left + TILE])
            yield (top, left), torch.from_numpy(tile).permute(2, 0, 1)[None]


def _spread(
    values: NDArray[np.float32], stride: int, height: int, width: int
) -> NDArray[np.float64]:
    """Spread a value for each cell of `stride` over the cell's pixels within `height` x `width`."""
    rows = np.clip(height - stride * np.arange(values.shape[0]), 1, stride)
    columns = np.clip(width - stride * np.arange(values.shape[1]), 1, stride)
    shares = values / np.outer(rows, columns)
    spread: NDArray[np.float64] = shares.repeat(stride, 0).repeat(stride, 1)[:height, :width]
    return spread
