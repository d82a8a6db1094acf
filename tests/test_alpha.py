"""The chunks that keep alpha: without loss, and with it."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import psnr
from PIL import Image, ImageFilter
from reference import Reference, Refused

from vqcodec import VqcImagePlugin, info, truncate, weights
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.errors import CorruptError, TargetError
from vqcodec.fileformat.container import ChunkTag, pack, unpack
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


# With loss


@pytest.fixture
def shadow(photo: Image.Image) -> Image.Image:
    """The photograph, RGBA, under a soft opacity that a PNG takes thousands of bytes for."""
    opacity = photo.getchannel("R").filter(ImageFilter.GaussianBlur(3))
    photo.putalpha(opacity)
    return photo


def chunks_of(data: bytes) -> dict[ChunkTag, bytes]:
    return unpack(data).chunks


def test_coarse_alpha_is_small_and_near(codec: Codec, shadow: Image.Image) -> None:
    exact = codec.encode(shadow)
    sizes, distances = [], []
    for quality in (20, 60, 95):
        data = codec.encode(shadow, alpha_quality=quality)
        assert unpack(data).payload == unpack(exact).payload
        sizes.append(len(chunks_of(data)[ChunkTag.COARSE_ALPHA]))
        distances.append(psnr(shadow.getchannel("A"), codec.decode(data).getchannel("A")))
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(chunks_of(exact)[ChunkTag.ALPHA]) / 2
    assert distances == sorted(distances)
    assert distances[1] > 35


def test_alpha_is_kept_without_loss_where_that_is_smaller(codec: Codec, photo: Image.Image) -> None:
    photo.putalpha(255)
    assert codec.encode(photo, alpha_quality=50) == codec.encode(photo)
    photo.paste((0, 0, 0, 0), (0, 0, 96, 20))
    assert codec.encode(photo, alpha_quality=90) == codec.encode(photo)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_parts_and_scales_of_coarse_alpha(codec: Codec, shadow: Image.Image, mode: str) -> None:
    data = codec.encode(shadow.convert(mode), alpha_quality=50)
    whole = codec.decode(data)
    assert whole.mode == mode
    assert codec.decode(data, region=(30, 10, 40, 50)).tobytes() == (
        whole.crop((30, 10, 70, 60)).tobytes()
    )
    half = codec.decode(data, scale=2)
    assert (half.mode, half.size) == (mode, (48, 32))
    assert psnr(half.getchannel("A"), whole.getchannel("A").reduce(2)) > 30


def test_a_size_may_be_met_with_coarse_alpha(codec: Codec, shadow: Image.Image) -> None:
    with pytest.raises(TargetError):
        codec.encode(shadow, max_bytes=700)
    data = codec.encode(shadow, max_bytes=700, alpha_quality=30)
    assert len(data) <= 700
    smaller = truncate(data, 400)
    assert chunks_of(smaller) == chunks_of(data)
    coarse = len(chunks_of(data)[ChunkTag.COARSE_ALPHA])
    with pytest.raises(TargetError, match=f"its alpha alone takes {coarse}$"):
        truncate(data, coarse)


def test_coarse_alpha_in_pillow_and_on_the_command_line(
    shadow: Image.Image, tmp_path: Path
) -> None:
    source, coded, by_pillow = (tmp_path / name for name in ("a.png", "a.vqc", "b.vqc"))
    shadow.save(source)
    result = CliRunner().invoke(cli, ["encode", str(source), "--alpha-quality", "40"])
    assert result.exit_code == 0, result.stderr
    shadow.save(by_pillow, alpha_quality=40)
    assert by_pillow.read_bytes() == coded.read_bytes()
    assert "coarse_alpha" in info(coded.read_bytes()).chunks
    with VqcImagePlugin.VqcImageFile(coded) as image:
        assert image.mode == "RGBA"
        image.load()
        assert image.im.mode == "RGBA"


@pytest.mark.parametrize("value", [0, 101, True, "50"])
def test_a_quality_of_alpha_out_of_range_is_refused(
    codec: Codec, shadow: Image.Image, value: int
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^alpha_quality "):
        codec.encode(shadow, alpha_quality=value)


def test_coarse_alpha_that_no_encoder_writes_is_refused_alike(
    codec: Codec, shadow: Image.Image
) -> None:
    container = unpack(codec.encode(shadow, alpha_quality=50))
    chunk = container.chunks[ChunkTag.COARSE_ALPHA]
    reference = Reference(weights.find(weights.DEFAULT).path)
    bad = [
        {ChunkTag.COARSE_ALPHA: b""},
        {ChunkTag.COARSE_ALPHA: b"\0" + chunk[1:]},
        {ChunkTag.COARSE_ALPHA: b"\x65" + chunk[1:]},
        {ChunkTag.COARSE_ALPHA: chunk[:1] + b"\xff" * 41},
        {ChunkTag.ALPHA: b"", ChunkTag.COARSE_ALPHA: chunk},
    ]
    for chunks in bad:
        data = pack(replace(container, chunks=chunks))
        with pytest.raises(CorruptError):
            codec.decode(data)
        with pytest.raises(Refused, match=CorruptError.__name__):
            reference.pixels(data)
