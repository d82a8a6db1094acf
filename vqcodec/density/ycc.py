"""Images that were integers of luma and colour differences before they were red, green and blue.

What is decoded from a JPEG file or a Photo CD has been Y, Cb and Cr, in steps that are coarser than
those of RGB: of nine RGB values near a colour of a Photo CD eight never occur. An image all of
which is explained so is measured as the integers that it came from, which are as many and have
fewer bits. It is seen as red Y + Cr, green Y and blue Y + Cb, from which subtracting green gives
the three back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """A way to store colours: RGB values for a step of luma, and for steps of both differences."""

    name: str
    luma: float
    blue: float
    red: float

    def from_rgb(self, pixels: Floats) -> Floats:
        """Return luma and the differences of blue and red, `[..., 3]`, not rounded."""
        red, green, blue = np.moveaxis(pixels, -1, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        planes = [luma / self.luma, (blue - luma) / self.blue, (red - luma) / self.red]
        return np.stack(planes, -1)


SPACES = (Space("JFIF", 1.0, 1.772, 1.402), Space("Photo CD", 1.3584, 2.2179, 1.8215))


def added_to_luma(ycc: Floats) -> Floats:
    """Return Y + Cr, Y and Y + Cb of Y, Cb and Cr, `[..., 3]`."""
    luma, blue, red = np.moveaxis(ycc, -1, 0)
    return np.stack([luma + red, luma, luma + blue], -1)
