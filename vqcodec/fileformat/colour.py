"""Colour management: from the space an ICC profile describes to sRGB, by Pillow's Little CMS."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from vqcodec.errors import ImageError

# Two sRGB profiles by different makers differ by a code value or two; other spaces by dozens.
_SRGB_TOLERANCE = 2
# Modes of images by the colour space of a profile.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def lab_to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """RGB from CIE L*a*b*; ImageError where Pillow was built without colour management."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        rgb = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, ImportError) as error:
        raise ImageError(f"LAB cannot be converted: {error}") from error
    notes.append("LAB converted to RGB")
    assert rgb is not None
    return rgb


def to_srgb(
    colour: Image.Image, icc: bytes | None, notes: list[str], *, keep_unusable: bool = True
) -> tuple[Image.Image, bytes | None]:
    """Colour of mode L or RGB in sRGB from that of mode L, RGB or CMYK.

    Also the profile if it could not be carried out, still holds and is to be kept; None means sRGB.
    What was done is added to `notes`.
    """
    cmyk = colour.mode == "CMYK"
    if icc is not None:
        try:
            return _through_profile(colour, icc, notes), None
        except (ImageCms.PyCMSError, OSError, ValueError, ImportError) as error:
            # A file of another space than its profile's is refused by many who read it.
            if keep_unusable and _MODES.get(_space(icc)) == colour.mode != "CMYK":
                notes.append(f"ICC profile kept, it cannot be converted ({error})")
                return colour, icc
            notes.append(f"ICC profile left out, it cannot be converted ({error})")
    if cmyk:
        notes.append("CMYK converted to RGB without a profile")
        colour = colour.convert("RGB")
    return colour, None


def may_stay(colour: Image.Image, icc: bytes, notes: list[str]) -> bool:
    """Tell whether colours may stay as they are, with their profile.

    That is one of a matrix and curves for images of this mode: the codec's errors are as large to
    the eye there as in sRGB, and any reader carries it out. Why not is added to `notes`; of a
    profile that cannot be used `to_srgb` says what becomes of it.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if _MODES.get(_space(icc)) != colour.mode:
            notes.append(
                f"ICC profile not kept: it is for {_space(icc)}, the image is {colour.mode}"
            )
            return False
        if not profile.profile.is_matrix_shaper:
            notes.append("ICC profile not kept: it has tables for a matrix")
            return False
        ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), colour.mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, ImportError):
        return False
    return True


def _space(icc: bytes) -> str:
    """The colour space that a profile's header names."""
    return icc[16:20].decode("latin-1").strip()


def _through_profile(colour: Image.Image, icc: bytes, notes: list[str]) -> Image.Image:
    """Colour from its profile to sRGB; the same image if the profile is sRGB.

    Raises ImageCms.PyCMSError, OSError, ValueError for a profile that cannot be used.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    space = profile.profile.xcolor_space.strip()
    mode = _MODES.get(space, "")
    # Gray images with an RGB profile are common and make sense: the profile's neutral axis.
    if mode != colour.mode and (colour.mode, mode) != ("L", "RGB"):
        raise ValueError(f"it is for {space}, the image is {colour.mode}")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def convert(image: Image.Image) -> Image.Image:
        rgb = ImageCms.applyTransform(image.convert(mode), transform)
        assert rgb is not None
        return rgb.convert("L") if image.mode == "L" else rgb

    if colour.mode != "CMYK":
        probe = _probe(colour.mode)
        change = np.abs(np.asarray(convert(probe)).astype(int) - np.asarray(probe).astype(int))
        if change.max() <= _SRGB_TOLERANCE:
            return colour
    name = ImageCms.getProfileDescription(profile).strip()
    notes.append(f"{'CMYK' if mode == 'CMYK' else 'colours'} converted from '{name}' to sRGB")
    return convert(colour)


def _probe(mode: str) -> Image.Image:
    """An image of mode L or RGB whose pixels sample all colours."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(cube.reshape(-1, 9, 3))
