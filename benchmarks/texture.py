"""What of a picture's texture is measurable without looking for its details, and grids in it.

The bands are those of the 9/7 wavelet, which neither the codec's finest scale nor the training of
its looks uses. A grid is what comes back every so many pixels, as a network's strides leave it.
Luma is float64 `[H, W]`, 0 to 255, of a Pillow image of mode RGB.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.density.ycc import LUMA
from vqcodec.model.transform import WaveletAnalysis

Plane = NDArray[np.float64]

OCTAVES = 2
# Pixels on which the looks of the codec could leave a grid: positions of the finest scale, and the
# blocks of 2x2 that the network sees pictures in.
PERIODS = (8, 2)
_OF_BANDS, _OF_GRID = ("energy", "kurtosis"), ("pattern", "ripple")
NAMES = (
    *(f"{name}_{octave}" for name in _OF_BANDS for octave in range(1, OCTAVES + 1)),
    *(f"{name}_{period}" for period in PERIODS for name in _OF_GRID),
)
_EDGE = 8  # pixels at every side that see what is beyond, in a high-pass of 9 taps


@dataclass(frozen=True, slots=True)
class Bands:
    """Of the three bands of each octave, float64 `[OCTAVES, 3]`, fine first."""

    energy: Plane
    """Mean square, in grey levels."""
    kurtosis: Plane
    """Fourth moment by the square of the second: 3 where values are normal, more where sparse."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How much of a picture comes back every so many pixels."""

    pattern: float
    """The mean of all periods, without its own mean and what is smooth: rms in grey levels."""
    ripple: float
    """Relative rms by which the mean gradient magnitude differs between a period's columns, and
    between its rows. Chance alone makes a little of both."""


def luma(image: Image.Image) -> Plane:
    """Return the luma of an image of mode RGB, unrounded."""
    plane: Plane = np.asarray(image, np.float64) @ np.array(LUMA)
    return plane


def bands(plane: Plane) -> Bands:
    """Return the statistics of the finest octaves, of sides cut to multiples of 4."""
    import torch

    whole = 2**OCTAVES
    height, width = (side // whole * whole for side in plane.shape)
    low = torch.from_numpy(plane[None, None, :height, :width].astype(np.float32))
    analysis = WaveletAnalysis(torch.eye(1))
    energy, kurtosis = [], []
    for _ in range(OCTAVES):
        with torch.inference_mode():
            found = analysis(low)
        low, high = found[:, :1], found[0, 1:].double()
        second, fourth = (high.pow(power).mean((1, 2)) for power in (2, 4))
        energy.append(second.numpy())
        kurtosis.append((fourth / second.square()).numpy())
    return Bands(np.stack(energy), np.stack(kurtosis))


def compared(plane: Plane, original: Plane) -> dict[str, float]:
    """Return the figures called `NAMES` of a luma, not a number where the original has no texture.

    Energy and kurtosis of octave 1, the finest, and 2 are in the original's, as geometric means
    over the octave's three bands; pattern and ripple of each period are the picture's own.
    """
    own, expected = bands(plane), bands(original)
    figures = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in _OF_BANDS:
            logs = np.log(getattr(own, name) / getattr(expected, name)).mean(1)
            for octave, ratio in enumerate(np.exp(logs), 1):
                figures[f"{name}_{octave}"] = float(ratio)
    for period in PERIODS:
        found = grid(plane, period)
        figures |= {f"{name}_{period}": getattr(found, name) for name in _OF_GRID}
    return figures


def grid(plane: Plane, period: int) -> Grid:
    """Return what comes back every `period` pixels, 8 or fewer that divide 8, from the top left.

    Of sides of 24 and more; 8 pixels at each are left out.
    """
    high = _high_pass(plane)
    folded = _folded(high, period).mean((0, 2))
    down, across = (abs(np.diff(plane, axis=axis, append=0)) for axis in (0, 1))
    phases = _folded(_inside(down + across), period).mean((0, 2))
    deviations = [phases.mean(axis).std() for axis in (0, 1)]
    return Grid(float(folded.std()), float(np.hypot(*deviations) / (phases.mean() or 1)))


def _high_pass(plane: Plane) -> Plane:
    """Return what means over 8 pixels lack; of all that comes back every 8 pixels they have none.

    The window has halves at both ends, so that it has a middle.
    """
    window = np.full(9, 1 / 8)
    window[[0, -1]] /= 2
    low = plane
    for axis in (0, 1):
        low = np.apply_along_axis(np.convolve, axis, low, window, "same")
    return _inside(plane - low)


def _inside(plane: Plane) -> Plane:
    """Leave out the edges, and what is no whole period of 8."""
    height, width = (side // 8 * 8 for side in plane.shape)
    return plane[_EDGE : height - _EDGE, _EDGE : width - _EDGE]


def _folded(plane: Plane, period: int) -> Plane:
    """Return `[rows, period, columns, period]`."""
    height, width = plane.shape
    return plane.reshape(height // period, period, width // period, period)
