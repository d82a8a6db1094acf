"""Pictures made on the spot with metadata as cameras and programs write it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from vqcodec.fileformat import exif as exifs
from vqcodec.fileformat.image import Prepared, assemble, chunks_of, info_of

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
