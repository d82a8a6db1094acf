"""Drawn pictures for training: flat areas, edges, text, patterns, of which photographs have few.

A codec is tried on pages, products on white and one-pixel patterns, too: they should come back
exact, and get better with every step of quality.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?-+*/()"


def drawn(rng: np.random.Generator, size: int) -> Pixels:
    """Return a random drawing, uint8 `[size, size, 3]`."""
    kinds = (_flat, _shapes, _text, _pattern, _gradient)
    return kinds[int(rng.integers(len(kinds)))](rng, size)


def on_page(rng: np.random.Generator, photograph: Pixels) -> Pixels:
    """Return an object cut out of a photograph `[size, size, 3]`, on a page of one colour."""
    size = len(photograph)
    mask = Image.new("L", (size, size))
    left, upper = (int(rng.integers(size // 2)) for _ in range(2))
    box = (left, upper, *(int(rng.integers(side + size // 8, size)) for side in (left, upper)))
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    page = Image.new("RGB", (size, size), _colour(rng))
    page.paste(Image.fromarray(photograph), (0, 0), mask)
    return np.array(page)


def _colour(rng: np.random.Generator) -> Colour:
    """Return white or black half the time, a saturated colour or any else."""
    kind = rng.random()
    if kind < 0.35:
        return 255, 255, 255
    if kind < 0.5:
        return 0, 0, 0
    levels = (0, 255) if kind < 0.75 else range(256)
    red, green, blue = (int(rng.choice(levels)) for _ in range(3))
    return red, green, blue


def _flat(rng: np.random.Generator, size: int) -> Pixels:
    return np.array(Image.new("RGB", (size, size), _colour(rng)))


def _shapes(rng: np.random.Generator, size: int) -> Pixels:
    image = Image.new("RGB", (size, size), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 9))):
        corners = np.sort(rng.integers(0, size, (2, 2)), axis=0).ravel().tolist()
        shape: Callable[..., None] = (draw.rectangle, draw.ellipse)[int(rng.integers(2))]
        if rng.random() < 0.5:
            shape(corners, fill=_colour(rng))
        else:
            draw.line(corners, fill=_colour(rng), width=int(rng.integers(1, 6)))
    return np.array(image)


def _text(rng: np.random.Generator, size: int) -> Pixels:
    image = Image.new("RGB", (size, size), _colour(rng))
    draw = ImageDraw.Draw(image)
    top = 0
    while top < size:
        height = int(rng.integers(9, 40))
        letters = "".join(rng.choice(list(_LETTERS), size // 4))
        font = ImageFont.load_default(height)
        draw.text((-int(rng.integers(8)), top), letters, _colour(rng), font)
        top += round(1.3 * height)
    return np.array(image)


def _pattern(rng: np.random.Generator, size: int) -> Pixels:
    """Return stripes, a checkerboard or a dither, of one or a few pixels."""
    y, x = np.mgrid[:size, :size] // int(rng.integers(1, 5))
    masks = x % 2, y % 2, (x + y) % 2, rng.random((size, size)) < rng.random()
    mask = np.asarray(masks[int(rng.integers(4))], bool)
    dark, light = (np.array(_colour(rng), np.uint8) for _ in range(2))
    return np.where(mask[..., None], dark, light)


def _gradient(rng: np.random.Generator, size: int) -> Pixels:
    direction = rng.normal(size=2)
    y, x = np.mgrid[:size, :size] / size
    share = (direction[0] * y + direction[1] * x)[..., None]
    share = (share - share.min()) / np.ptp(share)
    first, last = (np.array(_colour(rng), float) for _ in range(2))
    picture: Pixels = np.rint(first + share * (last - first)).astype(np.uint8)
    return picture
