"""Image quality: PSNR and bits per pixel by their definitions, MS-SSIM and SSIMULACRA2 by packages.

Every function takes two Pillow images of mode RGB and the same size, 8 bits a channel.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vqcodec import metrics

if TYPE_CHECKING:
    import torch

MS_SSIM_MIN_SIDE = 161  # five scales of an 11-tap window: 10 * 2**4 + 1


def bits_per_pixel(num_bytes: int, width: int, height: int) -> float:
    """Bits of the whole file, header and all, for each pixel of the image."""
    return 8 * num_bytes / (width * height)


def psnr(x: Image.Image, x_hat: Image.Image) -> float:
    """PSNR in dB over all three channels together, peak 255; infinite for identical images."""
    check(x, x_hat)
    return metrics.psnr(np.asarray(x), np.asarray(x_hat))


def ms_ssim(x: Image.Image, x_hat: Image.Image) -> float | None:
    """MS-SSIM in RGB, mean of the channels, 0 to 1; None for an image too small for five scales."""
    import torch
    from pytorch_msssim import ms_ssim as package_ms_ssim

    check(x, x_hat)
    if min(x.size) < MS_SSIM_MIN_SIDE:
        return None
    with torch.inference_mode():
        return float(package_ms_ssim(tensor(x), tensor(x_hat), data_range=255))


def ssimulacra2(x: Image.Image, x_hat: Image.Image) -> float:
    """SSIMULACRA2 score: 100 is lossless, 90 hard to tell apart, 50 medium, below 0 very bad."""
    check(x, x_hat)
    return metrics.ssimulacra2(np.asarray(x), np.asarray(x_hat))


def tensor(image: Image.Image) -> "torch.Tensor":
    """Return an RGB image as float32 `[1, 3, H, W]`, 0 to 255."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def check(x: Image.Image, x_hat: Image.Image) -> None:
    """Raise ValueError unless both images are RGB and of one size."""
    if x.mode != "RGB" or x_hat.mode != "RGB":
        raise ValueError(f"images must be RGB, not {x.mode} and {x_hat.mode}")
    if x.size != x_hat.size:
        raise ValueError(f"images differ in size: {x.size} and {x_hat.size}")
