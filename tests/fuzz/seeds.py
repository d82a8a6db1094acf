"""Small real files to start from: every flag and chunk, several sizes and qualities."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from PIL import Image

from vqcodec.codec.codec import Codec
from vqcodec.errors import VqcWarning
from vqcodec.fileformat.container import ChunkTag, pack, unpack
from vqcodec.fileformat.truncate import truncate

from .mutate import fields_of

_PHOTO = Path(__file__).parents[2] / "samples" / "photo.png"


def make_seeds(codec: Codec) -> list[bytes]:
    """Return files of crops of the sample photograph, coded by the shipped model."""
    with Image.open(_PHOTO) as photo:
        photo.load()
    seeds = []
    for place, (size, quality) in enumerate(
        (((1, 1), 1), ((16, 16), 50), ((64, 40), 100), ((65, 33), 30), ((128, 70), 60))
    ):
        left = top = 40 * place
        crop = photo.crop((left, top, left + size[0], top + size[1])).convert("RGB")
        seeds.append(codec.encode(crop, quality=quality))
    rich = crop.crop((0, 0, 40, 30))
    rich.putalpha(Image.linear_gradient("L").resize(rich.size))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    rich.info |= {"icc_profile": _profile(), "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    soft = rich.resize((64, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VqcWarning)  # The profile cannot be converted.
        seeds.append(codec.encode(rich, quality=20))
        seeds.append(codec.encode(rich.convert("LA"), quality=5))
        seeds.append(codec.encode(soft, quality=30, alpha_quality=1))
    seeds.append(codec.encode(crop.convert("L"), quality=40))
    opaque = unpack(codec.encode(Image.new("RGB", (9, 7), "red"), quality=80))
    seeds.append(pack(replace(opaque, chunks={ChunkTag.ALPHA: b""})))
    seeds.append(truncate(seeds[4], len(seeds[4]) // 2)[0])
    future = fields_of(seeds[0], unpack(seeds[0]))
    future.front[8] |= 2
    future.count, future.chunks = 1, [(129, 2, b"..")]
    return [*seeds, future.pack()]


def _profile() -> bytes:
    """Return the head of an RGB profile, which cannot be converted and so is kept."""
    return bytes(16) + b"RGB XYZ " + bytes(104)
