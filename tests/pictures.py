"""The sample photograph, and how far one picture is from another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vqcodec import metrics

SAMPLES = Path(__file__).parents[1] / "samples"
SAMPLE = SAMPLES / "photo.png"


def psnr(x: Image.Image, x_hat: Image.Image) -> float:
    """PSNR in dB of pictures of one mode."""
    return metrics.psnr(np.asarray(x), np.asarray(x_hat))
