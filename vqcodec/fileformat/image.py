"""What happens to a Pillow image before it is coded and after: its pixels, modes and alpha.

Every image becomes 8-bit sRGB pixels, upright; whatever is changed on the way without being asked
for is said in a note. The policy is on one screen, in `prepare`; the functions below it are its
steps in the same order.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from vqcodec.errors import CorruptError, ImageError
from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat import metadata, plugins
from vqcodec.fileformat.colour import lab_to_rgb, may_stay, to_srgb
from vqcodec.fileformat.colour_space import ColourSpace, described
from vqcodec.fileformat.container import ChunkTag, check_size
from vqcodec.fileformat.formats import readable
from vqcodec.fileformat.headers import bits
from vqcodec.fileformat.hidden import fill_hidden

Pixels = NDArray[np.uint8]
ImageLike = Image.Image | Pixels

_OPAQUE = 255
# The ranges that the values of a mode may be meant in: the first that holds them all is taken.
_SPANS = {"I;16": (65535.0,), "I": (255.0, 65535.0), "F": (1.0, 255.0)}
_OVERSHOOT = 0.15  # of floating-point values: resampling and sharpening leave their range so far


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image as the model takes it, and what the file keeps beside it.

    pixels: uint8 [H, W, 3], not to be written to; R = G = B if `gray`. alpha: uint8 [H, W] or None.
    icc: profile of the pixels, None for sRGB. exif: TIFF structure without prefix, or None. xmp:
    packet in UTF-8, or None. notes: what was converted or left out, each a phrase for the user.
    alpha_chunk: the chunk that keeps alpha, where it has been made. in_profile: whether the pixels
    were left in the colours of `icc`, which they need then.
    """

    pixels: Pixels
    gray: bool
    alpha: Pixels | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    notes: list[str]
    alpha_chunk: tuple[ChunkTag, bytes] | None = None
    in_profile: bool = False


def open_image(data: bytes) -> Image.Image:
    """The image in a file's bytes, its pixels not read yet; raises ImageError if it is none."""
    plugins.register()
    try:
        return Image.open(io.BytesIO(data), formats=readable())
    except UnidentifiedImageError:
        known = plugins.missing(data)
        raise ImageError(known or "not an image that Pillow can read") from None
    except Exception as error:  # Of pixels beyond Pillow's limit, and of plugins whatever it is.
        raise ImageError(f"the image cannot be read: {error}") from error


def prepare(
    image: ImageLike, strip: Collection[str] = (), *, keep_profile: bool = False
) -> Prepared:
    """Bring any Pillow image into the form that is coded; `image` keeps its own pixels.

    Also a uint8 array, `[H, W]` (gray), `[H, W, 3]` (RGB) or `[H, W, 4]` (RGBA). `strip` names
    metadata that are not wanted, of `metadata.STRIPPABLE`. With `keep_profile` colours stay in
    those of a matrix profile. Raises TypeError for anything else, TooLargeError, ImageError for an
    image that is empty or cannot be read.
    """
    if not isinstance(keep_profile, bool):
        raise TypeError(f"keep_profile is True or False, not {type(keep_profile).__name__}")
    image = _as_pillow(image)
    notes: list[str] = []
    if 0 in image.size:
        raise ImageError(f"{image.width}x{image.height}: an image without pixels")
    check_size(*image.size)
    try:
        _note_what_is_lost_on_loading(image, notes)
        space = described(image, notes)
        metadata.load(image)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data.
        raise ImageError(f"the image cannot be read: {error}") from error
    metadata.note_what_is_left_out(image, notes)
    # LAB needs no profile to be understood, and its own would not fit the RGB it becomes.
    icc: bytes | None = None
    if image.mode != "LAB" and space is None:
        icc = image.info.get("icc_profile") or None
    upright, kept = metadata.upright(image, strip, notes)
    kind = _deep_kind(upright)
    if kind is None:
        colour, alpha = _as_seen(*_split_alpha(upright, notes))
        colour = colour if space is None else space.to_srgb(colour, notes)
    else:
        colour, alpha = _as_seen(*_reduce_deep(upright, kind, space, notes))
    in_profile = keep_profile and icc is not None and may_stay(colour, icc, notes)
    if not in_profile:
        colour, icc = to_srgb(colour, icc, notes, keep_unusable="icc" not in strip)
    pixels = np.asarray(colour)
    gray = pixels.ndim == 2
    if gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return Prepared(pixels, gray, alpha, icc, kept.exif, kept.xmp, notes, in_profile=in_profile)


def assemble(pixels: Pixels, *, gray: bool = False, alpha: Pixels | None = None) -> Image.Image:
    """The image of mode L, LA, RGB or RGBA from its decoded parts, shaped as in `Prepared`."""
    image = Image.fromarray(pixels)
    if gray:
        image = image.convert("L")
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


def info_of(chunks: Mapping[ChunkTag, bytes]) -> dict[str, Any]:
    """The entries of `Image.info` for what a file keeps beside its pixels."""
    info: dict[str, Any] = {}
    if ChunkTag.ICC in chunks:
        info["icc_profile"] = chunks[ChunkTag.ICC]
    if ChunkTag.XMP in chunks:
        info["xmp"] = chunks[ChunkTag.XMP]
    if ChunkTag.EXIF in chunks:
        info["exif"] = exifs.PREFIX + chunks[ChunkTag.EXIF]
        with suppress(ValueError):  # a file may hold what is no EXIF
            dpi = exifs.resolution(chunks[ChunkTag.EXIF])
            if dpi is not None:
                info["dpi"] = dpi
    return info


def chunks_of(prepared: Prepared) -> dict[ChunkTag, bytes]:
    """Return what a file of a prepared image keeps beside its pixels."""
    parts = {
        ChunkTag.ICC: prepared.icc,
        ChunkTag.EXIF: prepared.exif,
        ChunkTag.XMP: prepared.xmp,
    }
    chunks = {tag: data for tag, data in parts.items() if data is not None}
    if prepared.alpha is not None:
        tag, data = prepared.alpha_chunk or (ChunkTag.ALPHA, encode_alpha(prepared.alpha))
        chunks[tag] = data
    return chunks


def encode_alpha(alpha: Pixels) -> bytes:
    """The ALPHA chunk for uint8 [H, W]: a PNG."""
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
    # Pillow has no colour of more than 8 bits: its decoders keep the high ones.
    depth = bits(image)
    if _deep_kind(image) is None and depth > 8:
        notes.append(f"{depth} bits a channel reduced to 8")


def _deep_kind(image: Image.Image) -> str | None:
    """I;16 whatever its byte order, I, F, or None for a mode of 8 bits."""
    kind = image.mode[:4]
    return kind if kind in _SPANS else None


def _split_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Pixels | None]:
    """Colour, of mode L, RGB or CMYK, and opacity if the image has any."""
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
    return colour, alpha


def _as_seen(colour: Image.Image, alpha: Pixels | None) -> tuple[Image.Image, Pixels | None]:
    """The same picture without what nobody sees: colours under alpha 0, alpha that is all opaque.

    An image without colours is one of mode L.
    """
    if alpha is not None and (alpha == _OPAQUE).all():
        alpha = None
    if alpha is not None:
        colour = fill_hidden(colour, alpha)
    if colour.mode == "RGB":
        red, green, blue = np.moveaxis(np.asarray(colour), -1, 0)
        if np.array_equal(red, green) and np.array_equal(green, blue):
            colour = colour.getchannel("R")
    return colour, alpha


def _reduce_deep(
    image: Image.Image, kind: str, space: ColourSpace | None, notes: list[str]
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
    span = next((s for s in _SPANS[kind] if _is_meant(kind, s, low, high)), None)
    if span is None:
        notes.append(f"{kind} gray stretched from {low:g}..{high:g} to 8 bits")
        span = high - low or 1.0
        values -= low
    else:
        clipped = "" if 0 <= low <= high <= span else f", values from {low:g} to {high:g} clipped"
        notes.append(f"{kind} gray of 0..{span:g} reduced to 8 bits{clipped}")
    if space is not None:
        values = span * space.gray_to_srgb(values / span, notes)
    values *= 255.0 / span
    np.clip(np.rint(values, out=values), 0, 255, out=values)
    return Image.fromarray(values.astype(np.uint8)), alpha


def _is_meant(kind: str, span: float, low: float, high: float) -> bool:
    """Whether values from `low` to `high` are meant in the range of 0 to `span`."""
    if kind != "F":
        return low >= 0 and high <= span
    # Bright images of 0..1 go far beyond it, and would be black as images of 0..255.
    filled = span == _SPANS[kind][0] or high >= span / 4
    return filled and low >= -_OVERSHOOT * span and high <= (1 + _OVERSHOOT) * span
