"""SSIMULACRA2 as something to train for: the package's measure, differentiable, on batches.

Sneyers, "SSIMULACRA 2" (2022): in six scales of the XYB colour space, SSIM without luminance and
two comparisons of edges, each averaged in the 1-norm and the 4-norm, in a weighted sum. The weights
are those of the package `ssimulacra2`, which measures; here the sum itself is what falls.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from ssimulacra2 import ssimulacra2 as package
from torch import Tensor
from torch.nn import functional

SCALES = package.kNumScales
MIN_SIDE = 8
SIGMA, RADIUS = 1.5, 5
_C2 = package.kC2
_PACKAGE_FACTOR = 0.9562382616834844
# So that the fourth root has a gradient where nothing differs.
_TINY = 1e-28


def distortion(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the weighted sum `[B]`, 0 for equal images, of float32 `[B, 3, H, W]` in [0, 1].

    It is about proportional to the mean squared error of coded photographs; see `score`. The
    gradient goes to `x_hat`.
    """
    linear = [_linear(x), _linear(x_hat)]
    weights = torch.as_tensor(package.weights, dtype=x.dtype, device=x.device)
    weights = weights.reshape(3, SCALES, 2, 3)  # channel, scale, norm, map
    total = x.new_zeros(len(x))
    for scale in range(SCALES):
        if min(linear[0].shape[2:]) < MIN_SIDE:
            break
        maps = _maps(*map(_positive_xyb, linear))  # [3, B, 3, H, W]
        mean = maps.mean((-1, -2))
        fourth = (maps.square().square().mean((-1, -2)) + _TINY).sqrt().sqrt()
        norms = torch.stack([mean, fourth])  # norm, map, B, channel
        total = total + torch.einsum("nmbc,cnm->b", norms, weights[:, scale])
        linear = [
            functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
            for image in linear
        ]
    return _PACKAGE_FACTOR * total


def score(distortion: float) -> float:
    """Return the SSIMULACRA2 of a weighted sum: 100 for equal images, lower the worse."""
    s = distortion
    s = 2.326765642916932 * s - 0.020884521182843837 * s**2 + 6.248496625763138e-05 * s**3
    root: float = max(s, 0.0) ** 0.6276336467831387
    return 100.0 - 10.0 * root


def _linear(image: Tensor) -> Tensor:
    """Return sRGB in [0, 1] as linear light."""
    image = image.clamp(0, 1)
    curve = ((image.clamp(min=0.04) + 0.055) / 1.055) ** 2.4
    return torch.where(image <= 0.04045, image / 12.92, curve)


def _positive_xyb(linear: Tensor) -> Tensor:
    matrix = linear.new_tensor(package.kOpsinAbsorbanceMatrix.reshape(3, 3))
    bias = linear.new_tensor(package.kOpsinAbsorbanceBias)[:, None, None]
    mixed = torch.einsum("oc,bchw->bohw", matrix, linear) + bias
    cone = mixed ** (1 / 3) - bias ** (1 / 3)
    x, y, b = 0.5 * (cone[:, 0] - cone[:, 1]), 0.5 * (cone[:, 0] + cone[:, 1]), cone[:, 2]
    return torch.stack([14 * x + 0.42, y + 0.01, b - y + 0.55], 1)


def _maps(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return what differs: structure, edges that were not there, edges that are lost."""
    mu, mu_hat = _blur(x), _blur(x_hat)
    variance = _blur(x * x) - mu * mu
    variance_hat = _blur(x_hat * x_hat) - mu_hat * mu_hat
    covariance = _blur(x * x_hat) - mu * mu_hat
    ssim = (2 * covariance + _C2) / (variance + variance_hat + _C2)
    structure = (1 - (1 - (mu - mu_hat).square()) * ssim).clamp(min=0)
    edges = (1 + (x_hat - mu_hat).abs()) / (1 + (x - mu).abs()) - 1
    return torch.stack([structure, edges.clamp(min=0), (-edges).clamp(min=0)])


def _blur(image: Tensor) -> Tensor:
    """Blur as the package does: mirrored above and below, black at the sides."""
    height, width = image.shape[2:]
    rows = torch.from_numpy(_blur_matrix(height, True)).to(image)
    columns = torch.from_numpy(_blur_matrix(width, False)).to(image)
    return rows @ (image @ columns.T)


@lru_cache
def _blur_matrix(size: int, mirrored: bool) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the Gaussian filter of a line of so many samples as a matrix `[size, size]`."""
    taps = [math.exp(-0.5 * (k / SIGMA) ** 2) for k in range(-RADIUS, RADIUS + 1)]
    matrix = np.zeros((size, size))
    for row in range(size):
        for k, tap in enumerate(taps):
            column = row + k - RADIUS
            if mirrored:
                column %= 2 * size
                column = min(column, 2 * size - 1 - column)
            if 0 <= column < size:
                matrix[row, column] += tap / sum(taps)
    return matrix
