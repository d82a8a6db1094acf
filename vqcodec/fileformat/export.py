"""A decoded image as a file of another format, and what that format has no room for."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from vqcodec.errors import ImageError
from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat import xmp

# Pillow's defaults for the formats that lose something throw away more than the codec did.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95},
    "HEIF": {"quality": 95, "chroma": 444},
    "JPEG": {"quality": 95, "subsampling": 0},
    "JXL": {"quality": 95},
    "MPO": {"quality": 95, "subsampling": 0},
    "PDF": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}
# Their writers take an Orientation out of EXIF, and write it anew where there is one.
_TURNING = ("AVIF",)
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}
# Of Pillow's writers and of its plugins'.
_ERRORS = (OSError, ValueError, TypeError, NotImplementedError, struct.error, OverflowError)


def save(image: Image.Image, image_format: str) -> tuple[bytes, list[str]]:
    """The image in a format that Pillow writes, with its metadata, and in words what is lost.

    Raises ImageError if the format cannot hold the picture itself.
    """
    kept = {key: image.info[key] for key in (*_NAMES, "dpi") if key in image.info}
    notes = []
    try:
        data = _written(image, image_format, kept)
    except _ERRORS:
        # The picture matters more: what does not go in is found out one by one.
        given, kept = kept, {}
        try:
            data = _written(image, image_format, kept)
        except _ERRORS as error:
            raise ImageError(f"{image_format} cannot hold this image: {error}") from error
        for key, value in given.items():
            try:
                data = _written(image, image_format, kept | {key: value})
                kept[key] = value
            except _ERRORS as error:
                notes.append(f"{_NAMES.get(key, key)} left out ({error})")
    there = _metadata_in(data, image_format)
    if kept.get("xmp", b"") in data:  # not all that write it read it
        there.add("xmp")
    lost = [name for key, name in _NAMES.items() if key in kept and key not in there]
    if lost:
        notes.append(f"{', '.join(lost)} left out: {image_format} has no room for it")
    if "exif" in kept and "exif" in there:
        notes.extend(_note_on_rewriting(exifs.without_prefix(kept["exif"]), data, image_format))
    return data, notes


def _written(image: Image.Image, image_format: str, metadata: dict[str, Any]) -> bytes:
    options = metadata | _SAVE_OPTIONS.get(image_format, {})
    if image_format in _TURNING and "exif" in options:
        with suppress(ValueError):  # it is no EXIF, which is for the writer to say
            own = exifs.without_orientation(exifs.without_prefix(options["exif"]))
            options["exif"] = exifs.PREFIX + own
    packet = options.get("xmp")
    if packet is not None and image_format == "PNG":
        options["pnginfo"] = text = PngImagePlugin.PngInfo()
        text.add_itxt(xmp.PNG_KEYWORD, packet.decode())
    elif packet is not None and image_format == "TIFF":
        # Without an orientation of its own, Pillow would turn it by that in XMP.
        options["tiffinfo"] = {xmp.TIFF_TAG: packet, ExifTags.Base.Orientation: 1}
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def _metadata_in(data: bytes, image_format: str) -> set[str]:
    """Which of the metadata that are passed on are read from a file again."""
    if image_format not in Image.OPEN:
        return set()
    try:
        with Image.open(io.BytesIO(data), formats=[image_format]) as image:
            found = {key for key in ("icc_profile", "exif") if image.info.get(key)}
            if image.getexif():
                found.add("exif")
            return found
    except (UnidentifiedImageError, ValueError):
        return set()


def _note_on_rewriting(exif: bytes, data: bytes, image_format: str) -> list[str]:
    """Say what may be lost where a writer did not take EXIF as it is."""
    with suppress(ValueError):
        whole = exifs.without_orientation(exif) if image_format in _TURNING else exif
        if whole not in data and (parts := exifs.fragile_parts(exif)):
            return [f"EXIF written anew, which may harm its {' and '.join(parts)}"]
    return []
