"""What is done to a photograph for `benchmarks.anomaly`: functions of it and of a seed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

# (picture, another photograph of its size, random numbers) -> the picture with something done to it
Corruption = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
NOISE = 4.0  # standard deviation in grey levels
JPEG_QUALITY = 50
PATCHES = 4  # of a side in one of which a foreign patch is pasted


def tampered(picture: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paste the middle of another photograph, a sixteenth of the area, somewhere."""
    side = picture.width // PATCHES
    left, upper = (int(rng.integers(picture.width - side + 1)) for _ in range(2))
    corner = (other.width - side) // 2
    forged = picture.copy()
    forged.paste(other.crop((corner, corner, corner + side, corner + side)), (left, upper))
    return forged


def noisy(picture: Image.Image, _: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add white noise."""
    pixels = np.array(picture, float)
    return _image(pixels + rng.normal(0, NOISE, pixels.shape))


def upscaled(picture: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    """Halve the resolution, and double it again by bicubic interpolation."""
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    return half.resize(picture.size, Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image, _: Image.Image, __: np.random.Generator) -> Image.Image:
    """Save as JPEG, and read that."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return Image.open(stream).convert("RGB")


def synthetic(picture: Image.Image, _: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make a texture of the picture's own spectrum and colours, with phases drawn at random.

    Random phase noise (Galerne, Gousseau & Morel 2011): one shift of phase for all three channels.
    """
    pixels = np.array(picture, float)
    noise = np.fft.fft2(rng.normal(size=pixels.shape[:2]))
    mean = pixels.mean((0, 1))
    spectrum = np.fft.fft2(pixels - mean, axes=(0, 1)) * (noise / np.abs(noise))[:, :, None]
    return _image(np.fft.ifft2(spectrum, axes=(0, 1)).real + mean)


CORRUPTIONS: Mapping[str, Corruption] = {
    "tampered": tampered,
    "noisy": noisy,
    "upscaled": upscaled,
    "recompressed": recompressed,
    "synthetic": synthetic,
}


def _image(pixels: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
