"""Images that were integers of luma and colour differences before they were red, green and blue.

What is decoded from a JPEG file or a Photo CD has been Y, Cb and Cr, in coarser steps than those of
RGB: of nine RGB values near a colour of a Photo CD, eight never occur. An image that is explained
so is measured as the integers x' that it came from: p(x) is at least p(x') p(x | x'). The model
sees them as red Y + Cr, green Y and blue Y + Cb, from which subtracting green gives the three back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.fileformat.image import Pixels

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (Rec. BT.601, as in JPEG)
# The share of RGB values that may not follow from x'.
MOST_EXCEPTIONS = 0.1
# Pixels that are looked at before all are, and pixels that are looked at together.
_SAMPLE = 4096
_TOGETHER = 1 << 20
# How far beyond the range of RGB a clipped colour is looked for, and in which steps.
_BEYOND = range(0, 24, 2)
# What may be next to the nearest integers, nearer ones first.
_AROUND = np.array(sorted(itertools.product((0, -1, 1), repeat=3), key=lambda o: sum(map(abs, o))))


@dataclass(frozen=True)
class Space:
    """A way to store colours: RGB values for a step of luma, and for steps of both differences.

    `to_rgb` maps luma and the differences of blue and red, `[..., 3]`, to RGB, clipped to 0..255;
    `middle` is how far above its value the middle of what becomes an RGB value is.
    """

    name: str
    luma: float
    blue: float
    red: float
    middle: tuple[float, float, float]
    to_rgb: Callable[[Integers], Integers]

    def from_rgb(self, pixels: NDArray[Any]) -> Floats:
        """Return luma and the differences of blue and red, `[..., 3]`, not rounded."""
        red, green, blue = np.moveaxis(pixels, -1, 0)
        luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        planes = [luma / self.luma, (blue - luma) / self.blue, (red - luma) / self.red]
        return np.stack(planes, -1).astype(np.float32)


def _jfif(ycc: Integers) -> Integers:
    """Return RGB as libjpeg does."""
    luma, blue, red = np.moveaxis(ycc, -1, 0)
    planes = 91881 * red, -22554 * blue - 46802 * red, 116130 * blue
    return np.stack([luma + (plane + 32768 >> 16) for plane in planes], -1).clip(0, 255)


def _photo_cd(ycc: Integers) -> Integers:
    """Return RGB as Kodak's test images have it, found from them; one pixel in 10,000 differs."""
    luma, blue, red = np.moveaxis(ycc, -1, 0)
    luma, blue, red = 13584 * luma, 22179 * blue, 18215 * red
    # Where it is an integer exactly, green has come out one lower.
    green = luma - 1940 * (blue // 10000) - 5090 * (red // 10000) - 1
    return (np.stack([luma + red, green, luma + blue], -1) // 10000).clip(0, 255)


JFIF = Space("JFIF", 1.0, 1.772, 1.402, (0.0, 0.0, 0.0), _jfif)
PHOTO_CD = Space("Photo CD", 1.3584, 2.2179, 1.8215, (0.5, 0.17, 0.5), _photo_cd)
SPACES = (JFIF, PHOTO_CD)
# The ways to see an image are alike likely, RGB among them.
_CHOICE = math.log(1 + len(SPACES))


@dataclass(frozen=True)
class Seen:
    """An image as the model sees it: uint8 `pixels` `[H, W, 3]`, which stand for its own.

    `space` names what they are. `nats` `[H, W]` is -log p(x | x'), with the choice of the space,
    spread over the pixels.
    """

    space: str
    pixels: Pixels
    nats: Floats


def as_stored(pixels: Pixels) -> Seen:
    """Return uint8 `[H, W, 3]` pixels as they are."""
    height, width = pixels.shape[:2]
    choice = np.float32(_CHOICE / (height * width))
    return Seen("RGB", pixels, np.broadcast_to(choice, (height, width)))


def as_recorded(pixels: Pixels) -> Seen:
    """Return uint8 `[H, W, 3]` pixels as the YCC that explains them, or else as they are."""
    if (pixels == pixels[..., :1]).all():  # gray is its own luma
        return as_stored(pixels)
    for space in SPACES:
        if _explains(space, pixels):
            before, exceptions = _before(space, pixels)
            if exceptions.mean() <= MOST_EXCEPTIONS:
                return Seen(space.name, before, _nats(space, pixels, before, exceptions))
    return as_stored(pixels)


def added_to_luma(ycc: NDArray[Any]) -> NDArray[Any]:
    """Return Y + Cr, Y and Y + Cb of Y, Cb and Cr, `[..., 3]`."""
    luma, blue, red = np.moveaxis(ycc, -1, 0)
    return np.stack([luma + red, luma, luma + blue], -1)


def subtracted(pixels: NDArray[Any]) -> Integers:
    """Return Y, Cb and Cr of Y + Cr, Y and Y + Cb, `[..., 3]`."""
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return np.stack([green, blue - green, red - green], -1)


def _explains(space: Space, pixels: Pixels) -> bool:
    """Return whether a sample of the pixels that were not clipped may come from a space."""
    flat = pixels.reshape(-1, 3)
    sample = flat[:: max(1, len(flat) // _SAMPLE)]
    sample = sample[((sample > 0) & (sample < 255)).all(1)]
    # A sample may have more exceptions than the image, which is looked at as a whole after this.
    allowed = 2 * MOST_EXCEPTIONS * len(sample) + 8
    return int((~_found(space, sample)[1]).sum()) <= allowed


def _before(space: Space, pixels: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return x', and where the image does not follow from it, `[H, W]`."""
    height, width = pixels.shape[:2]
    before, exceptions = np.empty_like(pixels), np.empty((height, width), bool)
    for rows in _strips(pixels):
        part = pixels[rows].astype(np.int32)
        colours = (part[..., 0] << 16) + (part[..., 1] << 8) + part[..., 2]
        each, places = np.unique(colours, return_inverse=True)
        rgb = np.stack([each >> 16, each >> 8 & 255, each & 255], -1).astype(np.uint8)
        seen, found = _found(space, rgb)
        before[rows] = seen[places].reshape(part.shape)
        exceptions[rows] = ~found[places].reshape(colours.shape)
    return before, exceptions


def _nats(space: Space, pixels: Pixels, before: Pixels, exceptions: NDArray[np.bool_]) -> Floats:
    """Return -log p(x | x') with the choice of the space, `[H, W]`.

    n exceptions among N pixels take log (N + 1) and log C(N, n): any number is alike likely, and
    any places. The values there halve in probability with every step from what x' would give.
    """
    count, number = exceptions.size, int(exceptions.sum())
    ways = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
    nats = np.full(exceptions.shape, (_CHOICE + math.log(count + 1)) / count, np.float32)
    for rows in _strips(pixels):
        where = exceptions[rows]
        expected = space.to_rgb(subtracted(before[rows][where]))
        away = np.abs(pixels[rows][where] - expected)
        # Of a step the sum of both sides, cut off at the ends of the range.
        total = 3 - 0.5**expected - 0.5 ** (255 - expected)
        told = (math.log(2) * away + np.log(total)).sum(1)
        nats[rows][where] += told + ways / max(1, number)
    return nats


def _strips(pixels: Pixels) -> Iterator[slice]:
    """Yield the rows of an image some at a time."""
    height, width = pixels.shape[:2]
    together = max(1, _TOGETHER // width)
    for top in range(0, height, together):
        yield slice(top, top + together)


def _found(space: Space, colours: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return what uint8 colours `[N, 3]` may come from, added to luma, and where they do.

    Of a clipped colour, what is the least beyond the range is taken.
    """
    beyond = (colours == 255).astype(np.int64) - (colours == 0)
    clipped = beyond.any(1)
    seen = added_to_luma(np.rint(space.from_rgb(colours + np.array(space.middle))))
    seen = seen.clip(0, 255).astype(np.uint8)
    found = np.zeros(len(colours), bool)
    left = np.arange(len(colours))
    for distance in _BEYOND:
        nearest = colours[left] + distance * beyond[left] + space.middle
        nearest = np.rint(space.from_rgb(nearest)).astype(np.int64)
        for offset in _AROUND:
            ycc = nearest + offset
            planes = added_to_luma(ycc)
            fits = (space.to_rgb(ycc) == colours[left]).all(1)
            fits &= (planes >= 0).all(1) & (planes < 256).all(1)
            seen[left[fits]] = planes[fits]
            found[left[fits]] = True
            left, nearest = left[~fits], nearest[~fits]
        left = left[clipped[left]]
        if not len(left):
            break
    return seen, found
