"""The chunk that keeps alpha."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import CorruptError
from vqcodec.fileformat.image import decode_alpha, encode_alpha


def test_alpha_chunk_is_lossless(photo: Image.Image) -> None:
    alpha = np.asarray(photo.convert("L"))
    assert np.array_equal(decode_alpha(encode_alpha(alpha), *photo.size), alpha)


def test_no_bytes_are_opaque_alpha() -> None:
    assert np.array_equal(decode_alpha(b"", 5, 3), np.full((3, 5), 255, np.uint8))


def png_of(mode: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        png_of("L", (5, 4)),
        png_of("RGB", (5, 3)),
        png_of("1", (5, 3)),
        png_of("L", (5, 3))[:-30],
        png_of("L", (5, 3))[:30],
        b"GIF89a" + bytes(100),
    ],
)
def test_bad_alpha_chunk_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_alpha(data, 5, 3)


def test_absurd_alpha_is_refused_before_memory_is_taken() -> None:
    data = bytearray(png_of("L", (5, 3)))
    data[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(CorruptError, match="2147483647x2147483647"):
        decode_alpha(bytes(data), 5, 3)
