"""What to expect of an image at every quality: how many bytes, and how many dB.

From its lapped transform, square by square. In units of the quantisation step a coefficient h costs
about b = log(1 + h^2) and leaves e = h^2 / (1 + h^2) of an error, as a pure transform codec would
have it. What the network makes of a square follows from both, and from its activity: how much
neighbouring pixels differ. Where many small coefficients make up e it leaves more than where few
large ones do. How the network differs is fitted by `train.forecast` and is in its model card; with
a model of which nothing is known the forecast is that of the transform codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vqcodec.codec.pixels import bordered
from vqcodec.errors import ModelError
from vqcodec.fileformat.image import Pixels
from vqcodec.model.config import PLANES, QUALITIES
from vqcodec.model.layers import log_step_gain, quality_weights
from vqcodec.rate_control.search import Curve

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

SQUARE = 64  # pixels
# Of log2 of a coefficient: how fine it is told apart, and from where to where.
_OCTAVE, _SMALLEST, _LARGEST = 8, -12, 8
_BINS = _OCTAVE * (_LARGEST - _SMALLEST)
_LEAST_ACTIVITY = 0.05  # of a square without any
# What the log of the ratio of a square's bytes to b, and of its error to e, is linear in.
FEATURES = ("1", "u", "u^2", "log b", "log e", "log activity")


@dataclass(frozen=True)
class Squares:
    """Of the squares of an image at qualities 1..100, float64: what a forecast is made of.

    `bits` and `errors` `[100, N]` are the means of b and e in them, `features` `[100, N, 6]`;
    `gain` `[100]` is the inverse of the quantisation step, `pixels` `[N]` how many they have.
    """

    bits: Tensor
    errors: Tensor
    features: Tensor
    gain: Tensor
    pixels: Tensor

    def log_bytes(self, coefficients: Tensor) -> Tensor:
        """Return the log bytes of a stream to expect, `[100]`."""
        bits = self.bits * (self.features @ coefficients).exp()
        return (bits @ self.pixels / 8).log()

    def psnr(self, coefficients: Tensor) -> Tensor:
        """Return the dB of the picture to expect, `[100]`."""
        errors = self.errors * (self.features @ coefficients).exp()
        mean = errors @ self.pixels / self.pixels.sum()
        return -10 * (mean / self.gain**2).log10()


def from_card(
    codec: Codec,
    name: str,
    default: ArrayLike,
    shape: tuple[int, ...] = (),
    least: ArrayLike = -np.inf,
) -> NDArray[np.float64]:
    """Return the numbers that the model card has of that name for forecasts, a `default` if none.

    They are finite, of a `shape` that may have -1 for any length, and not less than `least`; else
    ModelError is raised.
    """
    forecast = codec.card.get("forecast", {})
    if isinstance(forecast, dict) and name not in forecast:
        return np.array(default, np.float64)
    try:
        numbers = np.array(forecast[name], np.float64).reshape(shape)
    except (OverflowError, TypeError, ValueError) as error:
        raise ModelError(f"damaged model card: {name} of its forecast: {error}") from error
    if not (numbers.size and np.isfinite(numbers).all() and (numbers >= np.asarray(least)).all()):
        raise ModelError(f"damaged model card: {name} of its forecast is out of range")
    return numbers


def squares(codec: Codec, pixels: Pixels, sides: Sequence[int]) -> Squares:
    """Return the squares of an image as far as `sides`, at most those it is padded to."""
    counts = _histograms(codec, pixels, sides)
    total = counts.sum(1)
    quality = torch.arange(1.0, QUALITIES + 1)
    log_gain = log_step_gain(codec.config.lmbda_min, codec.config.lmbda_max)
    gain = torch.exp(quality_weights(quality) @ log_gain).double()
    middle = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _OCTAVE + _SMALLEST
    power = 4**middle * gain[:, None] ** 2
    bits = power.log1p() @ counts.T / total
    errors = (power / (1 + power)) @ counts.T / total
    active = torch.from_numpy(activity(pixels)).flatten() + _LEAST_ACTIVITY
    u = ((quality - 50) / 50).double()[:, None].expand_as(bits)
    scaled = (gain[:, None] * active).log()
    features = [torch.ones_like(u), u, u * u, bits.log(), errors.log(), scaled]
    stride = codec.config.strides[-1]
    of_pixel = PLANES * (stride**2 - 1) / stride**2  # coefficients
    return Squares(bits, errors, torch.stack(features, -1), gain, total / of_pixel)


def _histograms(codec: Codec, pixels: Pixels, sides: Sequence[int]) -> Tensor:
    """Return how many coefficients of each size the squares have, float64 `[N, bins]`."""
    down, across = (-(-side // SQUARE) for side in sides)
    stride = codec.config.strides[-1]
    height, width = (-(-side // stride) for side in sides)
    counts = torch.zeros(down * across * _BINS, dtype=torch.float64)
    for tile, top, left in codec.coefficients(pixels):
        # A tile is larger than any padding, so that none begins beyond the sides.
        inside = tile[PLANES:, : height - top, : width - left].float().cpu()
        size = inside.abs().clamp(2.0**_SMALLEST, 2.0**_LARGEST).log2() - _SMALLEST
        row = torch.arange(top, top + inside.shape[1])[:, None] * stride // SQUARE
        column = torch.arange(left, left + inside.shape[2]) * stride // SQUARE
        bin_ = (size * _OCTAVE).long().clamp(max=_BINS - 1) + _BINS * (across * row + column)
        counts += torch.bincount(bin_.flatten(), minlength=len(counts))
    return counts.view(-1, _BINS)


def activity(pixels: Pixels) -> Curve:
    """Return how much neighbours differ in the mean, in each square, `[H / 64, W / 64]` upwards."""
    down, across = (-(-side // SQUARE) for side in pixels.shape[:2])
    result = np.empty((down, across))
    for row in range(down):
        # A row of squares at a time: an image may be large.
        rows = slice(SQUARE * row, SQUARE * (row + 1))
        strip = bordered(pixels, rows, slice(0, SQUARE * across)).sum(2, dtype=np.int16)
        blocks = strip.reshape(SQUARE, across, SQUARE)
        result[row] = sum(np.abs(np.diff(blocks, axis=axis)).mean((0, 2)) for axis in (0, 2))
    return result
