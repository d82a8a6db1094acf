"""How far a decoded image is from the original."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def psnr(x: NDArray[np.uint8], x_hat: NDArray[np.uint8]) -> float:
    """Return the PSNR of uint8 arrays of one shape in dB, infinite if they are equal."""
    mse = np.square(np.subtract(x, x_hat, dtype=np.float32)).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / mse)) if mse else math.inf


def ssimulacra2(x: NDArray[np.uint8], x_hat: NDArray[np.uint8]) -> float:
    """Return the SSIMULACRA2 score of uint8 arrays `[H, W]` or `[H, W, 3]` of one shape.

    100 is lossless, 90 hard to tell apart, 50 medium, below 0 very bad. Of fewer than 8 rows or
    columns it is 100 whatever they are. Raises ImportError without the package of that name.
    """
    from ssimulacra2 import compute_ssimulacra2

    def file(pixels: NDArray[np.uint8]) -> io.BytesIO:  # the package reads files only
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "BMP")
        stream.seek(0)
        return stream

    return float(compute_ssimulacra2(file(x), file(x_hat)))
