"""What a file cannot hold or is not to tell: metadata left out, and stripped by request."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image
from tagged import (
    BYTE_ORDERS,
    GPS,
    MAKER_NOTE,
    ORIENTATION,
    PLACE,
    THUMBNAIL,
    XMP,
    XMP_END,
    XMP_HEAD,
    camera_exif,
    file_of,
)
from test_colour import matrix_profile

import vqcodec
from vqcodec.commands.main import cli
from vqcodec.errors import ImageError
from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.export import save
from vqcodec.fileformat.image import prepare

# M10: metadata too large for a format


def test_m10_exif_too_long_for_jpeg_is_left_out_aloud(photo: Image.Image) -> None:
    photo.info |= {"exif": exifs.PREFIX + camera_exif("<", 1) + bytes(100_000), "xmp": XMP}
    data, notes = save(photo, "JPEG")
    written = Image.open(io.BytesIO(data))
    assert "exif" not in written.info
    assert written.info["xmp"] == XMP
    assert written.size == photo.size
    assert len(notes) == 1
    assert notes[0].startswith("EXIF left out")


def test_m10_xmp_too_long_for_jpeg_is_left_out_aloud(photo: Image.Image) -> None:
    photo.info |= {"exif": exifs.PREFIX + camera_exif("<", 1), "xmp": XMP + bytes(100_000)}
    data, notes = save(photo, "JPEG")
    assert Image.open(io.BytesIO(data)).info["exif"] == exifs.PREFIX + camera_exif("<", 1)
    assert [note.split(" (")[0] for note in notes] == ["XMP left out"]


def test_m10_a_picture_that_a_format_cannot_hold_is_an_error() -> None:
    with pytest.raises(ImageError, match="JPEG cannot hold"):
        save(Image.new("RGBA", (2, 2)), "JPEG")


@pytest.mark.usefixtures("codec")
def test_m10_the_command_writes_the_picture_and_says_so(photo: Image.Image, tmp_path: Path) -> None:
    photo.info["exif"] = exifs.PREFIX + camera_exif("<", 1) + bytes(100_000)
    (tmp_path / "x.vqc").write_bytes(vqcodec.encode(photo))
    target = tmp_path / "x.jpg"
    result = CliRunner().invoke(cli, ["decode", str(tmp_path / "x.vqc"), "-o", str(target)])
    assert result.exit_code == 0
    assert "x.vqc: EXIF left out" in result.stderr
    with Image.open(target) as image:
        assert image.size == photo.size


# M11: what is not to be published


@pytest.mark.parametrize("order", BYTE_ORDERS)
def test_m11_gps_is_stripped_and_nothing_else_moves(photo: Image.Image, order: str) -> None:
    whole = camera_exif(order, 1)
    stripped = prepare(file_of(photo, "JPEG", exif=whole), {"gps"}).exif
    assert stripped is not None
    assert len(stripped) == len(whole)
    assert stripped.index(MAKER_NOTE) == whole.index(MAKER_NOTE)
    assert stripped.index(THUMBNAIL) == whole.index(THUMBNAIL)
    assert struct.pack(f"{order}6I", 59, 1, 20, 1, 30, 1) not in stripped
    exif = Image.Exif()
    exif.load(stripped)
    assert set(exif) == {ExifTags.Base.Make, ORIENTATION, ExifTags.IFD.Exif}
    assert exif[ExifTags.Base.Make] == "maker"
    assert exif.get_ifd(GPS) == {}
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == MAKER_NOTE
    assert exif.get_ifd(ExifTags.IFD.IFD1)[ExifTags.Base.JpegIFByteCount] == len(THUMBNAIL)


@pytest.mark.parametrize(
    "gps",
    [
        b" exif:GPSLatitude=\"59,20.5N\" exif:GPSLongitude = '18,3E'>",
        b"><exif:GPSLatitude>59,20.5N</exif:GPSLatitude>\n<exif:GPSLongitude/>",
        b"><exif:GPSTimeStamp rdf:parseType='Resource'><dc:x>1</dc:x></exif:GPSTimeStamp>",
    ],
)
def test_m11_gps_in_xmp_is_stripped(photo: Image.Image, gps: bytes) -> None:
    photo.info["xmp"] = XMP_HEAD + gps + XMP_END
    prepared = prepare(photo, {"gps"})
    assert prepared.xmp == XMP_HEAD + b">" + XMP_END
    assert prepared.notes == []


@pytest.mark.parametrize(
    "packet",
    [
        XMP_HEAD + b' dc:title="GPS 59,20N">' + XMP_END,
        XMP_HEAD + b"><GPSLatitude>59</GPSLatitude>" + XMP_END,
        b"<x exif:GPSLatitude='1'>&nonsense",
    ],
)
def test_m11_xmp_that_cannot_be_freed_of_gps_is_left_out(photo: Image.Image, packet: bytes) -> None:
    photo.info["xmp"] = packet
    assert prepare(photo).xmp == packet
    prepared = prepare(photo, {"gps"})
    assert prepared.xmp is None
    assert "XMP left out" in prepared.notes[0]


@pytest.mark.parametrize("broken", [7, 10**6])
def test_m11_exif_whose_gps_is_out_of_reach_is_left_out(photo: Image.Image, broken: int) -> None:
    whole = camera_exif("<", 1)
    place = 8 + 2 + 3 * 12 + 8
    photo.info["exif"] = whole[:place] + struct.pack("<I", broken) + whole[place + 4 :]
    prepared = prepare(photo, {"gps"})
    assert PLACE not in (prepared.exif or b"")
    assert prepared.exif is None
    assert "GPS" in prepared.notes[0]


@pytest.mark.parametrize(
    ("strip", "kept"),
    [
        ("", {ChunkTag.EXIF, ChunkTag.XMP}),
        ("exif", {ChunkTag.XMP}),
        ("xmp,gps", {ChunkTag.EXIF}),
        (" exif , xmp ", set()),
        ("all", set()),
    ],
)
@pytest.mark.usefixtures("codec")
def test_m11_strip_is_an_option_of_the_library(
    photo: Image.Image, strip: str, kept: set[ChunkTag]
) -> None:
    photo.info |= {"exif": exifs.PREFIX + camera_exif("<"), "xmp": XMP}
    container = unpack(vqcodec.encode(photo, strip=strip))
    assert set(container.chunks) == kept
    assert (container.header.width, container.header.height) == (photo.height, photo.width)


@pytest.mark.usefixtures("codec")
def test_m11_strip_is_an_option_of_the_command(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    photo.save(path, exif=exifs.PREFIX + camera_exif("<"), xmp=XMP)
    arguments = ["encode", str(path), "-f", "--strip"]
    assert CliRunner().invoke(cli, [*arguments, "gps,xmp"]).exit_code == 0
    chunks = unpack(path.with_suffix(".vqc").read_bytes()).chunks
    assert chunks == {ChunkTag.EXIF: exifs.without_gps(camera_exif("<", 1))}
    result = CliRunner().invoke(cli, [*arguments, "gsp"])
    assert result.exit_code == 2
    assert "cannot strip 'gsp'" in result.stderr


def test_m11_a_profile_is_stripped_after_its_colours_are_converted() -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 0))
    image.info["icc_profile"] = matrix_profile()
    assert np.array_equal(prepare(image, {"icc"}).pixels, prepare(image).pixels)
    image.info["icc_profile"] = matrix_profile()[:200]
    prepared = prepare(image, {"icc"})
    assert prepared.icc is None
    assert "ICC profile left out" in prepared.notes[0]
