"""One photograph through several codecs, each squeezed into the same number of bytes.

Everyone gets the same pixels without metadata. What a codec shows is the best of its settings whose
whole file is within the budget, found by trying; nobody's size is rounded up or estimated.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import Image, features
from tqdm import tqdm

from vqcodec import __version__, metrics
from vqcodec.commands.page import Picture, Table, listing, page, slider, table
from vqcodec.errors import ImageError
from vqcodec.fileformat.image import Prepared, assemble

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

# What the encoders of Pillow are told beside the quality; the benchmarks measure with the same.
OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True},
    "webp": {"method": 6},
    # The speed is Pillow's default. One thread: files side by side have one each, as the others.
    "avif": {"speed": 6, "max_threads": 1},
}
_FEATURES = {"jpeg": "jpg", "webp": "webp", "avif": "avif"}  # as Pillow calls them
VERSIONS = f"vqcodec {__version__}, and the others by Pillow {PIL.__version__}"
FIGURES = ["setting", "bytes", "of the budget", "bits per pixel", "PSNR (dB)"]
_QUALITIES = range(1, 101)
_ORIGINAL = "original"
_WEBP_MAX_SIDE = 16383


@dataclass(frozen=True, slots=True)
class Contender:
    """A codec that takes part; a larger setting makes a better picture and a larger file."""

    name: str
    settings: Sequence[float]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    """To mode RGB."""
    mime: str | None = None
    """What browsers call its files, if they can show them."""


@dataclass(frozen=True, slots=True)
class Squeezed:
    """What a codec made of a photograph within the budget."""

    codec: Contender
    setting: float
    data: bytes
    image: Image.Image
    psnr: float

    @property
    def label(self) -> str:
        """What stands beside its picture."""
        return f"{self.codec.name}, {len(self.data):,} bytes, {self.psnr:.2f} dB"

    def figures(self, budget: int) -> list[str]:
        """Return its cells under `FIGURES`, of which the budget in bytes is one."""
        return [
            f"{self.setting:g}",
            f"{len(self.data):,}",
            f"{100 * len(self.data) / budget:.1f} %",
            f"{8 * len(self.data) / (self.image.width * self.image.height):.4f}",
            f"{self.psnr:.2f}",
        ]

    def viewable(self) -> tuple[str, bytes]:
        """Return type and bytes of a file that browsers show: its own, or one of its pixels."""
        return (self.codec.mime, self.data) if self.codec.mime else lossless(self.image)


def vqcodec_contender(codec: Codec) -> Contender:
    """Return this project's codec, with loaded weights."""
    return Contender(
        "vqcodec",
        _QUALITIES,
        lambda image, setting: codec.encode(image, quality=round(setting)),
        lambda data: codec.decode(data).convert("RGB"),
    )


def pillow_contenders(names: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """Return Pillow's codecs of those names, and a note on each that this Pillow lacks.

    Raises:
        KeyError: a name that is not in `OPTIONS`; the message says so.
    """
    found, notes = [], []
    for name in dict.fromkeys(names):
        if name not in OPTIONS:
            raise KeyError(f"no codec named {name!r}; there are {', '.join(OPTIONS)}")
        if features.check(_FEATURES[name]):
            found.append(_pillow_contender(name))
        else:
            notes.append(f"{name} left out: this Pillow was built without it")
    return found, notes


def _pillow_contender(name: str) -> Contender:
    def encode(image: Image.Image, setting: float) -> bytes:
        stream = io.BytesIO()
        image.save(stream, name.upper(), quality=round(setting), **OPTIONS[name])
        return stream.getvalue()

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    return Contender(name, _QUALITIES, encode, decode, f"image/{name}")


def squeeze(codec: Contender, image: Image.Image, budget: int) -> Squeezed | None:
    """Return the best that `codec` can do within `budget` bytes, None if it has nothing so small.

    The settings are searched by halving, which trusts that files grow with the setting; where they
    do not, a better setting may be missed, but the file is within the budget all the same.
    """
    found: tuple[float, bytes] | None = None
    low, high = 0, len(codec.settings)
    while low < high:
        middle = (low + high) // 2
        data = codec.encode(image, codec.settings[middle])
        if len(data) <= budget:
            found = codec.settings[middle], data
            low = middle + 1
        else:
            high = middle
    return None if found is None else squeezed(codec, image, *found)


def squeezed(codec: Contender, image: Image.Image, setting: float, data: bytes) -> Squeezed:
    """Return what `codec` made of `image` at a setting, where `data` is its file."""
    decoded = codec.decode(data)
    psnr = metrics.psnr(np.asarray(image.convert("RGB")), np.asarray(decoded))
    return Squeezed(codec, setting, data, decoded, psnr)


def flat(prepared: Prepared) -> tuple[Image.Image, list[str]]:
    """Return the pixels that every codec gets, mode RGB or L, and what was left out for it."""
    notes = list(prepared.notes)
    if prepared.alpha is not None:
        notes.append("opacity left out")
    return assemble(prepared.pixels, gray=prepared.gray), notes


def compare(
    image: Image.Image, codecs: Sequence[Contender], bpp: float
) -> tuple[list[str], list[str]]:
    """Return a table and a slider as sections of a page, and notes on codecs that are left out.

    `image` is of mode RGB or L; `bpp` bits for each of its pixels are the budget.

    Raises:
        ImageError: no codec makes a file within the budget; the message is the notes.
    """
    budget = int(bpp * image.width * image.height / 8)
    done: list[Squeezed] = []
    notes: list[str] = []
    for codec in tqdm(codecs, unit="codec", leave=False, disable=None):
        try:
            result = squeeze(codec, image, budget)
        except (OSError, ValueError) as error:  # WebP and AVIF have limits on sides, for one
            notes.append(f"{codec.name} left out: {error}")
            continue
        if result is None:
            notes.append(f"{codec.name} left out: it cannot go down to {budget:,} bytes")
            continue
        if result.setting == codec.settings[-1]:
            notes.append(f"{codec.name} is at its best setting and does not fill the budget")
        done.append(result)
    if not done:
        raise ImageError(f"nothing to show: {'; '.join(notes)}")
    return [table(_figures(image, done, budget)), _slider(image, done, budget)], notes


def photo_page(
    name: str, prepared: Prepared, codecs: Sequence[Contender], bpp: float, absent: Sequence[str]
) -> tuple[bytes, list[str]]:
    """Return a page about one photograph, and the notes that stand on it.

    `absent` are notes on codecs that could not be asked. Raises ImageError as `compare`.
    """
    image, notes = flat(prepared)
    sections, left_out = compare(image, codecs, bpp)
    notes += [*absent, *left_out]
    lead = f"What codecs make of this photograph in {bpp:g} bits per pixel: {VERSIONS}."
    return page(name, lead, [*sections, listing(notes)]).encode(), notes


def _figures(image: Image.Image, done: Sequence[Squeezed], budget: int) -> Table:
    return Table(
        title=f"Codecs within {budget:,} bytes",
        header=["codec", *FIGURES],
        rows=[[result.codec.name, *result.figures(budget)] for result in done],
        caption=f"{image.width}×{image.height} pixels, whole files without metadata. Each codec at "
        f"its best setting whose file is within {budget:,} bytes; PSNR over red, green and blue "
        "together.",
    )


def _slider(image: Image.Image, done: Sequence[Squeezed], budget: int) -> str:
    pictures = [Picture(_ORIGINAL, _ORIGINAL, *lossless(image), image.size)]
    for result in done:
        pictures.append(Picture(result.codec.name, result.label, *result.viewable(), image.size))
    return slider(
        pictures,
        left=2 if len(done) > 1 else 0,
        right=1,
        caption=f"Every codec within {budget:,} bytes. Drag the divider, or move it with the arrow "
        "keys; choose what is left and right of it above.",
    )


def lossless(image: Image.Image) -> tuple[str, bytes]:
    """Return the pixels in a form that every browser shows: WebP, or PNG where that cannot be."""
    stream = io.BytesIO()
    if features.check("webp") and max(image.size) <= _WEBP_MAX_SIDE:
        # The fastest of its methods costs 8 % in size, the default takes seconds for a large photo.
        image.save(stream, "WEBP", lossless=True, method=0)
        return "image/webp", stream.getvalue()
    image.save(stream, "PNG")
    return "image/png", stream.getvalue()
