"""What the decoder for browsers refuses, and the PNG of opacity that it reads by itself."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_node import PACKAGE, told
from numpy.typing import NDArray
from PIL import Image
from reference import Reference, Refused
from test_container import header_of, sealed
from test_format_page import CHUNKS, UNKNOWN_CHUNK, WITH_CHUNKS
from test_format_page import png as pillow_png

from vqcodec import weights
from vqcodec.errors import CorruptError
from vqcodec.fileformat.container import ChunkTag, pack, unpack

MODEL = weights.find(weights.DEFAULT).path


def damaged() -> Iterable[bytes]:
    """Prefixes, changes that checksums fit and do not fit, and what follows the end."""
    yield from (CHUNKS[:size] for size in range(len(CHUNKS)))
    yield from (UNKNOWN_CHUNK[:size] for size in range(len(UNKNOWN_CHUNK) + 1))
    for offset in range(len(UNKNOWN_CHUNK)):
        for change in (1, 2, 0x80, 0xFF):
            data = bytearray(UNKNOWN_CHUNK)
            data[offset] ^= change
            yield bytes(data)
            changed = header_of(data[:12].hex()) + data[14:]
            yield sealed(bytes(changed[:-4]))
            yield sealed(bytes(changed[:-6]))
            yield bytes(changed) + b"."
    sizes = ("0032 818004 01", "0032 01 818004", "0032 808004 808004", "0032 ffffffff0f 01")
    for flags_and_size in (*sizes, "0032 ffffffff1f 01", "0032 8000 01", "0032 ffffffffff01 01"):
        yield sealed(header_of("56514301 deadbeef" + flags_and_size) + b"\x01S")
    yield sealed(header_of(WITH_CHUNKS) + b"\x01\x01\xff\xff\xff\xff\x0f")
    yield CHUNKS + b"."


def refused_as(reference: Reference, data: bytes) -> str | None:
    try:
        reference.pixels(data)
    except Refused as refused:
        return refused.error
    return None


def test_what_is_damaged_is_refused_alike(node: str, tmp_path: Path) -> None:
    reference = Reference(MODEL)
    files = {str(number): data for number, data in enumerate(damaged())}
    errors = {
        name: answer.get("error") for name, answer in told(node, MODEL, tmp_path, files).items()
    }
    assert errors == {name: refused_as(reference, data) for name, data in files.items()}
    known = {"NotVqcError", "UnsupportedVersionError", "CorruptError", "TruncatedError"}
    assert set(errors.values()) == known | {"TooLargeError", "UnknownModelError"}


def test_weights_that_are_none(node: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    for data in (b"", b"\xff" * 20, (12).to_bytes(8, "little") + b"{not a JSON}"):
        other.write_bytes(data)
        script = (
            "import { readFileSync } from 'node:fs';"
            "import { loadWeights } from './dist/index.js';"
            f"await loadWeights(readFileSync({json.dumps(str(other))}))"
            ".catch((error) => console.log(error.name, error.code));"
        )
        command = [node, "--input-type=module", "--eval", script]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
        assert done.stdout == "VqcError ModelError\n"


# opacity


def png(pixels: NDArray[np.uint8], *, interlaced: bool) -> bytes:
    """A PNG of 8-bit gray, whose rows have one filter after the other."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    packed = b""
    for x, y, across, down in passes:
        part = pixels[y::down, x::across].astype(int)
        up = np.pad(part, ((1, 0), (0, 0)))[:-1]
        left = np.pad(part, ((0, 0), (1, 0)))[:, :-1]
        corner = np.pad(up, ((0, 0), (1, 0)))[:, :-1]
        near = np.stack([left, up, corner])
        closest = abs(left + up - corner - near).argmin(0)
        paeth = np.take_along_axis(near, closest[None], 0)[0]
        predicted = np.stack([0 * part, left, up, (left + up) // 2, paeth])
        for row in range(len(part) if part.size else 0):
            rest = (part[row] - predicted[row % 5, row]) % 256
            packed += bytes([row % 5, *rest.tolist()])
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    data = zlib.compress(packed)
    contents = [(b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(each)) + name + each + struct.pack(">I", zlib.crc32(name + each))
        for name, each in contents
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (40, 30)])
def test_opacity_of_any_png(node: str, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    opacity = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    file = unpack(CHUNKS)
    header = replace(file.header, width=width, height=height, cut=True)
    images = {"plain": png(opacity, interlaced=False), "interlaced": png(opacity, interlaced=True)}
    images["Pillow"] = pillow_png(Image.fromarray(opacity))
    for data in images.values():
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), opacity)
    files = {
        name: pack(replace(file, header=header, chunks={ChunkTag.ALPHA: data}, payload=b""))
        for name, data in images.items()
    }
    for answer in told(node, MODEL, tmp_path, files).values():
        np.testing.assert_array_equal(answer["pixels"][..., 3], opacity)


def test_opacity_of_another_kind_is_refused(node: str, tmp_path: Path) -> None:
    file = unpack(CHUNKS)
    size = file.header.width, file.header.height
    good = pillow_png(Image.new("L", size, 7))
    modes = ("1", "P", "LA", "RGB", "I;16")
    alphas = [pillow_png(Image.new(mode, size)) for mode in modes]
    alphas += [pillow_png(Image.new("L", size[::-1], 7)), good[:20], good[:60], b"no PNG"]
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    chunks = [{ChunkTag.ALPHA: alpha} for alpha in (*alphas, bytes(flipped))]
    chunks += [
        {ChunkTag.COARSE_ALPHA: alpha} for alpha in (b"", b"\0", b"\x65.", b"2" + b"\xff" * 9)
    ]
    chunks += [{ChunkTag.ALPHA: good, ChunkTag.COARSE_ALPHA: b"2"}]
    header = replace(file.header, cut=True)
    files = {
        str(number): pack(replace(file, header=header, chunks=each, payload=b""))
        for number, each in enumerate(chunks)
    }
    answers = told(node, MODEL, tmp_path, files)
    assert {answer.get("error") for answer in answers.values()} == {CorruptError.__name__}
