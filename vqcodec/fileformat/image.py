"""What happens to a Pillow image before it is coded and after: modes, alpha, metadata.

Every image becomes 8-bit sRGB pixels, upright; whatever is changed on the way without being asked
for is said in a note. The policy is on one screen, in `prepare`; the functions below it are its
steps in the same order.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from vqcodec.errors import CorruptError, ImageError
from vqcodec.fileformat.colour import lab_to_rgb, to_srgb
from vqcodec.fileformat.container import ChunkTag, check_size
from vqcodec.fileformat.formats import readable

Pixels = NDArray[np.uint8]
ImageLike = Image.Image | Pixels

_EXIF_PREFIX = b"Exif\0\0"
# The tags of a TIFF file that describe the photograph and not the file's own layout.
_DESCRIPTIVE_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_DESCRIPTIVE_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_OPAQUE = 255
# The ranges that the values of a mode may be meant in: the first that holds them all is taken.
_SPANS = {"I;16": (65535.0,), "I": (255.0, 65535.0), "F": (1.0, 255.0)}


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as the model takes it, and what the file keeps beside it.

    pixels: uint8 [H, W, 3], not to be written to; R = G = B if `gray`. alpha: uint8 [H, W] or None.
    icc: profile of the pixels, None for sRGB. exif: TIFF structure without prefix, or None.
    notes: what was converted or left out, each a phrase for the user.
    """

    pixels: Pixels
    gray: bool
    alpha: Pixels | None
    icc: bytes | None
    exif: bytes | None
    notes: list[str]


def open_image(data: bytes) -> Image.Image:
    """The image in a file's bytes, its pixels not read yet; raises ImageError if it is none."""
    try:
        return Image.open(io.BytesIO(data), formats=readable())
    except UnidentifiedImageError:
        raise ImageError("not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ImageError(str(error)) from error


def prepare(image: ImageLike) -> Prepared:
    """Bring any Pillow image into the form that is coded; `image` keeps its own pixels.

    Also a uint8 array, `[H, W]` (gray), `[H, W, 3]` (RGB) or `[H, W, 4]` (RGBA). Raises TypeError
    for anything else, TooLargeError, ImageError for an image that is empty or cannot be read.
    """
    image = _as_pillow(image)
    notes: list[str] = []
    if 0 in image.size:
        raise ImageError(f"{image.width}x{image.height}: an image without pixels")
    check_size(*image.size)
    try:
        _note_what_is_lost_on_loading(image, notes)
        image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data.
        raise ImageError(f"the image cannot be read: {error}") from error
    # LAB needs no profile to be understood, and its own would not fit the RGB it becomes.
    icc = image.info.get("icc_profile") if image.mode != "LAB" else None
    upright, exif = _upright(image, notes)
    colour, alpha = _split_alpha(upright, notes)
    colour, icc = to_srgb(colour, icc or None, notes)
    pixels = np.asarray(colour)
    gray = pixels.ndim == 2
    if gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return Prepared(pixels, gray, alpha, icc, exif, notes)


def assemble(
    pixels: Pixels,
    *,
    gray: bool = False,
    alpha: Pixels | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> Image.Image:
    """The image of mode L, LA, RGB or RGBA from its decoded parts, shaped as in `Prepared`."""
    image = Image.fromarray(pixels)
    if gray:
        image = image.convert("L")
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    image.info.update(metadata(icc, exif))
    return image


def metadata(icc: bytes | None, exif: bytes | None) -> dict[str, bytes]:
    """The entries of `Image.info` for a profile and an EXIF structure, either may be None."""
    info = {}
    if icc is not None:
        info["icc_profile"] = icc
    if exif is not None:
        info["exif"] = _EXIF_PREFIX + exif
    return info


def chunks_of(prepared: Prepared) -> dict[ChunkTag, bytes]:
    """Return what a file of a prepared image keeps beside its pixels."""
    alpha = None if prepared.alpha is None else encode_alpha(prepared.alpha)
    parts = {ChunkTag.ICC: prepared.icc, ChunkTag.EXIF: prepared.exif, ChunkTag.ALPHA: alpha}
    return {tag: data for tag, data in parts.items() if data is not None}


def encode_alpha(alpha: Pixels) -> bytes:
    """The ALPHA chunk for uint8 [H, W]: nothing if all is opaque, else a PNG."""
    if (alpha == _OPAQUE).all():
        return b""
    out = io.BytesIO()
    Image.fromarray(alpha).save(out, "PNG", optimize=True)
    return out.getvalue()


def decode_alpha(data: bytes, width: int, height: int) -> Pixels:
    """Opacity, uint8 [height, width], from an ALPHA chunk.

    Raises CorruptError, before the PNG is unpacked if its size or kind is not what it must be.
    """
    if not data:
        return np.full((height, width), _OPAQUE, np.uint8)
    try:
        # Not Image.open: its limit on pixels is no longer of use, the size is compared instead.
        png = PngImagePlugin.PngImageFile(io.BytesIO(data))
        # The mode is L for 2 and 4 bits too, and the size that of a frame for an animation; the
        # list of tiles tells all of them apart.
        kinds = [(tile.extents, tile.args) for tile in png.tile]
        if kinds == [((0, 0, width, height), "L")]:
            return np.array(png)
    except Exception as error:  # As in `prepare`.
        raise CorruptError(f"the alpha chunk cannot be read: {error}") from error
    raise CorruptError(
        f"alpha is {png.width}x{png.height} {png.mode}, not a {width}x{height} PNG of 8-bit gray"
    )


def _as_pillow(image: ImageLike) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    given = type(image).__name__
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
            return Image.fromarray(image)
        given = f"{image.dtype} {list(image.shape)}"
    raise TypeError(
        "an image is one of Pillow's or a uint8 array [H, W], [H, W, 3] or [H, W, 4], not " + given
    )


def _note_what_is_lost_on_loading(image: Image.Image, notes: list[str]) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"frame {image.tell() + 1} of {frames} kept, the others left out")
    # Pillow has no 16-bit RGB: its decoders keep the high bytes, and only the tile list knows.
    tiles = getattr(image, "tile", [])
    if _deep_kind(image) is None and any(";16" in str(tile[3]) for tile in tiles):
        notes.append("16 bits a channel reduced to 8")


def _upright(image: Image.Image, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """The image with its EXIF orientation carried out, and the EXIF that then holds for it."""
    try:
        exif = image.getexif()
        if exif.get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
            exif = image.getexif()
            # It is still there if its value had no meaning.
            exif.pop(ExifTags.Base.Orientation, None)
            data = exif.tobytes()
        elif "exif" in image.info:
            # Untouched bytes where possible: rewriting can harm maker notes.
            data = image.info["exif"]
        else:
            exif = _descriptive(exif)
            data = exif.tobytes()
        return image, data.removeprefix(_EXIF_PREFIX) if exif else None
    except Exception as error:  # As above: damaged EXIF raises nearly anything.
        notes.append(f"unreadable EXIF left out ({error})")
        return image, None


def _descriptive(exif: Image.Exif) -> Image.Exif:
    """The part of a TIFF file's tags that makes sense outside it."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for ifd in _DESCRIPTIVE_IFDS:
        if content := exif.get_ifd(ifd):
            kept[ifd] = content
    return kept


def _deep_kind(image: Image.Image) -> str | None:
    """I;16 whatever its byte order, I, F, or None for a mode of 8 bits."""
    kind = image.mode[:4]
    return kind if kind in _SPANS else None


def _split_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Pixels | None]:
    """Colour, of mode L, RGB or CMYK, and opacity if the image has any."""
    kind = _deep_kind(image)
    if kind is not None:
        return _reduce_deep(image, kind, notes)
    mode = image.mode
    if mode == "CMYK":
        return image, None
    if mode == "LAB":
        return lab_to_rgb(image, notes), None
    if mode == "1":
        notes.append("1-bit image coded as 8-bit gray")
    elif mode in ("P", "PA"):
        notes.append("palette expanded to 8 bits a channel")
    elif mode in ("YCbCr", "HSV"):
        notes.append(f"{mode} converted to RGB")

    target = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        colour, alpha = (image if mode == target else image.convert(target)), None
    else:
        *bands, opacity = image.convert(target + "A").split()
        colour, alpha = Image.merge(target, bands), np.array(opacity)
    if mode in ("P", "PA"):
        red, green, blue = colour.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            colour = red
    return colour, alpha


def _reduce_deep(
    image: Image.Image, kind: str, notes: list[str]
) -> tuple[Image.Image, Pixels | None]:
    """8-bit gray from 16-bit, 32-bit or floating-point gray.

    Values that no range of `_SPANS` holds are stretched from darkest to brightest.
    """
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = np.where(values == key, 0, _OPAQUE).astype(np.uint8)
    values = values.astype(np.float64)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    span = next((s for s in _SPANS[kind] if low >= 0 and high <= s), None)
    if span is None:
        notes.append(f"{kind} gray stretched from {low:g}..{high:g} to 8 bits")
        span = high - low or 1.0
        values -= low
    else:
        notes.append(f"{kind} gray of 0..{span:g} reduced to 8 bits")
    values *= 255.0 / span
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8)), alpha
