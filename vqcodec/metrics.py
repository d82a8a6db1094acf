"""How far a decoded image is from the original."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def psnr(x: NDArray[np.uint8], x_hat: NDArray[np.uint8]) -> float:
    """Return the PSNR of uint8 arrays of one shape in dB, infinite if they are equal."""
    mse = np.square(np.subtract(x, x_hat, dtype=np.float32)).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / mse)) if mse else math.inf
