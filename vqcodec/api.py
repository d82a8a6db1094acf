"""The library's functions: a codec is loaded when it is first needed, and kept."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import Image

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.codec.tiles import Region
from vqcodec.entropy.prior import Indices
from vqcodec.fileformat.container import DEFAULT_QUALITY, MAX_PIXELS, read_header
from vqcodec.fileformat.image import prepare
from vqcodec.rate_control.targets import to_psnr, to_size


@lru_cache(maxsize=4)
def load_codec(model: str | Path = weights.DEFAULT, device: str = "auto") -> Codec:
    """Return a loaded codec, the same one each time."""
    return Codec.load(model, device)


def encode(
    image: Image.Image,
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> bytes:
    """Return `image` as the bytes of a .vqc file; see :meth:`Codec.encode`."""
    return load_codec(model, device).encode(image, quality)


def encode_to_size(
    image: Image.Image,
    max_bytes: int,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> bytes:
    """Return the best file of `image` of at most `max_bytes` bytes; see `vqcodec.rate_control`.

    Raises TargetError if there is none, and what :meth:`Codec.encode` raises.
    """
    return to_size(load_codec(model, device), prepare(image), max_bytes)[0]


def encode_to_psnr(
    image: Image.Image,
    psnr: float,
    *,
    model: str | Path = weights.TUNED["psnr"],
    device: str = "auto",
) -> bytes:
    """Return the smallest file of `image` whose picture has `psnr` dB, or that of quality 100.

    See `vqcodec.rate_control.targets`; raises what :meth:`Codec.encode` raises.
    """
    return to_psnr(load_codec(model, device), prepare(image), psnr)[0]


def decode(
    data: bytes,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    partial: bool = False,
    region: Region | None = None,
    scale: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Return the image of a .vqc file, with the model it names; see :meth:`Codec.decode`.

    `model` names the weights where they are not among those shipped.
    """
    if model is None:
        header, _ = read_header(data, max_pixels=max_pixels)
        model = weights.find_id(header.model_id).path
    return load_codec(model, device).decode(
        data, partial=partial, region=region, scale=scale, max_pixels=max_pixels
    )


def encode_indices(
    image: Image.Image,
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> Indices:
    """Return the code indices of `image`; see :meth:`Codec.encode_indices`."""
    return load_codec(model, device).encode_indices(image, quality)


def decode_indices(
    indices: Indices,
    size: tuple[int, int],
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> Image.Image:
    """Return the image that code indices stand for; see :meth:`Codec.decode_indices`."""
    return load_codec(model, device).decode_indices(indices, size, quality)
