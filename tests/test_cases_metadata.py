"""Metadata and colour as people have them in their files; named by the cases they come from."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin
from test_colour import matrix_profile

import vqcodec
from vqcodec.commands.main import cli
from vqcodec.errors import ImageError
from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat import xmp as xmps
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.export import save
from vqcodec.fileformat.headers import bits
from vqcodec.fileformat.image import Prepared, assemble, chunks_of, info_of, prepare
from vqcodec.fileformat.truncate import truncate
from vqcodec.VqcImagePlugin import VqcImageFile

ORIENTATION, GPS = ExifTags.Base.Orientation, ExifTags.IFD.GPSInfo
MAKER_NOTE = b"maker note with an absolute offset" * 3
THUMBNAIL = b"\xff\xd8 a thumbnail \xff\xd9"
PLACE = b"N\0\0\0"
BYTE_ORDERS = ["<", ">"]
XMP_HEAD = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"'
)
XMP_END = b"<dc:rights>me</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>"
XMP = XMP_HEAD + b' tiff:Orientation="6">' + XMP_END


def camera_exif(order: str, orientation: int = 6) -> bytes:
    """As of a camera: Make, Orientation, maker note, GPS, a thumbnail in a second directory."""
    make = 8 + 2 + 4 * 12 + 4
    exif_ifd = make + 8
    note = exif_ifd + 2 + 12 + 4
    gps = note + len(MAKER_NOTE) + len(MAKER_NOTE) % 2
    latitude = gps + 2 + 2 * 12 + 4
    thumbnail_ifd = latitude + 24
    thumbnail = thumbnail_ifd + 2 + 2 * 12 + 4

    def directory(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
        body = b"".join(struct.pack(f"{order}HHI", *e[:3]) + e[3].ljust(4, b"\0") for e in entries)
        return struct.pack(f"{order}H", len(entries)) + body + struct.pack(f"{order}I", following)

    def long(value: int) -> bytes:
        return struct.pack(f"{order}I", value)

    data = (b"II*\0" if order == "<" else b"MM\0*") + long(8)
    data += directory(
        (ExifTags.Base.Make, 2, 6, long(make)),
        (ORIENTATION, 3, 1, struct.pack(f"{order}H", orientation)),
        (ExifTags.IFD.Exif, 4, 1, long(exif_ifd)),
        (GPS, 4, 1, long(gps)),
        following=thumbnail_ifd,
    )
    data += b"maker\0\0\0"
    data += directory((ExifTags.Base.MakerNote, 7, len(MAKER_NOTE), long(note)))
    data += MAKER_NOTE + bytes(len(MAKER_NOTE) % 2)
    data += directory((1, 2, 2, PLACE), (2, 5, 3, long(latitude)))
    data += struct.pack(f"{order}6I", 59, 1, 20, 1, 30, 1)
    data += directory(
        (ExifTags.Base.JpegIFOffset, 4, 1, long(thumbnail)),
        (ExifTags.Base.JpegIFByteCount, 4, 1, long(len(THUMBNAIL))),
    )
    assert len(data) == thumbnail
    return data + THUMBNAIL


def file_of(image: Image.Image, format: str, **options: Any) -> Image.Image:
    """The image as a file of that format gives it back, not yet loaded."""
    out = io.BytesIO()
    if format == "PNG" and "xmp" in options:
        options["pnginfo"] = text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    if format == "TIFF" and "xmp" in options:
        options["tiffinfo"] = {700: options.pop("xmp")}
    if "exif" in options:
        options["exif"] = exifs.PREFIX + options["exif"]
    image.save(out, format, **options)
    out.seek(0)
    return Image.open(out)


def png_with(image: Image.Image, **chunks: bytes) -> Image.Image:
    """A PNG with these chunks before its pixels, not yet loaded."""
    out = io.BytesIO()
    image.save(out, "PNG")
    data = out.getvalue()
    start = 8 + 12 + 13  # behind the signature and IHDR
    for name, own in chunks.items():
        body = name.encode() + own
        chunk = struct.pack(">I", len(own)) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:start] + chunk + data[start:]
    return Image.open(io.BytesIO(data))


def jpeg_with(image: Image.Image, marker: int, own: bytes) -> Image.Image:
    """A JPEG with one more segment."""
    out = io.BytesIO()
    image.save(out, "JPEG")
    data = out.getvalue()
    segment = struct.pack(">BBH", 0xFF, marker, len(own) + 2) + own
    return Image.open(io.BytesIO(data[:2] + segment + data[2:]))


def decoded(prepared: Prepared) -> Image.Image:
    """What a decoder makes of a file of the prepared image, but for the coding of its pixels."""
    image = assemble(prepared.pixels, gray=prepared.gray, alpha=prepared.alpha)
    image.info.update(info_of(chunks_of(prepared)))
    return image


def light(samples: Any) -> NDArray[np.float64]:
    """Light of sRGB samples of 0..255."""
    x = np.asarray(samples, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


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


# M13: profiles of another space


@pytest.mark.parametrize(
    ("mode", "icc"),
    [
        ("RGB", matrix_profile(b"GRAY")),
        ("RGB", matrix_profile()[:16] + b"CMYK" + matrix_profile()[20:]),
        ("RGBA", matrix_profile(b"GRAY")),
        ("L", matrix_profile()[:16] + b"CMYK" + matrix_profile()[20:]),
        ("L", matrix_profile()[:200]),
        ("RGB", b"nonsense"),
    ],
)
def test_m13_a_profile_of_another_space_is_left_out_aloud(
    photo: Image.Image, mode: str, icc: bytes
) -> None:
    image = photo.convert(mode)
    image.info["icc_profile"] = icc
    prepared = prepare(image)
    assert prepared.icc is None
    assert "ICC profile left out" in prepared.notes[0]


# M15: colours as PNG describes them


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
def test_m15_gamma_is_converted(photo: Image.Image, mode: str, gamma: float) -> None:
    image = photo.convert(mode)
    plain = prepare(image)
    prepared = prepare(png_with(image, gAMA=struct.pack(">I", round(gamma * 100_000))))
    expected = (plain.pixels / 255.0) ** (1 / gamma)
    # Half a step of 8 bits, where the curve is steepest.
    assert np.abs(light(prepared.pixels) - expected).max() < 0.5 / 255 * 2.3
    assert "colours converted from gAMA to sRGB" in prepared.notes


def test_m15_gray_of_16_bits_is_converted_before_it_is_cut() -> None:
    values = np.arange(0, 2000, dtype=np.uint16)[None]
    prepared = prepare(png_with(Image.fromarray(values), gAMA=struct.pack(">I", 100_000)))
    assert len(np.unique(prepared.pixels)) > 40, "the shadows were cut first: 9 steps"
    assert np.abs(light(prepared.pixels[0, :, 0]) - values[0] / 65535).max() < 1.2 / 255 * 0.4
    assert prepared.notes[-1] == "colours converted from gAMA to sRGB"


def chromaticities(*values: float) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for value in values))


P3 = chromaticities(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


@pytest.mark.parametrize(
    "chunks",
    [
        {"cHRM": P3},
        {"cHRM": P3, "gAMA": struct.pack(">I", 45455)},
        {"cICP": bytes((12, 13, 0, 1))},
    ],
)
def test_m15_primaries_are_converted(chunks: dict[str, bytes]) -> None:
    # White, the most saturated red that sRGB shows, and what lies beyond it.
    image = Image.fromarray(np.array([[[255] * 3, [234, 51, 35], [255, 0, 0]]], np.uint8))
    prepared = prepare(png_with(image, **chunks))
    off = np.abs(prepared.pixels[0].astype(int) - [[255] * 3, [255, 0, 0], [255, 0, 0]])
    assert off.max() <= 6
    assert off[0].max() == off[2].max() == 0
    assert [note.split(" from ")[0] for note in prepared.notes] == ["colours converted"]


def test_m15_white_of_another_temperature_stays_white() -> None:
    d50 = chromaticities(0.3457, 0.3585, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
    image = Image.new("RGB", (4, 4), "white")
    assert (prepare(png_with(image, cHRM=d50)).pixels == 255).all()


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ({"cICP": bytes((9, 16, 0, 1))}, "PQ"),
        ({"cICP": bytes((9, 18, 0, 1))}, "HLG"),
        ({"cICP": bytes((22, 17, 0, 1))}, "22 and 17"),
        ({"gAMA": bytes(4)}, "gAMA"),
        ({"cHRM": bytes(32)}, "cHRM"),
        ({"cHRM": chromaticities(*[0.3, 0.3] * 4)}, "cHRM"),
    ],
)
def test_m15_what_cannot_be_converted_is_said(
    photo: Image.Image, chunks: dict[str, bytes], name: str
) -> None:
    prepared = prepare(png_with(photo, **chunks))
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert len(prepared.notes) == 1
    assert "not converted" in prepared.notes[0]
    assert name in prepared.notes[0]


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45455)},
        {"gAMA": struct.pack(">I", 100_000), "sRGB": b"\0"},
        {"cICP": bytes((1, 13, 0, 1)), "gAMA": struct.pack(">I", 100_000)},
        {"cHRM": chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)},
    ],
)
def test_m15_srgb_by_any_name_is_left_as_it_is(
    photo: Image.Image, chunks: dict[str, bytes]
) -> None:
    prepared = prepare(png_with(photo, **chunks))
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert prepared.notes == []


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (13, None)])
def test_m15_code_points_of_avif_are_read(
    photo: Image.Image, transfer: int, name: str | None
) -> None:
    out = io.BytesIO()
    photo.save(out, "AVIF")
    before, mark, after = out.getvalue().partition(b"colrnclx")
    data = before + mark + struct.pack(">HH", 1, transfer) + after[4:]
    notes = prepare(Image.open(io.BytesIO(data))).notes
    assert notes == ([f"colours not converted to sRGB from {name} (nclx)"] if name else [])


def test_m15_a_profile_comes_before_gamma() -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 0))
    image.info["icc_profile"] = matrix_profile()
    expected = prepare(image)
    prepared = prepare(png_with(image, gAMA=struct.pack(">I", 100_000)))
    assert np.array_equal(prepared.pixels, expected.pixels)


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


# D2 and D3: depth


@pytest.mark.parametrize(("largest", "bits"), [(65535, 16), (1023, 10)])
@pytest.mark.parametrize("kind", [b"P6", b"P3"])
def test_d2_bits_that_a_ppm_loses_are_said(largest: int, bits: int, kind: bytes) -> None:
    head = b"%s 2 1 %d\n" % (kind, largest)
    samples = [largest, largest // 2, 0] * 2
    body = struct.pack(">6H", *samples) if kind == b"P6" else " ".join(map(str, samples)).encode()
    prepared = prepare(Image.open(io.BytesIO(head + body)))
    assert prepared.pixels[0, 0].tolist() == pytest.approx([255, 127, 0], abs=1)
    assert prepared.notes == [f"{bits} bits a channel reduced to 8"]


def test_d2_bits_that_avif_and_jpeg_2000_lose_are_known(photo: Image.Image) -> None:
    out = io.BytesIO()
    photo.save(out, "AVIF")
    before, mark, after = out.getvalue().partition(b"av1C")
    deep = before + mark + after[:2] + bytes((after[2] | 0x40,)) + after[3:]
    deep = deep.replace(b"pixi\0\0\0\0\3\x08\x08\x08", b"pixi\0\0\0\0\3\x0a\x0a\x0a")
    assert [bits(Image.open(io.BytesIO(data))) for data in (out.getvalue(), deep)] == [8, 10]
    out = io.BytesIO()
    photo.save(out, "JPEG2000")
    data = out.getvalue()
    first = data.index(b"\xff\x4f\xff\x51") + 42
    deep = data[:first] + b"\x0b" + data[first + 1 :]
    assert [bits(Image.open(io.BytesIO(each))) for each in (data, deep)] == [8, 12]


def test_d2_a_ppm_of_8_bits_says_nothing(photo: Image.Image) -> None:
    assert prepare(file_of(photo, "PPM")).notes == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1.0001], [0, 128, 255]),
        ([-0.05, 0.5, 1.1], [0, 128, 255]),
        ([0, 2, 4], [0, 128, 255]),
        ([0, 0.25, 50], [0, 1, 255]),
        ([-3, 127.5, 258], [0, 128, 255]),
        ([0, 100, 200], [0, 100, 200]),
    ],
)
def test_d3_floating_point_is_not_black(values: list[float], expected: list[int]) -> None:
    prepared = prepare(Image.fromarray(np.array([values], np.float32)))
    assert prepared.pixels[0, :, 0].tolist() == expected
    outside = min(values) < 0 or max(values) in (1.0001, 1.1)
    assert ("clipped" in prepared.notes[0]) == outside
