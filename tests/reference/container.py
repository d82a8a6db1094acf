"""The bytes of a file around its stream: "Layout" and "Reading, and refusing to read"."""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass


class Refused(Exception):
    """A file that breaks a rule of the page; `error` is the name that the page has for it."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error = error


@dataclass
class File:
    """What stands in a file; the stream of a `cut` one may lack its end."""

    model_id: bytes
    gray: bool
    cut: bool
    quality: int
    width: int
    height: int
    chunks: dict[int, bytes]
    stream: bytes
    crc: int  # 0 of a truncated file


class Reader:
    """Reads a file from its front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    def bytes(self, count: int) -> bytes:
        if self.offset + count > len(self.data):
            raise Refused("TruncatedError", "the file ends too early")
        self.offset += count
        return self.data[self.offset - count : self.offset]

    def byte(self) -> int:
        return self.bytes(1)[0]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**32 or (byte == 0 and shift):
                    raise Refused("CorruptError", "a varint not in its shortest form")
                return value
        raise Refused("CorruptError", "a varint of more than five bytes")


def parse(data: bytes, *, partial: bool = False, max_pixels: int = 2**27) -> File:
    """Take a file apart, or as much as there is of it; raises Refused."""
    reader = Reader(data)
    file, has_chunks = _header(reader, max_pixels)
    sound = zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    try:
        if has_chunks:
            _read_chunks(reader, file.chunks, sound)
        size = reader.varint()
    except Refused as refused:
        if not partial or refused.error != "TruncatedError":
            raise
        file.cut = True
        return file
    end = reader.offset + size
    file.stream = data[reader.offset : end]
    missing = end + 4 - len(data)
    if missing > 0 and not partial:
        raise Refused("TruncatedError", "the stream or the trailer is not whole")
    if missing < 0:
        raise Refused("CorruptError", "bytes follow the trailer")
    if missing == 0 and not sound:
        raise Refused("CorruptError", "CRC")
    file.cut |= missing > 0
    file.crc = 0 if missing > 0 else int.from_bytes(data[-4:], "little")
    return file


def _header(reader: Reader, max_pixels: int) -> tuple[File, bool]:
    data = reader.data
    if data[:3] != b"VQC"[: len(data)]:
        raise Refused("NotVqcError", "magic")
    reader.bytes(3)
    if reader.byte() != 1:
        raise Refused("UnsupportedVersionError", "version")
    model_id, flags, quality = reader.bytes(4), reader.byte(), reader.byte()
    width, height = reader.varint(), reader.varint()
    if binascii.crc_hqx(data[: reader.offset], 0xFFFF) != int.from_bytes(reader.bytes(2), "little"):
        raise Refused("CorruptError", "header CRC")
    if flags & ~7:
        raise Refused("UnsupportedVersionError", "flags")
    if not 1 <= quality <= 100 or not width or not height:
        raise Refused("CorruptError", "quality or size")
    if max(width, height) > 65536 or width * height > max_pixels:
        raise Refused("TooLargeError", "size")
    gray, cut = bool(flags & 1), bool(flags & 4)
    return File(model_id, gray, cut, quality, width, height, {}, b"", 0), bool(flags & 2)


def _read_chunks(reader: Reader, chunks: dict[int, bytes], sound: bool) -> None:
    """Fill `chunks` one by one; those of a tag that need not be known are left out."""
    count, previous = reader.byte(), -1
    if not count:
        raise Refused("CorruptError", "no chunks")
    for _ in range(count):
        tag, size = reader.byte(), reader.varint()
        if tag <= previous:
            raise Refused("CorruptError", "tags do not rise")
        if tag in (1, 2, 3, 4, 128):
            chunks[tag] = reader.bytes(size)
        elif tag >= 128:
            reader.bytes(size)
        else:
            error = "UnsupportedVersionError" if sound else "CorruptError"
            raise Refused(error, "a chunk that one has to know")
        previous = tag
