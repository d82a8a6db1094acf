"""What is coded in place of an image that the network shows worse than its steps allow.

On fine patterns, which are unlike photographs, the blocks that refine the state change by many
steps what is coded already, and no later level takes that back. The encoder sees it in its picture:
it adds to the pixels what the picture lacks, and codes them again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vqcodec.fileformat.image import Pixels

BLOCK = 8  # pixels
ROUNDS = 3
STEP = 255 / 4 / 12.5  # that theory gives at a lmbda of 1, in code values
SHARE = 0.7  # of what the picture lacks, added in a round
# Of the Lagrangian, what errors that are not tolerated must cost for a round to be worth its time.
LEAST_GAIN = 0.05

FloatPixels = NDArray[np.float32]


def rounding_error(lmbda: float) -> float:
    """Return the mean squared error of 8-bit pixels that rounding to steps of λ's size gives.

    A twelfth of the square of the step 1 / (12.5 sqrt(lmbda)), of pixels in [-2, 2].
    """
    return float(STEP**2 / 12 / lmbda)


def may_matter(excess: float, size: int) -> bool:
    """Return whether a picture in `size` bytes may have to be corrected, before it is there to see.

    `excess` is how far the squared errors of the features lie beyond what is suspicious, summed
    over all blocks, in those of rounding. The picture's own, beyond what is tolerated, were 0.54
    of it at most, in photographs as in stripes, checks and noise.
    """
    return BLOCK**2 * STEP**2 / 12 * excess >= LEAST_GAIN * 8 * size


def cost(pixels: Pixels, picture: Pixels, size: int, lmbda: float) -> float:
    """Return the Lagrangian of a picture of `pixels` in `size` bytes, in bits."""
    errors = _errors(_lacking(pixels, picture))
    return 8.0 * size + lmbda * float(errors.sum(dtype=np.float64))


def corrected(
    coded: FloatPixels,
    pixels: Pixels,
    picture: Pixels,
    whole_cost: float,
    lmbda: float,
    tolerated_error: float,
) -> FloatPixels | None:
    """Return what to code next, where `coded` in place of `pixels` came out as `picture`.

    All are `[H, W, 3]`, pixels of 0 to 255; `whole_cost` is the picture's by :func:`cost`. None if
    no block has more than `tolerated_error` times the error of rounding, or those are little of
    the cost.
    """
    lacking = _lacking(pixels, picture)
    errors = _errors(lacking)
    height, width = errors.shape
    padding = (0, -height % BLOCK), (0, -width % BLOCK)
    blocks = np.pad(errors, padding).reshape(-(-height // BLOCK), BLOCK, -(-width // BLOCK), BLOCK)
    beyond = blocks.mean((1, 3)) - tolerated_error * rounding_error(lmbda)
    gain = lmbda * BLOCK**2 * float(beyond[beyond > 0].sum(dtype=np.float64))
    if gain < LEAST_GAIN * whole_cost:
        return None
    off = np.kron(beyond > 0, np.ones((BLOCK, BLOCK), bool))[:height, :width, None]
    return coded + SHARE * lacking * off


def _lacking(pixels: Pixels, picture: Pixels) -> FloatPixels:
    """Return what the picture lacks of the pixels."""
    return pixels.astype(np.float32) - picture


def _errors(lacking: FloatPixels) -> FloatPixels:
    """Return the squared error of each pixel, the mean of its colours: float32 `[H, W]`."""
    red, green, blue = np.moveaxis(np.square(lacking), -1, 0)
    errors: FloatPixels = (red + green + blue) / 3  # a tenth of the time of NumPy's mean
    return errors
