"""Cases from the field: which files the commands read, and what they never run."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image
from program import posix_only, vqcodec_

from vqcodec.fileformat.image import open_image

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".JPEG", ".pjpeg", ".pjp", ".jif", ".apng", ".dib", ".mpo", ".jpx"]
)
def test_c8_files_are_found_by_each_suffix_that_images_have(suffix: str) -> None:
    Path("album").mkdir()
    Path("album/a" + suffix).write_bytes(b"no image")
    result = vqcodec_("encode", "album", "-o", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"album/a{suffix}: not an image")


def test_c8_a_folder_is_coded_whatever_its_jpegs_are_called(photo: Image.Image) -> None:
    Path("album").mkdir()
    photo.save("album/a.png")
    for name in ("b.jfif", "c.jpe"):
        photo.save(f"album/{name}", "JPEG")
    assert vqcodec_("encode", "album", "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.vqc", "b.vqc", "c.vqc"]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 40\n%%EndComments\nshowpage\n"


def dos_eps() -> bytes:
    """Return PostScript behind the binary header that DOS programs put before it."""
    header = b"\xc5\xd0\xd3\xc6" + struct.pack("<6IH", 32, len(POSTSCRIPT), 0, 0, 0, 0, 0xFFFF)
    return header + bytes(2) + POSTSCRIPT


def iptc_with_eps() -> bytes:
    """Return an IPTC record that says 8-bit gray and holds PostScript."""

    def field(record: int, tag: int, data: bytes) -> bytes:
        return bytes([0x1C, record, tag]) + len(data).to_bytes(2, "big") + data

    head = field(3, 60, b"\1\0") + field(3, 65, b"\0") + field(3, 120, b"\5")
    head += field(3, 20, b"\0\x30") + field(3, 30, b"\0\x28")
    return head + field(8, 10, POSTSCRIPT)


@posix_only
@pytest.mark.parametrize("make", [lambda: POSTSCRIPT, dos_eps, iptc_with_eps])
@pytest.mark.parametrize("command", ["encode", "compare", "bpd"])
def test_c19_no_program_is_run_for_an_image(
    make: Callable[[], bytes], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bin").mkdir()
    Path("bin/gs").write_text("#!/bin/sh\ntouch ran\n")
    Path("bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", "bin", prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what it found before
    Path("a.png").write_bytes(make())
    result = vqcodec_(command, "a.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("a.png: not an image that Pillow can read\n")
    assert not Path("ran").exists()
    assert not Path("a.vqc").exists()


def test_c19_the_formats_that_people_have_are_read(photo: Image.Image) -> None:
    gray = photo.convert("L")
    for image_format in ("BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG"):
        assert reopened(photo, image_format).size == photo.size
    for image_format in ("PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP", "AVIF", "DIB"):
        if image_format in Image.SAVE:
            assert reopened(photo, image_format).size == photo.size
    assert reopened(gray.convert("1"), "XBM").size == photo.size


def reopened(image: Image.Image, image_format: str) -> Image.Image:
    stream = io.BytesIO()
    options = {"sizes": [image.size]} if image_format == "ICO" else {}
    image.save(stream, image_format, **options)
    return open_image(stream.getvalue())
