"""XMP packets: captions, rights and ratings as XML, read from a picture's file and kept as text."""

from __future__ import annotations

import codecs
import re
from xml.parsers import expat

from PIL import Image

TIFF_TAG = 700
PNG_KEYWORD = "XML:com.adobe.xmp"
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig"} | dict.fromkeys(_MARKS[1:], "utf-16")

_ORIENTATION = re.compile(rb"(\btiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8](?=\s*[\"'<])")
# A property whose name begins with GPS, of whatever namespace: an attribute or an element.
_GPS_ATTRIBUTE = re.compile(
    rb"\s(?!xmlns:)[\w.-]+:gps[\w.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE
)
_GPS_ELEMENT = re.compile(
    rb"<([\w.-]+:gps[\w.-]*)(?:\s[^<>]*)?(?:/>|>.*?</\1\s*>)\s*", re.IGNORECASE | re.DOTALL
)


def read(image: Image.Image) -> bytes | None:
    """The packet of an image that Pillow opened, in UTF-8; ValueError if it is no text."""
    given = image.info.get("xmp") or image.info.get(PNG_KEYWORD)
    if given is None:  # of a TIFF file, in versions of Pillow that do not look for it
        given = getattr(image, "tag_v2", {}).get(TIFF_TAG)
    if isinstance(given, str):
        return given.encode() or None
    if not isinstance(given, bytes):
        return None
    mark = next((mark for mark in _MARKS if given.startswith(mark)), b"")
    text = given.decode(_ENCODINGS.get(mark, "utf-8")) if given else ""
    return text.rstrip("\0").encode() or None


def turned_upright(packet: bytes) -> bytes:
    """The same with an orientation of 1, if it has any: that of a picture that has been turned."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)


def without_gps(packet: bytes) -> bytes:
    """The same without properties of GPS; ValueError where something of it would be left."""
    if not has_gps(packet):
        return packet
    rest = _GPS_ATTRIBUTE.sub(b"", _GPS_ELEMENT.sub(b"", packet))
    if has_gps(rest):
        raise ValueError("it tells of GPS elsewhere too")
    parser = expat.ParserCreate()
    try:
        parser.Parse(rest, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no XML without them: {error}") from None
    return rest


def has_gps(packet: bytes) -> bool:
    """Whether the word occurs in it at all."""
    return b"gps" in packet.lower()
