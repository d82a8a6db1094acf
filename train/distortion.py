"""What an error is worth in training: squared error, and shares of what the eye sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor
from torch.nn import functional

from train import features, ssimulacra2
from train.errors import TrainError

# Of x and x_hat, float32 `[B, 3, H, W]` in [0, 1], over 160 pixels wide and high: `[B]`.
Measure = Callable[[Tensor, Tensor], Tensor]


LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (Rec. BT.601, as in JPEG)
_BLUE, _RED = 1.772, 1.402  # what a unit of the colour differences Cb and Cr is of B - Y and R - Y
# An error of luma counts so many times one of Cb or Cr, which are seen at half the resolution.
_LUMA_WEIGHT = 6.0


def dissimilarity(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of luma (Wang et al. 2003), `[B]`."""
    lumas = (_luma(image) for image in (x, x_hat))
    unlike: Tensor = 1 - ms_ssim(*lumas, data_range=1.0, size_average=False)
    return unlike


def video_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the squared error of YCbCr 4:2:0 as video weighs it, 6:1:1, over 6: `[B]`.

    Those are the weights of the Y, U and V in the mean PSNR of the JVET's tests. Of an image with
    an odd side the last row or column counts in luma alone.
    """
    error = x - x_hat
    luma = _luma(error)
    total = _LUMA_WEIGHT * luma.square().mean((1, 2, 3))
    for channel, unit in ((2, _BLUE), (0, _RED)):
        difference = (error[:, channel : channel + 1] - luma) / unit
        total = total + functional.avg_pool2d(difference, 2).square().mean((1, 2, 3))
    return total / _LUMA_WEIGHT


def _luma(x: Tensor) -> Tensor:
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


# A measure, and what brings it to the size of the mean squared error of coded photographs: features
# at 31 to 35 dB, the others at 26 to 35 dB.
MEASURES: dict[str, tuple[Measure, float]] = {
    "structure": (dissimilarity, 1650 / 255**2),
    "luma": (video_error, 1.3),
    "ssimulacra2": (ssimulacra2.distortion, 8e-5),
    "features": (features.distance, 1.5e-3),
}


@dataclass(frozen=True)
class Distortion:
    """A mixture of measures by their `shares`, names of `MEASURES`; the rest is squared error.

    Raises TrainError if the shares are more than the whole.
    """

    shares: dict[str, float]

    def __post_init__(self) -> None:
        if sum(self.shares.values()) > 1:
            raise TrainError(f"{' and '.join(self.shares)} are more than the whole distortion")

    def __call__(self, x: Tensor, x_hat: Tensor, mse: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the distortion `[B]`, in units of mse on [0, 1], and the means to log.

        `x` and `x_hat` are `[B, 3, H, W]`, `mse` `[B]` is theirs. In full precision wherever
        training is not.
        """
        total = (1 - sum(self.shares.values())) * mse
        terms = {}
        with torch.autocast(x.device.type, enabled=False):
            for name, share in self.shares.items():
                measure, unit = MEASURES[name]
                measured = measure(x.float(), x_hat.float())
                total = total + share * unit * measured
                terms[name] = measured.mean()
        return total, terms
