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

from vqcodec import threads
from vqcodec.density.bounds import jackknife_error, log_mean_exp
from vqcodec.density.ladder import GROUPS, Ladder, Maps
from vqcodec.density.windows import PositionNoise, Window, tiles
from vqcodec.density.ycc import Seen

# Larger images are worked on in tiles of so many pixels a side, to bound memory.
TILE = 1024
# From few bits to many: black, purple, red, orange, pale yellow.
_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


@dataclass(frozen=True)
class Density:
    """Bounds on an image's information in bits per dimension, with their standard errors.

    `elbo` is the mean over `samples`, `iwae` L_k of all of them; the errors are None for one
    sample. `reconstruction` and `kl`, a value for each stochastic layer, coarse to fine, sum to
    `elbo`. `gaps` are by how much L_k is below the ELBO where the weights of one layer alone are
    random, layer by layer: where the gap comes from. They need not sum to it, since no sample has
    the best weights of all layers.
    """

    samples: int
    elbo: float
    elbo_error: float | None
    iwae: float
    iwae_error: float | None
    reconstruction: float
    kl: list[float]
    gaps: list[float]

    def kl_of_scales(self) -> list[float]:
        """The KL summed over the layers of each scale, coarse to fine; first the coarsest means."""
        return [self.kl[0]] + [
            sum(self.kl[start : start + len(GROUPS)])
            for start in range(1, len(self.kl), len(GROUPS))
        ]


@torch.inference_mode()
def measure(model: Ladder, seen: Seen, k: int, *, gray: bool = False, seed: int = 0) -> Density:
    """Return the bounds of an image with `k` samples, a function of the seed."""
    unit = math.log(2) * (seen.pixels.size // 3 if gray else seen.pixels.size)
    samples = []
    for number in range(k):
        layers = [
            torch.stack([-maps.reconstruction.sum(), *(kl.sum() for kl in maps.kl)]).double()
            for _, maps in _maps(model, seen, PositionNoise(seed, number))
        ]
        samples.append(torch.stack(layers).sum(0) / unit)
    parts = torch.stack(samples)  # [k, 1 + layers], bits per dimension
    log_w = -unit * parts.sum(1)
    of_layers = -unit * parts[:, 1:].T
    several = k > 1
    return Density(
        samples=k,
        elbo=float(-log_w.mean() / unit),
        elbo_error=float(log_w.std() / k**0.5 / unit) if several else None,
        iwae=float(-log_mean_exp(log_w) / unit),
        iwae_error=float(jackknife_error(log_w) / unit) if several else None,
        reconstruction=float(parts[:, 0].mean()),
        kl=parts[:, 1:].mean(0).tolist(),
        gaps=((log_mean_exp(of_layers) - of_layers.mean(1)) / unit).tolist(),
    )


@torch.inference_mode()
def bit_map(model: Ladder, seen: Seen, *, gray: bool = False, seed: int = 0) -> NDArray[np.float32]:
    """Return bits per dimension of each pixel, `[H, W]`; their mean is the ELBO of one sample.

    What a coarse latent costs is spread evenly over the pixels that it stands for.
    """
    height, width = seen.pixels.shape[:2]
    bits = np.empty((height, width), np.float32)
    unit = math.log(2) * (1 if gray else 3)
    for tile, maps in _maps(model, seen, PositionNoise(seed, 0)):
        nats = -maps.reconstruction[0].double().numpy()
        for number, kl in enumerate(maps.kl):
            stride = 1 << (model.config.scales - max(0, number - 1) // len(GROUPS))
            nats += _spread(kl[0].numpy(), stride, *nats.shape)
        bits[tile.top : tile.bottom, tile.left : tile.right] = nats / unit
    return bits


def colour_range(bits: NDArray[np.float32]) -> tuple[float, float]:
    """Return from where to where a map is drawn: all of its pixels but the outermost 1 %."""
    low, high = np.percentile(bits, (0.5, 99.5))
    return float(low), float(high)


def draw_map(bits: NDArray[np.float32]) -> bytes:
    """Return a PNG with a pixel for each of the map's, from black for few bits to pale yellow."""
    low, high = colour_range(bits)
    shares = (bits - low) * (255 / max(high - low, 1e-9))
    image = Image.fromarray(shares.clip(0, 255).astype(np.uint8))
    stops = np.linspace(0, 255, len(_COLOURS))
    planes = [np.interp(np.arange(256), stops, plane) for plane in np.array(_COLOURS).T]
    image.putpalette(np.stack(planes, -1).round().astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def map_file(bits: NDArray[np.float32]) -> bytes:
    """Return a map as an .npy file."""
    stream = io.BytesIO()
    np.save(stream, bits)
    return stream.getvalue()


def _maps(model: Ladder, seen: Seen, noise: PositionNoise) -> Iterator[tuple[Window, Maps]]:
    """Yield each tile and the terms of it; those of the pixels are of the image's own."""
    x = torch.from_numpy(np.ascontiguousarray(seen.pixels)).permute(2, 0, 1)[None]
    height, width = seen.pixels.shape[:2]
    for tile in tiles(height, width, TILE):
        maps = model.maps(x, tile=tile, noise=noise)
        told = torch.tensor(seen.nats[tile.top : tile.bottom, tile.left : tile.right])
        yield tile, Maps(maps.reconstruction - told, maps.kl)
        threads.release_memory()


def _spread(
    values: NDArray[np.float32], stride: int, height: int, width: int
) -> NDArray[np.float64]:
    """Spread a value for each cell of `stride` over the cell's pixels within `height` x `width`."""
    rows = np.clip(height - stride * np.arange(values.shape[0]), 1, stride)
    columns = np.clip(width - stride * np.arange(values.shape[1]), 1, stride)
    shares = values / np.outer(rows, columns)
    spread: NDArray[np.float64] = shares.repeat(stride, 0).repeat(stride, 1)[:height, :width]
    return spread
