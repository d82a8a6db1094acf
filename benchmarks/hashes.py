"""BlurHash and ThumbHash: placeholders of a few dozen bytes, with no setting to turn."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from benchmarks.codecs import CodecUnavailableError

BLURHASH_COMPONENTS = (4, 3)  # along the longer and the shorter side, the usual choice
THUMBHASH_MAX_SIDE = 100


@dataclass(frozen=True, slots=True)
class Hash:
    """A placeholder format under its name."""

    name: str
    version: str
    encode: Callable[[Image.Image], bytes]
    render: Callable[[bytes, tuple[int, int]], Image.Image]
    """Draw a placeholder at a size (width, height)."""


def build(name: str) -> Hash:
    """Make the placeholder format of that name.

    Raises:
        CodecUnavailableError: its library is not installed.
        KeyError: no such format.
    """
    return _BUILDERS[name]()


def _blurhash() -> Hash:
    try:
        import blurhash
    except ImportError as error:
        raise CodecUnavailableError("blurhash is not installed") from error

    def encode(image: Image.Image) -> bytes:
        longer, shorter = BLURHASH_COMPONENTS
        across, down = (longer, shorter) if image.width >= image.height else (shorter, longer)
        width, height = image.size
        pixels = list(zip(*(band.tobytes() for band in image.split()), strict=True))
        rows = [pixels[row * width : (row + 1) * width] for row in range(height)]
        text: str = blurhash.encode(rows, across, down)
        return text.encode("ascii")

    def render(data: bytes, size: tuple[int, int]) -> Image.Image:
        rows = blurhash.decode(data.decode("ascii"), *size)
        return Image.frombytes(
            "RGB", size, bytes(v for row in rows for pixel in row for v in pixel)
        )

    return Hash("blurhash", f"blurhash {importlib.metadata.version('blurhash')}", encode, render)


def _thumbhash() -> Hash:
    try:
        import thumbhash
    except ImportError as error:
        raise CodecUnavailableError("thumbhash-rs is not installed") from error

    def encode(image: Image.Image) -> bytes:
        small = image.convert("RGBA")
        small.thumbnail((THUMBHASH_MAX_SIDE, THUMBHASH_MAX_SIDE), Image.Resampling.LANCZOS)
        return thumbhash.rgba_to_thumb_hash(*small.size, small.tobytes())

    def render(data: bytes, size: tuple[int, int]) -> Image.Image:
        width, height, pixels = thumbhash.thumb_hash_to_rgba(data)
        small = Image.frombytes("RGBA", (width, height), pixels).convert("RGB")
        return small.resize(size, Image.Resampling.LANCZOS)

    version = f"thumbhash-rs {importlib.metadata.version('thumbhash-rs')}"
    return Hash("thumbhash", version, encode, render)


_BUILDERS: dict[str, Callable[[], Hash]] = {"blurhash": _blurhash, "thumbhash": _thumbhash}

NAMES: tuple[str, ...] = tuple(_BUILDERS)
