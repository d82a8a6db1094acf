"""Colours that nobody sees: under alpha 0 they are made what costs least and shows nowhere.

Whatever an editor left there would be coded, and shine through at the rim of what is visible. The
colours around are spread over it instead, push-pull: the visible pixels are averaged into smaller
and smaller images until one has no hole, and each fills the holes of the one before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_OPAQUE = 255


def fill_hidden(colour: Image.Image, alpha: NDArray[np.uint8]) -> Image.Image:
    """Return an image of mode L or RGB with other colours where `alpha`, `[H, W]`, is 0.

    They depend on the visible colours alone. Where nothing is visible all is black.
    """
    visible = alpha > 0
    if visible.all():
        return colour
    if not visible.any():
        return Image.new(colour.mode, colour.size)
    colour = colour.copy()
    colour.putalpha(Image.fromarray(visible.astype(np.uint8) * _OPAQUE))
    return _filled(colour)


def _filled(image: Image.Image) -> Image.Image:
    """Return an image of mode LA or RGBA, whose alpha is 0 or 255, as one of L or RGB."""
    colour, visible = image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    if image.size == (1, 1) or visible.getextrema() == (_OPAQUE, _OPAQUE):
        return colour
    smaller = image.reduce(2)  # Pillow weighs colours by their alpha.
    smaller.putalpha(smaller.getchannel("A").point(lambda share: _OPAQUE if share else 0))
    box = (0, 0, image.width / 2, image.height / 2)
    spread = _filled(smaller).resize(image.size, Image.Resampling.BILINEAR, box=box)
    spread.paste(colour, mask=visible)
    return spread
