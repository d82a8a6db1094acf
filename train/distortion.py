"""What an error is worth in training: squared error, and shares of what the eye sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from train import features, ssimulacra2
from train.errors import TrainError
from train.texture import luma

# Of x and x_hat, float32 `[B, 3, H, W]` in [0, 1], over 160 pixels wide and high: `[B]`.
Measure = Callable[[Tensor, Tensor], Tensor]


def dissimilarity(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of luma (Wang et al. 2003), `[B]`."""
    lumas = (luma(image) for image in (x, x_hat))
    unlike: Tensor = 1 - ms_ssim(*lumas, data_range=1.0, size_average=False)
    return unlike


# A measure, and what brings it to the size of the mean squared error of coded photographs: features
# at 31 to 35 dB, the others at 26 to 35 dB.
MEASURES: dict[str, tuple[Measure, float]] = {
    "structure": (dissimilarity, 1650 / 255**2),
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
