"""Golden files: what .vqc files made once decode to ever after.

`NAME.vqc`, its picture `NAME.png`, and the indices of all of them in `indices.npz`. They are bound
to the weights that ship by default. Other weights cannot decode them, so a release with other
weights makes them anew, by hand and with a line in CHANGELOG.md:

    python -m tests.golden --regenerate

docs/releasing.md says what else is made anew then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vqcodec.fileformat.container import ChunkTag, pack, unpack
from vqcodec.fileformat.truncate import truncate

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

FOLDER = Path(__file__).parent
SAMPLE = FOLDER.parents[1] / "samples" / "photo.png"
INDICES = FOLDER / "indices.npz"
_SIZES = ((1, 1), (1, 9), (9, 1), (7, 5), (8, 8), (63, 64), (64, 64), (65, 63), (64, 1), (128, 72),
          (129, 65), (100, 37), (31, 130))  # fmt: skip
_QUALITIES = (1, 5, 10, 20, 30, 40, 60, 70, 80, 90, 95, 100)
_BLOCKS = (25, 90)
_CUTS = (21, 40, 60, 100, 200, 400)


@dataclass(frozen=True)
class Case:
    """A golden file to be made."""

    name: str
    image: Image.Image
    quality: int = 50
    alpha_quality: int | None = None
    finish: Callable[[bytes], bytes] = bytes


def cases() -> Iterator[Case]:
    """Yield all: sizes, qualities, tiles, drawn pictures, channels, chunks, cut streams."""
    photo = Image.open(SAMPLE).convert("RGB")
    part = photo.crop((150, 90, 222, 146))
    for width, height in _SIZES:
        yield Case(f"size-{width}x{height}", photo.crop((90, 60, 90 + width, 60 + height)))
    for quality in _QUALITIES:
        yield Case(f"quality-{quality}", part, quality)
    # Large enough for quiet blocks (docs/format.md), at the second quality some of them loud.
    large = photo.crop((60, 30, 60 + 300, 30 + 220))
    for quality in _BLOCKS:
        yield Case(f"blocks-{quality}", large, quality)
    # Large enough for tiles, of which four meet in the photograph.
    page = Image.new("RGB", (1290, 1286), "white")
    page.paste(part, (476, 488))
    yield Case("tiles", page, 30)
    for name, image in _drawn().items():
        yield Case(f"drawn-{name}", image, 60)
    for quality in (30, 75):
        yield Case(f"gray-{quality}", part.convert("L"), quality)
    ramp = Image.linear_gradient("L").resize(part.size)
    image = part.copy()
    image.putalpha(ramp)
    yield Case("alpha-ramp", image.copy())
    image.putalpha(part.getchannel("G"))
    yield Case("alpha-coarse", image.copy(), alpha_quality=40)
    yield Case("alpha-opaque", part, finish=_with({ChunkTag.ALPHA: b""}))
    yield Case("alpha-gray", Image.merge("LA", (part.convert("L"), ramp)))
    both = {ChunkTag.ICC: b"profile", ChunkTag.EXIF: b"II*\0\x08\0\0\0\0\0\0\0\0\0"}
    yield Case("chunk-icc", part, finish=_with({ChunkTag.ICC: both[ChunkTag.ICC]}))
    yield Case("chunk-exif", part, finish=_with({ChunkTag.EXIF: both[ChunkTag.EXIF]}))
    xmp = {ChunkTag.XMP: b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'}
    yield Case("chunk-xmp", part, finish=_with(xmp))
    yield Case("chunks", part, finish=_with(both | {ChunkTag.ALPHA: b""}))
    for size in _CUTS:
        yield Case(f"cut-{size}", part, 80, finish=_cut(size))
    yield Case("cut-gray", part.convert("L"), 80, finish=_cut(120))


@cache
def stored_indices() -> dict[str, list[list[NDArray[np.uint8]]]]:
    """Return the indices of every golden file, `[level][part]`."""
    result: dict[str, list[list[NDArray[np.uint8]]]] = {}
    with np.load(INDICES, allow_pickle=False) as arrays:
        for key in arrays.files:
            name, level, part = key.rsplit(".", 2)
            levels = result.setdefault(name, [])
            while len(levels) <= int(level):
                levels.append([])
            assert len(levels[int(level)]) == int(part)
            levels[int(level)].append(arrays[key])
    return result


def regenerate(codec: Codec) -> None:
    """Make all golden files anew."""
    for old in (*FOLDER.glob("*.vqc"), *FOLDER.glob("*.png")):
        old.unlink()
    arrays = {}
    for case in cases():
        data = codec.encode(case.image, quality=case.quality, alpha_quality=case.alpha_quality)
        data = case.finish(data)
        (FOLDER / f"{case.name}.vqc").write_bytes(data)
        decoded = codec.decode(data)
        decoded.info.clear()
        decoded.save(FOLDER / f"{case.name}.png", optimize=True)
        for level, parts in enumerate(codec.file_tokens(data).indices):
            for number, part in enumerate(parts):
                arrays[f"{case.name}.{level}.{number}"] = part
    np.savez_compressed(INDICES, **arrays)  # type: ignore[arg-type]


def _drawn() -> dict[str, Image.Image]:
    size = (56, 40)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    noise = np.random.default_rng(0).integers(0, 256, (*x.shape, 3))
    colours = np.where((x // 14)[..., None] % 2, (255, 0, 0), (0, 0, 255))
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).text((3, 12), "vqcodec", "black")
    arrays = {
        "black": np.zeros((*x.shape, 3)),
        "white": np.full((*x.shape, 3), 255),
        "noise": noise,
        "stripes": colours,
        "chessboard": np.repeat(((x + y) % 2 * 255)[..., None], 3, -1),
        "ramp": np.stack([x * 4, y * 6, 255 - x * 4], -1),
    }
    drawn = {name: Image.fromarray(each.astype(np.uint8)) for name, each in arrays.items()}
    return drawn | {"page": page}


def _with(chunks: dict[ChunkTag, bytes]) -> Callable[[bytes], bytes]:
    return lambda data: pack(replace(unpack(data), chunks=chunks))


def _cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: truncate(data, size)[0]
