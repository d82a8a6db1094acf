"""What lossless codecs really need for an image: bytes of whole files of the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL import Image, features

# How hard WebP tries: 100 takes seconds a photograph, 80 a twentieth of that for 1 % more bytes.
BEST_WEBP, QUICK_WEBP = 100, 80
_WEBP_MAX_SIDE = 16383
CODECS = ("png", "webp", "jxl")


def file_sizes(
    image: Image.Image, webp_quality: int = QUICK_WEBP, codecs: Sequence[str] = CODECS
) -> tuple[dict[str, int], list[str]]:
    """Return the bytes of PNG, WebP and JPEG XL files of an image of mode L or RGB, by name.

    Also a note on each codec that is not here or cannot hold the image.
    """
    sizes, notes = {}, []
    savers: dict[str, Callable[[Image.Image], bytes]]
    savers = {"png": _png, "webp": partial(_webp, webp_quality), "jxl": _jxl}
    for name in codecs:
        try:
            sizes[name] = len(savers[name](image))
        except (ImportError, OSError, ValueError) as error:
            notes.append(f"{name} left out: {error}")
    return sizes, notes


def _png(image: Image.Image) -> bytes:
    return _saved(image, "PNG", optimize=True)


def _webp(quality: int, image: Image.Image) -> bytes:
    if not features.check("webp"):
        raise ImportError("this Pillow was built without it")
    if max(image.size) > _WEBP_MAX_SIDE:
        raise ValueError(f"a side is at most {_WEBP_MAX_SIDE} pixels")
    return _saved(image, "WEBP", lossless=True, method=6, quality=quality)


def _jxl(image: Image.Image) -> bytes:
    try:
        import pillow_jxl  # noqa: F401  (registers the format)
    except ImportError:
        raise ImportError(
            "pillow-jxl-plugin is not installed (pip install 'vqcodec[bench]')"
        ) from None
    return _saved(image, "JXL", lossless=True, effort=7)


def _saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()
