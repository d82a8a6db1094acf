"""How unlike textures are, whatever their details: deviations of wavelet bands; and what repeats.

The part of the Wasserstein distortion (Qiu et al. 2024) that few bits cannot keep: between normal
distributions of mean 0 it is the squared difference of their deviations. The bands are those of the
Haar transform of luma, of `LEVELS` octaves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vqcodec.density.ycc import LUMA

LEVELS = 2
PERIOD = 8  # pixels
WINDOW, STRIDE = 8, 4  # values of a band over which it has one deviation
_TINY = (1 / 255) ** 2  # variance of what nobody sees


def luma(x: Tensor) -> Tensor:
    """Return the luma `[B, 1, H, W]` of images `[B, 3, H, W]`, red, green and blue."""
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def distance(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the distance `[B]` of images, float32 `[B, 3, H, W]` in [0, 1], sides of 64 or more.

    0 where every deviation is that of `x`, 1 where `x_hat` is flat. The gradient goes to `x_hat`.
    """
    with torch.no_grad():
        expected = deviations(x)
    distances = [
        (one - other).square().mean((2, 3)) / (one.square().mean((2, 3)) + _TINY)
        for one, other in zip(expected, deviations(x_hat), strict=True)
    ]
    return torch.stack(distances).mean((0, 2))


def grid(change: Tensor) -> Tensor:
    """Return the mean square, `[B]`, of what repeats in a change of images, `[B, 3, H, W]`.

    Every `PERIOD` pixels down and across: a network of positions may leave it, and it is seen where
    hardly anything else is.
    """
    rows = torch.unflatten(torch.unflatten(change, 3, (-1, PERIOD)), 2, (-1, PERIOD))
    places = rows.mean((2, 4))
    pattern: Tensor = places - places.mean((2, 3), keepdim=True)
    return pattern.square().mean((1, 2, 3))


def deviations(x: Tensor) -> list[Tensor]:
    """Return the local deviations of the three bands of each octave, `[B, 3, h, w]`, fine first."""
    low = luma(x)
    found = []
    for _ in range(LEVELS):
        low, bands = haar(low)
        power = functional.avg_pool2d(bands.square(), WINDOW, STRIDE)
        found.append((power + _TINY / 16).sqrt())
    return found


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of 2x2 blocks, `[B, 1, h, w]`, and their three bands, `[B, 3, h, w]`.

    Of a plane `[B, 1, H, W]`; means are as large as its values, bands orthonormal.
    """
    a, b, c, d = torch.split(functional.pixel_unshuffle(x, 2), 1, dim=1)
    bands = torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2
    return (a + b + c + d) / 4, bands
