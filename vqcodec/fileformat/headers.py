"""What Pillow passes over in the headers of files: code points of colour, and bits of a channel.

Images that have been loaded have let go of their file: of them nothing is known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from PIL import Image

_PNG_SIGNATURE_SIZE = 8
_JPEG2000_START = b"\xff\x4f\xff\x51"
_JPEG2000_DEPTH = 42  # bytes from there to the depth of the first channel
_HEAD_SIZE = 1 << 16  # in which a JPEG 2000 codestream begins


class CodePoints(NamedTuple):
    """Primaries and transfer function by ITU-T H.273, and what says so."""

    primaries: int
    transfer: int
    source: str


def code_points(image: Image.Image) -> CodePoints | None:
    """Those of a PNG, AVIF or HEIF file, None where it has none, or none that RGB can have."""
    if image.format == "PNG":
        points = _png_chunk(image, b"cICP")
        # RGB has no matrix, and the range from 0 to 255 is the full one.
        if len(points) == 4:
            return CodePoints(points[0], points[1], "cICP") if points[2:] == b"\0\1" else None
    if image.format == "AVIF":
        _, found, box = _meta_box(image).partition(b"colrnclx")
        if found and len(box) >= 4:
            primaries, transfer = struct.unpack_from(">HH", box)
            return CodePoints(primaries, transfer, "nclx")
    if nclx := image.info.get("nclx_profile"):  # by pillow-heif
        primaries, transfer = nclx["color_primaries"], nclx["transfer_characteristics"]
        return CodePoints(int(primaries), int(transfer), "nclx")
    return None


def bits(image: Image.Image) -> int:
    """Bits of a channel in the file, as far as more than 8 are known."""
    depth = max((_bits_of_tile(tile) for tile in getattr(image, "tile", ())), default=8)
    if image.format == "AVIF":
        _, found, box = _meta_box(image).partition(b"av1C")
        if found and len(box) > 2 and box[2] & 0x40:
            depth = 12 if box[2] & 0x20 else 10
    elif image.format == "JPEG2000":
        with _at_start(image) as fp:
            head = fp.read(_HEAD_SIZE) if fp else b""
        place = head.find(_JPEG2000_START) + _JPEG2000_DEPTH
        if place >= _JPEG2000_DEPTH and place < len(head):
            depth = (head[place] & 0x7F) + 1
    return max(depth, int(image.info.get("bit_depth", 8)))  # the latter by pillow-heif


def _bits_of_tile(tile: tuple[str, object, int, object]) -> int:
    codec, _, _, arguments = tile
    if ";16" in str(arguments) or codec == "SGI16":
        return 16
    # The arguments are a mode and the largest value.
    if codec in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
        return int(arguments[-1]).bit_length()
    return 8


@contextmanager
def _at_start(image: Image.Image) -> Iterator[IO[bytes] | None]:
    """The file of an image that is not loaded yet; it stands where it stood afterwards."""
    fp = getattr(image, "fp", None)
    if fp is None:
        yield None
        return
    place = fp.tell()
    fp.seek(0)
    try:
        yield fp
    finally:
        fp.seek(place)


def _png_chunk(image: Image.Image, name: bytes) -> bytes:
    """The data of a chunk before the pixels, empty if there is none."""
    with _at_start(image) as fp:
        if fp is None:
            return b""
        fp.seek(_PNG_SIGNATURE_SIZE)
        while len(head := fp.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == name:
                return fp.read(min(size, _HEAD_SIZE))
            if kind == b"IDAT":
                break
            fp.seek(size + 4, 1)
        return b""


def _meta_box(image: Image.Image) -> bytes:
    """The box of an AVIF file that describes its pictures, empty if it is not found."""
    with _at_start(image) as fp:
        while fp is not None and len(head := fp.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"meta":
                return fp.read(min(size, _HEAD_SIZE))
            if size < 8:
                break
            fp.seek(size - 8, 1)
        return b""
