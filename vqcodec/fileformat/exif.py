"""EXIF as bytes: read and changed in place, so that nothing in it moves.

Maker notes hold offsets that count from the start of the whole structure, and so do the pointers to
a thumbnail: a structure that is written anew breaks the former and loses the latter. All functions
take a TIFF structure without the prefix of a JPEG segment; ValueError where it is none.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from PIL import ExifTags

PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_FIRST = 4  # where the offset of the first directory stands
_ENTRY_SIZE = 12
_SHORT, _RATIONAL = 3, 5
# Bytes of a value by its type, BYTE to IFD.
_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
_INTEGERS = (1, 3, 4)
_CENTIMETRE = 3
_INCHES = {2: 1.0, _CENTIMETRE: 2.54}


class _Entry(NamedTuple):
    """An entry of a directory: where it stands, and what stands there."""

    place: int
    tag: int
    kind: int
    number: int
    value: int  # a number, or where the values are


def without_prefix(data: bytes) -> bytes:
    """The TIFF structure in a block of EXIF; some writers give it the prefix twice."""
    return data.removeprefix(PREFIX).removeprefix(PREFIX)


def orientation(exif: bytes) -> int:
    """How the picture is to be turned, 2..8; 1 where nothing is to be done or nothing is said."""
    order, start = _head(exif)
    for entry in _entries(exif, order, start):
        if entry.tag == ExifTags.Base.Orientation and entry.kind in _INTEGERS:
            field = exif[entry.place + 8 : entry.place + 8 + _SIZES[entry.kind]]
            value = int.from_bytes(field, "little" if order == "<" else "big")
            return value if 1 <= value <= 8 else 1
    return 1


def turned_upright(exif: bytes) -> bytes:
    """The same with an Orientation of 1, if it has any."""
    order, start = _head(exif)
    data = bytearray(exif)
    for entry in _entries(exif, order, start):
        if entry.tag != ExifTags.Base.Orientation:
            continue
        if (entry.kind, entry.number) == (_SHORT, 1):
            struct.pack_into(f"{order}H", data, entry.place + 8, 1)
        else:
            struct.pack_into(f"{order}HIHH", data, entry.place + 2, _SHORT, 1, 1, 0)
    return bytes(data)


def says_nothing(exif: bytes) -> bool:
    """Whether there is nothing in it but an Orientation."""
    order, start = _head(exif)
    entries = _entries(exif, order, start)
    alone = all(entry.tag == ExifTags.Base.Orientation for entry in entries)
    return alone and not _next(exif, order, start)


def without_gps(exif: bytes) -> bytes:
    """The same without GPS directories: their entries are gone, their bytes are zero."""
    order, start = _head(exif)
    data = bytearray(exif)
    for directory in _directories(exif, order, start):
        # From the last on, since those behind one that is taken out move.
        for entry in reversed(_entries(data, order, directory)):
            if entry.tag == ExifTags.IFD.GPSInfo:
                _blank(data, order, entry.value)
                _take_out(data, order, directory, entry)
    return bytes(data)


def without_orientation(exif: bytes) -> bytes:
    """The same without any Orientation, for formats that have one of their own."""
    order, start = _head(exif)
    data = bytearray(exif)
    for entry in reversed(_entries(data, order, start)):
        if entry.tag == ExifTags.Base.Orientation:
            _take_out(data, order, start, entry)
    return bytes(data)


def fragile_parts(exif: bytes) -> list[str]:
    """What of it is lost or breaks when it is written anew, in words."""
    order, start = _head(exif)
    directories = _directories(exif, order, start)
    tags = {entry.tag for place in directories for entry in _entries(exif, order, place)}
    parts = {ExifTags.Base.MakerNote: "maker note", ExifTags.Base.JpegIFOffset: "thumbnail"}
    return [name for tag, name in parts.items() if tag in tags]


def resolution(exif: bytes) -> tuple[float, float] | None:
    """Pixels per inch, across and down, or None if it does not say."""
    order, start = _head(exif)
    entries = {entry.tag: entry for entry in _entries(exif, order, start)}
    unit = entries.get(ExifTags.Base.ResolutionUnit)
    # Inches unless it says otherwise.
    inches = 1.0 if unit is None else _INCHES.get(unit.value & 0xFF or unit.value >> 16)
    across = _rational(exif, order, entries.get(ExifTags.Base.XResolution))
    down = _rational(exif, order, entries.get(ExifTags.Base.YResolution))
    if inches is None or across is None or down is None:
        return None
    return across * inches, down * inches


def _head(exif: bytes) -> tuple[str, int]:
    """The byte order, as `struct` writes it, and the offset of the first directory."""
    order = _ORDERS.get(exif[:4])
    if order is None or len(exif) < 8:
        raise ValueError("it is no TIFF structure")
    return order, _number(exif, order, _FIRST)


def _number(data: bytes | bytearray, order: str, place: int) -> int:
    try:
        return int(struct.unpack_from(f"{order}I", data, place)[0])
    except struct.error:
        raise ValueError("it ends too early") from None


def _entries(data: bytes | bytearray, order: str, start: int) -> list[_Entry]:
    try:
        (count,) = struct.unpack_from(f"{order}H", data, start)
        places = range(start + 2, start + 2 + count * _ENTRY_SIZE, _ENTRY_SIZE)
        return [_Entry(place, *struct.unpack_from(f"{order}HHII", data, place)) for place in places]
    except struct.error:
        raise ValueError("it ends within a directory") from None


def _next(data: bytes | bytearray, order: str, start: int) -> int:
    """The offset of the directory after one, or 0; some writers leave this number out."""
    place = start + 2 + len(_entries(data, order, start)) * _ENTRY_SIZE
    return _number(data, order, place) if place + 4 <= len(data) else 0


def _directories(data: bytes, order: str, start: int) -> list[int]:
    """Offsets of the directories that may point to one of GPS: the chain, and those for EXIF."""
    found: list[int] = []
    while start and start not in found:
        found.append(start)
        start = _next(data, order, start)
    for directory in tuple(found):
        pointed = (e.value for e in _entries(data, order, directory) if e.tag == ExifTags.IFD.Exif)
        found += [offset for offset in pointed if offset not in found]
    return found


def _blank(data: bytearray, order: str, start: int) -> None:
    """Write zeros over a directory and its values."""
    entries = _entries(data, order, start)
    ranges = [(start, 2 + len(entries) * _ENTRY_SIZE + 4)]
    for entry in entries:
        size = _SIZES.get(entry.kind, 1) * entry.number
        if size > 4:
            ranges.append((entry.value, size))
    for place, size in ranges:
        end = min(place + size, len(data))
        data[place:end] = bytes(max(0, end - place))


def _take_out(data: bytearray, order: str, start: int, entry: _Entry) -> None:
    """Close the gap of one entry: the others and the offset behind them move up."""
    (count,) = struct.unpack_from(f"{order}H", data, start)
    end = start + 2 + count * _ENTRY_SIZE + 4
    behind = data[entry.place + _ENTRY_SIZE : end]
    data[entry.place : end] = (behind + bytes(_ENTRY_SIZE))[: len(data[entry.place : end])]
    struct.pack_into(f"{order}H", data, start, count - 1)


def _rational(exif: bytes, order: str, entry: _Entry | None) -> float | None:
    if entry is None or entry.kind != _RATIONAL or entry.value + 8 > len(exif):
        return None
    over, under = struct.unpack_from(f"{order}II", exif, entry.value)
    return over / under if under else None
