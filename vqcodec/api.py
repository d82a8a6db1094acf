"""The library's functions: a codec is loaded when it is first needed, and kept.

Nothing here imports torch before that. Images are those of Pillow or uint8 arrays `[H, W]`,
`[H, W, 3]` or `[H, W, 4]`, files any bytes-like object; anything else is a TypeError.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vqcodec import weights
from vqcodec.codec import target as targets
from vqcodec.codec.looks import FAITHFUL
from vqcodec.errors import UnknownModelError, VqcError, warn
from vqcodec.fileformat import truncate as truncation
from vqcodec.fileformat.container import (
    MAX_PIXELS,
    VERSION,
    BytesLike,
    as_bytes,
    read_header,
    read_preamble,
    unpack,
)
from vqcodec.forks import ForkSafeLock

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from vqcodec.codec.codec import Codec
    from vqcodec.codec.tiles import Region
    from vqcodec.codec.tokens import Tokens
    from vqcodec.fileformat.image import ImageLike

_loading = ForkSafeLock()


@dataclass(frozen=True)
class FileInfo:
    """What a .vqc file holds.

    bytes: of the whole file. version: of the format. model_id: hexadecimal; model: its name, None
    for weights that are not installed. width, height: in pixels. gray, cut, quality: as in the
    header. chunks: name and bytes of what it keeps beside the picture. stream_bytes: of the
    indices. bpp: bits per pixel of the whole file. sound: whether it is free of damage; damage:
    what is wrong with it, or None.
    """

    bytes: int
    version: int
    model_id: str
    model: str | None
    width: int
    height: int
    gray: bool
    cut: bool
    quality: int
    chunks: dict[str, int]
    stream_bytes: int
    bpp: float
    sound: bool
    damage: str | None


def encode(
    image: ImageLike,
    *,
    quality: int | None = None,
    max_bytes: int | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    ssimulacra2: float | None = None,
    alpha_quality: int | None = None,
    tune: str | None = None,
    model: str | Path | None = None,
    strip: str = "",
    keep_profile: bool = False,
    device: str = "auto",
) -> bytes:
    """Return `image` as the bytes of a .vqc file.

    At a quality of 1..100 (50), or as good as can be in `max_bytes` bytes or `bpp` bits per pixel,
    or as small as can be with a PSNR of `psnr` dB or an SSIMULACRA2 score of `ssimulacra2`, which
    takes the package of that name: one of them. Alpha is kept without loss, unless it is smaller at
    an `alpha_quality` of 1..100. `tune` ("ssim", or "psnr", which psnr= implies) chooses one of the
    models that came with the package, `model` names one, or a weights file. `strip` lists metadata
    to leave out, such as "gps" or "exif,xmp" (also "icc" and "all"). Colours become sRGB; with
    `keep_profile` they stay in those of an ICC profile that is a matrix and curves (Display P3,
    Adobe RGB), which is kept. `device` is "cpu", "cuda", "cuda:N", "mps" or "auto". What of the
    image is converted or left out, and that the file falls short of the PSNR or score, is a
    VqcWarning.

    Raises ImageError, TooLargeError, TargetError (no file is as small, or SSIMULACRA2 cannot be
    measured), ModelError; TypeError and ValueError for arguments that make no sense.
    """
    from vqcodec.fileformat.image import prepare
    from vqcodec.fileformat.metadata import parse_strip

    target = targets.Target(quality, max_bytes, bpp, psnr, ssimulacra2, alpha_quality)
    chosen = weights.choose(tune, model, psnr)
    prepared = prepare(
        image, parse_strip(strip, keep_profile=keep_profile), keep_profile=keep_profile
    )
    data, notes = targets.encode_prepared(load_codec(chosen, device), prepared, target)
    warn(prepared.notes + notes)
    return data


def decode(
    data: BytesLike,
    *,
    region: Region | None = None,
    scale: int = 1,
    partial: bool = False,
    max_pixels: int = MAX_PIXELS,
    look: str = FAITHFUL,
    device: str = "auto",
) -> Image.Image:
    """Return the image of a .vqc file, by the model that it names; see :meth:`Codec.decode`.

    Raises also UnknownModelError for weights that are not installed: load them as a Codec.
    """
    data = as_bytes(data)
    targets.check("max_pixels", max_pixels)
    header, _ = read_header(data, max_pixels=max_pixels)
    return codec_of(header.model_id, device).decode(
        data, region=region, scale=scale, partial=partial, max_pixels=max_pixels, look=look
    )


def info(data: BytesLike) -> FileInfo:
    """Return what a .vqc file holds, without decoding it.

    Damage after its chunks is told; before, it is an error: NotVqcError, UnsupportedVersionError,
    TruncatedError, CorruptError, TooLargeError.
    """
    data = as_bytes(data)
    preamble = read_preamble(io.BytesIO(data), partial=True)
    header = preamble.header
    damage = None
    try:
        unpack(data)
    except VqcError as error:
        damage = str(error)
    model = None
    with suppress(UnknownModelError):
        model = weights.find_id(header.model_id).name
    return FileInfo(
        bytes=len(data),
        version=VERSION,
        model_id=header.model_id.hex(),
        model=model,
        width=header.width,
        height=header.height,
        gray=header.gray,
        cut=header.cut,
        quality=header.quality,
        chunks={tag.name.lower(): len(chunk) for tag, chunk in preamble.chunks.items()},
        stream_bytes=preamble.stream_size,
        bpp=round(8 * len(data) / (header.width * header.height), 4),
        sound=damage is None,
        damage=damage,
    )


def truncate(data: BytesLike, max_bytes: int) -> bytes:
    """Return a .vqc file made coarser, so that it has at most `max_bytes` bytes.

    It is sound like any other; nothing is decoded. Metadata that had to go are a VqcWarning.

    Raises TargetError if no file is as small, with its alpha, and what `info` and `Codec.decode`
    raise for a damaged file.
    """
    targets.check("max_bytes", max_bytes)
    smaller, notes = truncation.truncate(data, max_bytes)
    warn(notes)
    return smaller


def tokenize(
    image: ImageLike,
    *,
    quality: int | None = None,
    tune: str | None = None,
    model: str | Path | None = None,
    device: str = "auto",
) -> Tokens:
    """Return the code indices of `image`; arguments and errors are those of `encode`."""
    return load_codec(weights.choose(tune, model), device).tokenize(image, quality=quality)


def render(tokens: Tokens, *, device: str = "auto") -> Image.Image:
    """Return the image that tokens stand for; see :meth:`Codec.render`."""
    from vqcodec.codec.tokens import Tokens

    if not isinstance(tokens, Tokens):
        raise TypeError(f"render takes Tokens, not {type(tokens).__name__}")
    return codec_of(tokens.model_id, device).render(tokens)


def load_codec(model: str | Path, device: str = "auto") -> Codec:
    """Return a loaded codec, which all threads share; ModelError if there is no such model."""
    with _loading:  # so that threads that come at once do not load it several times
        return _load(weights.find(model).path, device)


def codec_of(model_id: bytes, device: str = "auto") -> Codec:
    """Return the codec of a file's model; UnknownModelError if that is not installed."""
    return load_codec(weights.find_id(model_id).path, device)


@lru_cache(maxsize=4)
def _load(path: Path, device: str) -> Codec:
    from vqcodec.codec.codec import Codec

    return Codec.load(path, device)
