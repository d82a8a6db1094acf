"""What a picture's file says beside its pixels: what of it is kept, stripped, or left out aloud.

EXIF and XMP are kept byte for byte but for an orientation that has been carried out; a resolution
is kept as EXIF. All else has no place in a .vqc file, and a note says so.
"""

from __future__ import annotations

import binascii
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat import xmp as xmps

STRIPPABLE = ("exif", "xmp", "icc", "gps", "all")
NO_RESOLUTION = 72  # what EXIF says where it is not known, and most programs without being asked
_INCH = 2  # as a unit of resolution
_MAX_DPI = 65535  # JFIF has no room for more

# The tags of a TIFF file that describe the photograph and not the file's own layout.
_DESCRIPTIVE_TAGS = (
    ExifTags.Base.DocumentName,
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.Copyright,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords,
    ExifTags.Base.XPSubject,
)
_DESCRIPTIVE_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IPTC_RESOURCE = 0x0404  # among those of Photoshop
_TIFF_IPTC, _TIFF_PHOTOSHOP, _TIFF_GEO = 33723, 34377, 34735
_RAW_PROFILE = "Raw profile type "  # how ImageMagick names metadata in the text of a PNG
# What application segments of a JPEG hold, by their number and first bytes.
_JPEG_SEGMENTS = (
    ("APP1", b"http://ns.adobe.com/xmp/extension/", "XMP beyond its first segment"),
    ("APP2", b"FPXR", "FlashPix data"),
    ("APP11", b"JP", "content credentials (JUMBF)"),
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """A TIFF structure of EXIF, without prefix, and an XMP packet; None for what there is not."""

    exif: bytes | None
    xmp: bytes | None


def parse_strip(text: str, *, keep_profile: bool = False) -> frozenset[str]:
    """The names in a list such as "gps,xmp".

    Raises ValueError for one that is not in STRIPPABLE, and for icc if the profile is to be kept.
    """
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(names.difference(STRIPPABLE)):
        raise ValueError(f"cannot strip {unknown[0]!r}, only {', '.join(STRIPPABLE)}")
    names = frozenset(STRIPPABLE) if "all" in names else names
    if keep_profile and "icc" in names:
        raise ValueError("the profile is to be kept and to be stripped: one of them")
    return names


def load(image: Image.Image) -> None:
    """Read the pixels, turned by no more than the file's own orientation.

    Pillow turns TIFF as it loads it, and by the orientation in XMP where the file has none.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None or ExifTags.Base.Orientation in tags or "xmp" not in image.info:
        image.load()
        return
    packet = image.info.pop("xmp")
    try:
        image.getexif().pop(ExifTags.Base.Orientation, None)
        image.load()
    finally:
        image.info["xmp"] = packet


def upright(
    image: Image.Image, strip: Collection[str], notes: list[str]
) -> tuple[Image.Image, Metadata]:
    """The loaded image with its EXIF orientation carried out, and what then is kept of metadata."""
    exif, orientation = _exif(image, notes)
    if orientation != 1:
        image = image.transpose(_TRANSPOSE[orientation])
    packet = _xmp(image, turned=orientation != 1, notes=notes)
    if "exif" in strip:
        exif = None
    elif exif is not None:
        _note_on_resolution(exif, image, notes)
    if "xmp" in strip:
        packet = None
    if "gps" in strip:
        exif, packet = _without_gps(exif, packet, notes)
    return image, Metadata(exif, packet)


def note_what_is_left_out(image: Image.Image, notes: list[str]) -> None:
    """Name what a loaded image has that no .vqc file holds."""
    notes.extend(f"{what} left out" for what in _left_out(image))


def _exif(image: Image.Image, notes: list[str]) -> tuple[bytes | None, int]:
    """EXIF of an upright picture, and the orientation that has to be carried out for it."""
    try:
        data = image.info.get("exif") or _raw_profile(image, "exif", "APP1")
        orientation = 1
        if data is not None:
            data = exifs.without_prefix(data)
            if not _is_turned(image):
                orientation = exifs.orientation(data)
            if not exifs.says_nothing(data):
                return exifs.turned_upright(data), orientation
        described = _descriptive(image.getexif(), _dpi(image))
        if not described:
            return None, orientation
        anew = exifs.without_prefix(described.tobytes())
        if parts := exifs.fragile_parts(anew):
            notes.append(f"EXIF written anew, which may harm its {' and '.join(parts)}")
        return anew, orientation
    except Exception as error:  # Pillow raises nearly anything on damaged EXIF.
        notes.append(f"unreadable EXIF left out ({error})")
        return None, 1


def _is_turned(image: Image.Image) -> bool:
    """Whether its decoder turned it already: JPEG XL has an orientation of its own.

    Where a JPEG is made of it first, pillow-jxl-plugin gives that as it is.
    """
    return image.format == "JXL" and not getattr(image, "jpeg", False)


def _descriptive(exif: Image.Exif, dpi: tuple[float, float] | None) -> Image.Exif:
    """The part of a TIFF file's tags that makes sense outside it, and a resolution in dpi."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for ifd in _DESCRIPTIVE_IFDS:
        if content := exif.get_ifd(ifd):
            kept[ifd] = content
    if dpi is not None:
        kept[ExifTags.Base.XResolution], kept[ExifTags.Base.YResolution] = dpi
        kept[ExifTags.Base.ResolutionUnit] = _INCH
    return kept


def _raw_profile(image: Image.Image, *names: str) -> bytes | None:
    """Metadata in the text of a PNG: a name, a size and hexadecimal digits."""
    for name in names:
        if text := image.info.get(_RAW_PROFILE + name):
            return binascii.unhexlify("".join(str(text).split()[2:]))
    return None


def _xmp(image: Image.Image, *, turned: bool, notes: list[str]) -> bytes | None:
    try:
        packet = xmps.read(image) or _raw_profile(image, "xmp")
    except ValueError as error:
        notes.append(f"unreadable XMP left out ({error})")
        return None
    return xmps.turned_upright(packet) if packet and turned else packet


def _note_on_resolution(exif: bytes, image: Image.Image, notes: list[str]) -> None:
    """Say so where EXIF does not tell the resolution that stands elsewhere in the file."""
    dpi, told = _dpi(image), exifs.resolution(exif)
    if dpi is None or (told and np.allclose(dpi, told, rtol=0.01)):
        return
    why = "says otherwise" if told else "has no room for it"
    notes.append(f"resolution of {dpi[0]:g} x {dpi[1]:g} dpi left out: EXIF {why}")


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, across and down, as Pillow has them; None where they tell nothing."""
    try:
        # PNG counts in whole pixels per metre, which is off by 0.013 dpi at most.
        across, down = (
            float(round(value) if abs(value - round(value)) < 0.02 else value)
            for value in image.info["dpi"]
        )
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    # Of 1 is what some writers of TIFF put where they do not know.
    told = 1 < min(across, down) <= max(across, down) <= _MAX_DPI
    return (across, down) if told and not across == down == NO_RESOLUTION else None


def _without_gps(
    exif: bytes | None, packet: bytes | None, notes: list[str]
) -> tuple[bytes | None, bytes | None]:
    try:
        exif = exif and exifs.without_gps(exif)
    except ValueError as error:
        notes.append(f"EXIF left out: its GPS cannot be taken out ({error})")
        exif = None
    try:
        packet = packet and xmps.without_gps(packet)
    except ValueError as error:
        notes.append(f"XMP left out: its GPS cannot be taken out ({error})")
        packet = None
    return exif, packet


def _left_out(image: Image.Image) -> Iterator[str]:
    info = image.info
    if texts := sorted(key for key in getattr(image, "text", {}) if not _is_known_text(key)):
        yield f"PNG text ({', '.join(texts)})"
    if info.get("comment"):
        yield "comment"
    tags = getattr(image, "tag_v2", {})
    photoshop = info.get("photoshop", ())
    if _IPTC_RESOURCE in photoshop or _TIFF_IPTC in tags:
        yield "IPTC"
    elif photoshop or _TIFF_PHOTOSHOP in tags:
        yield "Photoshop's data"
    if _TIFF_GEO in tags:
        yield "GeoTIFF data"
    packet = info.get("xmp") or b""
    if "mp" in info and getattr(image, "n_frames", 1) == 1:
        yield "gain map" if b"hdrgm:" in packet else "further pictures (MPF)"
    if b'MotionPhoto="1"' in packet or b'MicroVideo="1"' in packet:
        yield "video of a motion photo"
    segments = getattr(image, "applist", ())
    for number, first, what in _JPEG_SEGMENTS:
        if any(name == number and data.startswith(first) for name, data in segments):
            yield what
    if "aspect" in info and info["aspect"][0] != info["aspect"][1]:
        yield f"pixel aspect ratio {info['aspect'][0]}:{info['aspect'][1]}"


def _is_known_text(key: str) -> bool:
    """Whether the text of a PNG with this keyword is read as EXIF or XMP."""
    return key in (
        xmps.PNG_KEYWORD, *(_RAW_PROFILE + name for name in ("exif", "APP1", "xmp"))
    )  # fmt: skip
