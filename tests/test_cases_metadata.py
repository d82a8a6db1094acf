"""Metadata as people have them in their files; tests are named by the cases from the field."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image, PngImagePlugin
from tagged import (
    BYTE_ORDERS,
    MAKER_NOTE,
    ORIENTATION,
    XMP,
    camera_exif,
    decoded,
    file_of,
    jpeg_with,
)
from test_colour import matrix_profile

import vqcodec
from vqcodec.commands.main import cli
from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat import xmp as xmps
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.export import save
from vqcodec.fileformat.image import prepare
from vqcodec.fileformat.truncate import truncate
from vqcodec.VqcImagePlugin import VqcImageFile

# M1: XMP


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_m1_xmp_is_kept_byte_for_byte(photo: Image.Image, format: str) -> None:
    prepared = prepare(file_of(photo, format, xmp=XMP))
    assert prepared.xmp == XMP
    assert decoded(prepared).info["xmp"] == XMP
    assert not any("XMP" in note for note in prepared.notes)


@pytest.mark.usefixtures("codec")
def test_m1_xmp_goes_through_a_file(photo: Image.Image, tmp_path: Path) -> None:
    photo.info["xmp"] = XMP
    data = vqcodec.encode(photo)
    assert unpack(data).chunks == {ChunkTag.XMP: XMP}
    assert vqcodec.info(data).chunks == {"xmp": len(XMP)}
    assert vqcodec.decode(data).info["xmp"] == XMP
    (tmp_path / "x.vqc").write_bytes(data)
    with VqcImageFile(tmp_path / "x.vqc") as image:
        assert image.info["xmp"] == XMP
    path = tmp_path / "x.png"
    assert CliRunner().invoke(cli, ["decode", str(tmp_path / "x.vqc")]).exit_code == 0
    with Image.open(path) as image:
        assert image.info["xmp"] == XMP


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_m1_xmp_goes_into_formats_with_room_for_it(photo: Image.Image, format: str) -> None:
    photo.info["xmp"] = XMP
    data, notes = save(photo, format)
    assert xmps.read(Image.open(io.BytesIO(data))) == XMP
    assert notes == []


def test_m1_of_formats_without_room_what_is_lost_is_said(photo: Image.Image) -> None:
    photo.info |= {"xmp": XMP, "exif": camera_exif("<", 1), "icc_profile": matrix_profile()}
    assert save(photo, "BMP")[1] == ["ICC profile, EXIF, XMP left out: BMP has no room for it"]


def test_m1_a_cut_file_leaves_xmp_out_first(photo: Image.Image) -> None:
    photo.info |= {"xmp": XMP, "exif": camera_exif("<", 1)}
    data = vqcodec.encode(photo)
    smaller, notes = truncate(data, len(data) - 100)
    assert set(unpack(smaller).chunks) == {ChunkTag.EXIF}
    assert [note.split()[0] for note in notes] == ["XMP"]


def test_m1_xmp_of_16_bit_characters_becomes_utf_8(photo: Image.Image) -> None:
    photo.info["xmp"] = XMP.decode().encode("utf-16")
    assert prepare(photo).xmp == XMP
    photo.info["xmp"] = b"\xff\xff\xff"
    prepared = prepare(photo)
    assert prepared.xmp is None
    assert "unreadable XMP left out" in prepared.notes[0]


# M3: resolution


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_m3_resolution_is_kept(photo: Image.Image, format: str) -> None:
    prepared = prepare(file_of(photo, format, dpi=(300, 300)))
    assert prepared.exif is not None
    assert exifs.resolution(prepared.exif) == (300, 300)
    back = decoded(prepared)
    assert back.info["dpi"] == (300, 300)
    for target in ("PNG", "JPEG", "TIFF"):
        data, notes = save(back, target)
        written = Image.open(io.BytesIO(data))
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        assert notes == []


def test_m3_resolution_that_exif_has_no_room_for_is_said(photo: Image.Image) -> None:
    image = file_of(photo, "PNG", dpi=(300, 300), exif=camera_exif("<", 1))
    prepared = prepare(image)
    assert prepared.exif == camera_exif("<", 1)
    assert prepared.notes == ["resolution of 300 x 300 dpi left out: EXIF has no room for it"]
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 96
    image = file_of(photo, "PNG", dpi=(300, 300), exif=exifs.without_prefix(exif.tobytes()))
    assert prepare(image).notes == ["resolution of 300 x 300 dpi left out: EXIF says otherwise"]


@pytest.mark.parametrize("dpi", [(72, 72), (1, 1), (0, 0), (float("nan"), 300), "300", None])
def test_m3_a_resolution_that_tells_nothing_takes_no_room(photo: Image.Image, dpi: object) -> None:
    photo.info["dpi"] = dpi
    assert prepare(photo).exif is None


@pytest.mark.parametrize("order", BYTE_ORDERS)
def test_m3_resolution_in_centimetres_is_told_in_inches(order: str) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 3)
    for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution):
        head += struct.pack(f"{order}HHII", tag, 5, 1, 50)
    head += struct.pack(f"{order}HHIHH", ExifTags.Base.ResolutionUnit, 3, 1, 3, 0) + bytes(4)
    assert len(head) == 50
    assert exifs.resolution(head + struct.pack(f"{order}II", 236, 2)) == (118 * 2.54, 118 * 2.54)


# M4: which orientation is carried out


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_m4_orientation_in_xmp_turns_nothing(photo: Image.Image, format: str) -> None:
    image = file_of(photo, format, xmp=XMP)
    prepared = prepare(image)
    assert prepared.pixels.shape == (photo.height, photo.width, 3)
    assert prepared.exif is None
    assert image.info["xmp"] == XMP, "the caller's image was changed"


def test_m4_orientation_in_xmp_of_a_turned_picture_is_upright(photo: Image.Image) -> None:
    prepared = prepare(file_of(photo, "JPEG", xmp=XMP, exif=camera_exif("<", 6)))
    assert prepared.pixels.shape == (photo.width, photo.height, 3)
    assert prepared.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')


# M8: EXIF in place


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize("orientation", [2, 6, 8])
def test_m8_orientation_is_patched_and_nothing_else(
    photo: Image.Image, order: str, orientation: int
) -> None:
    prepared = prepare(file_of(photo, "JPEG", exif=camera_exif(order, orientation)))
    assert prepared.exif == camera_exif(order, 1)
    assert prepared.notes == []


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize(("kind", "field"), [(1, "B3x"), (4, "I"), (3, "H2x")])
def test_m8_an_orientation_of_an_odd_type_counts(order: str, kind: int, field: str) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    entry = struct.pack(f"{order}HHI{field}", ORIENTATION, kind, 1, 6)
    exif = head + entry + bytes(4)
    assert exifs.orientation(exif) == 6
    assert exifs.orientation(exifs.turned_upright(exif)) == 1
    image = Image.Exif()
    image.load(exifs.turned_upright(exif))
    assert image[ORIENTATION] == 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_m8_maker_note_and_thumbnail_stay_in_what_is_written(
    photo: Image.Image, format: str
) -> None:
    photo.info["exif"] = exifs.PREFIX + camera_exif("<", 1)
    data, notes = save(photo, format)
    written = exifs.without_prefix(Image.open(io.BytesIO(data)).info["exif"])
    assert exifs.without_orientation(written) == exifs.without_orientation(camera_exif("<", 1))
    assert notes == []


def test_m8_a_format_that_writes_exif_anew_is_said(photo: Image.Image) -> None:
    photo.info["exif"] = exifs.PREFIX + camera_exif("<", 1)
    data, notes = save(photo, "TIFF")
    assert Image.open(io.BytesIO(data)).getexif()[ExifTags.Base.Make] == "maker"
    assert notes == ["EXIF written anew, which may harm its maker note and thumbnail"]


def test_m8_exif_in_the_text_of_a_png_is_read(photo: Image.Image) -> None:
    exif = exifs.PREFIX + camera_exif(">")
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    prepared = prepare(file_of(photo, "PNG", pnginfo=text))
    assert prepared.exif == camera_exif(">", 1)
    assert prepared.pixels.shape == (photo.width, photo.height, 3)
    assert prepared.notes == []


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_m8_exif_that_ends_early_is_left_out_aloud(photo: Image.Image, length: int) -> None:
    photo.info["exif"] = exifs.PREFIX + camera_exif("<")[:length]
    prepared = prepare(photo)
    assert prepared.exif is None
    assert "unreadable EXIF left out" in prepared.notes[0]


@pytest.mark.parametrize("note", [b"", MAKER_NOTE])
def test_m8_exif_of_a_tiff_is_written_anew(photo: Image.Image, note: bytes) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "me"
    if note:
        exif[ExifTags.IFD.Exif] = {ExifTags.Base.MakerNote: note}
    image = file_of(photo, "TIFF", exif=exifs.without_prefix(exif.tobytes()), dpi=(600, 300))
    prepared = prepare(image)
    back = decoded(prepared)
    assert back.getexif()[ExifTags.Base.Artist] == "me"
    assert back.info["dpi"] == (600, 300)
    harm = "EXIF written anew, which may harm its maker note"
    assert prepared.notes == ([harm] if note else [])


# What has no place in a file


def test_what_a_png_says_in_text_is_named(photo: Image.Image) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a title")
    text.add_itxt("Author", "me")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    prepared = prepare(file_of(photo, "PNG", pnginfo=text))
    assert prepared.notes == ["PNG text (Author, Title) left out"]


@pytest.mark.parametrize("format", ["JPEG", "GIF"])
def test_comments_are_named(photo: Image.Image, format: str) -> None:
    notes = prepare(file_of(photo, format, comment=b"a comment")).notes
    assert "comment left out" in notes


@pytest.mark.parametrize(
    ("marker", "own", "note"),
    [
        (0xED, b"Photoshop 3.0\0008BIM\x04\x04\0\0\0\0\0\x02\x1c\x02", "IPTC left out"),
        (0xED, b"Photoshop 3.0\0008BIM\x04\x0c\0\0\0\0\0\x02..", "Photoshop's data left out"),
        (0xEB, b"JP\0\1\0\0\0\1", "content credentials (JUMBF) left out"),
        (
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0" + bytes(40),
            "XMP beyond its first segment left out",
        ),
    ],
)
def test_segments_of_a_jpeg_are_named(
    photo: Image.Image, marker: int, own: bytes, note: str
) -> None:
    assert prepare(jpeg_with(photo, marker, own)).notes == [note]


def test_a_gain_map_is_named(photo: Image.Image) -> None:
    packet = XMP.replace(b"xmlns:tiff", b'xmlns:hdrgm="urn:x" hdrgm:Version="1.0" xmlns:tiff')
    out = io.BytesIO()
    photo.save(out, "MPO", save_all=True, append_images=[photo.convert("L")], xmp=packet)
    assert "gain map left out" in prepare(Image.open(out)).notes
