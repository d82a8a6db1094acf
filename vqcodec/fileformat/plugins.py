"""Formats that Pillow reads and writes with a package beside it: HEIC and JPEG XL."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_HEIF_BRANDS = b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()


@lru_cache
def register() -> None:
    """Teach Pillow what the packages that are installed can do."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401  (registers the format)


def missing(data: bytes) -> str | None:
    """Return what to do about a file that Pillow cannot read, if a package reads its format."""
    if data.startswith(_JXL):
        return "JPEG XL, which takes `pip install pillow-jxl-plugin` to read"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC, which takes `pip install pillow-heif` to read"
    return None
