"""The fixed point the photo model starts from: an orthonormal Haar pyramid of opponent colours.

Orthonormal, so that a grey level of noise is worth the same in every coefficient of every scale.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vqcodec.model.layers import linear
from vqcodec.model.transform import opponent_matrix

PLANES = 3
DETAILS = 3 * PLANES
CENTRE = 127.5


def analyse(x: Tensor, scales: int) -> list[tuple[Tensor, Tensor]]:
    """Return (means, details) of each scale, coarse to fine, of uint8 `[B, 3, H, W]`.

    Float32; the sides must be multiples of 2^scales. Means are `[B, 3, h, w]` and details
    `[B, 9, h, w]`: bands of horizontal, vertical and diagonal differences, each of luma,
    blue-yellow and red-green.
    """
    mean = _mix(opponent_matrix().to(x.device), x.float() - CENTRE)
    pyramid = []
    for _ in range(scales):
        mean, details = _split(mean)
        pyramid.append((mean, details))
    return pyramid[::-1]


def to_rgb(mean: Tensor) -> Tensor:
    """Return the RGB values, 0..255 but for noise, of opponent planes at full resolution."""
    return _mix(opponent_matrix().to(mean.device).T, mean) + CENTRE


def merge(mean: Tensor, details: Tensor) -> Tensor:
    """Return the means of the next finer scale, `[B, 3, 2h, 2w]`."""
    h, v, d = details.chunk(3, 1)
    parts = [mean + h + v + d, mean - h + v - d, mean + h - v - d, mean - h - v + d]
    # pixel_shuffle takes channels in the order (plane, row, column)
    return functional.pixel_shuffle(torch.stack(parts, 2).flatten(1, 2) / 2, 2)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x[..., ::2, ::2], x[..., ::2, 1::2]
    c, d = x[..., 1::2, ::2], x[..., 1::2, 1::2]
    details = torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2
    return (a + b + c + d) / 2, details


def _mix(matrix: Tensor, planes: Tensor) -> Tensor:
    """Apply a colour matrix in float32, whatever the autocast."""
    with torch.autocast(planes.device.type, enabled=False):
        return linear(planes, matrix)
