"""The bytes of a .vqc file around its index stream: header, chunks, checksums (docs/format.md)."""

from __future__ import annotations

import binascii
import io
import os
import zlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import IO

from vqcodec.errors import (
    CorruptError,
    NotVqcError,
    TooLargeError,
    TruncatedError,
    UnsupportedVersionError,
)
from vqcodec.varint import read_varint, varint

MAGIC = b"VQC"
VERSION = 1
MODEL_ID_SIZE = 4
DEFAULT_QUALITY = 50  # where none is asked for
MAX_SIDE = 65536
MAX_PIXELS = 2 * 8192 * 8192
MAX_HEADER_SIZE = 22  # two varints of five bytes; sides within MAX_SIDE need no more than 18
TRAILER_SIZE = 4

_FLAG_GRAY = 0x01
_FLAG_CHUNKS = 0x02
_FLAG_CUT = 0x04
_FLAGS_KNOWN = _FLAG_GRAY | _FLAG_CHUNKS | _FLAG_CUT
_FIRST_OPTIONAL_TAG = 128


class ChunkTag(IntEnum):
    """What a chunk holds; the values are those in the file."""

    ICC = 1
    EXIF = 2
    ALPHA = 3
    COARSE_ALPHA = 4
    XMP = 128


ALPHA_TAGS = frozenset({ChunkTag.ALPHA, ChunkTag.COARSE_ALPHA})
_KNOWN_TAGS = frozenset(ChunkTag)

BytesLike = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Header:
    """What a decoder has to know before it reads the stream; width and height in pixels.

    The stream of a `cut` file is the front of a longer one.
    """

    model_id: bytes
    width: int
    height: int
    quality: int
    gray: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A whole file, taken apart.

    `payload` is the index stream. `complete` is False when `unpack(..., partial=True)` met a
    truncated file: chunks may then be missing and the payload may be only the front of the stream.
    `crc` is the file's checksum, 0 of a truncated file and of one that is not written yet.
    """

    header: Header
    chunks: dict[ChunkTag, bytes] = field(default_factory=dict)
    payload: bytes = b""
    complete: bool = True
    crc: int = field(default=0, compare=False)

    @property
    def whole_stream(self) -> bool:
        """Whether the payload is all that was coded, and not the front of it."""
        return self.complete and not self.header.cut


@dataclass(frozen=True, slots=True)
class Preamble:
    """What stands before the index stream, and where in the file the stream is, in bytes."""

    header: Header
    chunks: dict[ChunkTag, bytes]
    stream_offset: int
    stream_size: int


def check_size(width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raise TooLargeError for an image of more than `max_pixels` or with a side above MAX_SIDE."""
    if max(width, height) > MAX_SIDE:
        raise TooLargeError(f"{width}x{height} pixels: a side is at most {MAX_SIDE}")
    if width * height > max_pixels:
        raise TooLargeError(f"{width}x{height} pixels: more than the limit of {max_pixels}")


def pack(container: Container) -> bytes:
    """The bytes of the file.

    Raises ValueError for a header that no file may have, and for an incomplete container.
    """
    header, chunks = container.header, container.chunks
    if not container.complete:
        raise ValueError("an incomplete container cannot be written")
    if len(header.model_id) != MODEL_ID_SIZE:
        raise ValueError(f"model id has {len(header.model_id)} bytes, not {MODEL_ID_SIZE}")
    if not 1 <= header.quality <= 100:
        raise ValueError(f"quality {header.quality} is not within 1..100")
    if not (1 <= header.width <= MAX_SIDE and 1 <= header.height <= MAX_SIDE):
        raise ValueError(f"{header.width}x{header.height}: a side is 1..{MAX_SIDE} pixels")

    flags = _FLAG_GRAY * header.gray | _FLAG_CHUNKS * bool(chunks) | _FLAG_CUT * header.cut
    out = bytearray(MAGIC)
    out.append(VERSION)
    out += header.model_id
    out += bytes((flags, header.quality))
    out += varint(header.width) + varint(header.height)
    out += _crc16(out).to_bytes(2, "little")
    if chunks:
        out.append(len(chunks))
        for tag, data in sorted(chunks.items()):
            out.append(tag)
            out += varint(len(data)) + data
    out += varint(len(container.payload)) + container.payload
    out += zlib.crc32(out).to_bytes(TRAILER_SIZE, "little")
    return bytes(out)


def read_header(prefix: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[Header, int]:
    """Header of a file from its first bytes (MAX_HEADER_SIZE always suffice), and its size.

    Raises NotVqcError, UnsupportedVersionError, TruncatedError, CorruptError, TooLargeError.
    """
    if not prefix:
        raise TruncatedError("the file is empty")
    if not prefix.startswith(MAGIC[: len(prefix)]):
        raise NotVqcError("not a .vqc file")
    reader = _Reader(io.BytesIO(prefix), "header")
    reader.take(len(MAGIC))
    version = reader.byte()
    if version != VERSION:
        raise UnsupportedVersionError(
            f"the file is of format version {version}, this program reads version {VERSION}"
        )
    model_id = reader.take(MODEL_ID_SIZE)
    flags, quality = reader.byte(), reader.byte()
    width, height = reader.varint(), reader.varint()
    crc_offset = reader.offset
    # The checksum comes before the values: a damaged size is "corrupt", not "too large".
    if int.from_bytes(reader.take(2), "little") != _crc16(prefix[:crc_offset]):
        raise CorruptError("the header's checksum does not fit")
    if flags & ~_FLAGS_KNOWN:
        raise UnsupportedVersionError(f"the file has flags of a later version ({flags:#04x})")
    if not 1 <= quality <= 100:
        raise CorruptError(f"quality {quality} is not within 1..100")
    if not (width and height):
        raise CorruptError(f"{width}x{height}: an image without pixels")
    check_size(width, height, max_pixels=max_pixels)
    gray, cut = bool(flags & _FLAG_GRAY), bool(flags & _FLAG_CUT)
    return Header(model_id, width, height, quality, gray, cut), reader.offset


def read_preamble(
    fp: IO[bytes], *, partial: bool = False, max_pixels: int = MAX_PIXELS
) -> Preamble:
    """Header and chunks of a seekable file that begins at offset 0; the stream is not read.

    With `partial` a file that ends within its chunks gives those that are whole.
    Raises what `read_header` raises, for the chunks too.
    """
    fp.seek(0)
    prefix = fp.read(MAX_HEADER_SIZE)
    header, offset = read_header(prefix, max_pixels=max_pixels)
    has_chunks = bool(prefix[len(MAGIC) + 1 + MODEL_ID_SIZE] & _FLAG_CHUNKS)
    fp.seek(offset)
    reader = _Reader(fp, "chunks")
    chunks: dict[ChunkTag, bytes] = {}
    try:
        if has_chunks:
            _read_chunks(reader, chunks)
        stream_size = reader.varint()
    except TruncatedError:
        if not partial:
            raise
        return Preamble(header, chunks, reader.size, 0)
    return Preamble(header, chunks, reader.offset, stream_size)


def as_bytes(data: BytesLike) -> bytes:
    """Return the bytes of any bytes-like object; TypeError for anything else."""
    try:
        return data if isinstance(data, bytes) else bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"a file is a bytes-like object, not {type(data).__name__}") from None


def unpack(data: BytesLike, *, partial: bool = False, max_pixels: int = MAX_PIXELS) -> Container:
    """Take a whole file apart and check it.

    With `partial` a truncated file is no error as long as its header is whole; the container then
    says `complete=False`.
    Raises NotVqcError, UnsupportedVersionError, TruncatedError, CorruptError, TooLargeError, and
    TypeError for what is not bytes-like.
    """
    data = as_bytes(data)
    read_header(data[:MAX_HEADER_SIZE], max_pixels=max_pixels)
    crc = zlib.crc32(memoryview(data)[:-TRAILER_SIZE])
    sound = crc == int.from_bytes(data[-TRAILER_SIZE:], "little")
    try:
        preamble = read_preamble(io.BytesIO(data), partial=partial, max_pixels=max_pixels)
    except UnsupportedVersionError:
        # An unknown chunk is a message from the future only if the file is sound.
        if not sound:
            raise CorruptError("the file's checksum does not fit") from None
        raise
    stream_end = preamble.stream_offset + preamble.stream_size
    payload = data[preamble.stream_offset : stream_end]
    missing = stream_end + TRAILER_SIZE - len(data)
    if missing > 0 and not partial:
        raise TruncatedError(f"the file is truncated: {missing} bytes are missing at its end")
    if missing < 0:
        raise CorruptError(f"{-missing} bytes follow the end of the image")
    if missing == 0 and not sound:
        raise CorruptError("the file's checksum does not fit")
    complete = missing == 0
    return Container(preamble.header, preamble.chunks, payload, complete, crc if complete else 0)


def _read_chunks(reader: _Reader, chunks: dict[ChunkTag, bytes]) -> None:
    """Fill `chunks` one by one, so that those before a truncation are kept."""
    count, previous = reader.byte(), -1
    if not count:
        raise CorruptError("the file announces chunks and has none")
    for _ in range(count):
        tag, size = reader.byte(), reader.varint()
        if tag <= previous:
            raise CorruptError(f"chunk {tag} stands after chunk {previous}")
        if tag in _KNOWN_TAGS:
            chunks[ChunkTag(tag)] = reader.take(size)
        elif tag >= _FIRST_OPTIONAL_TAG:
            reader.skip(size)
        else:
            raise UnsupportedVersionError(f"the file has a chunk of a later version (tag {tag})")
        previous = tag


class _Reader:
    """Reads a file forward; what is not there is TruncatedError before memory is taken for it."""

    def __init__(self, fp: IO[bytes], part: str) -> None:
        self.offset = fp.tell()
        self._fp = fp
        self._part = part
        self.size = fp.seek(0, os.SEEK_END)
        fp.seek(self.offset)

    def _advance(self, size: int) -> None:
        if size > self.size - self.offset:
            raise TruncatedError(f"the file is truncated: it ends within its {self._part}")
        self.offset += size

    def take(self, size: int) -> bytes:
        self._advance(size)
        return self._fp.read(size)

    def skip(self, size: int) -> None:
        self._advance(size)
        self._fp.seek(self.offset)

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = read_varint(self.byte)
        if value is None:
            raise CorruptError(f"a number in the {self._part} is not in its shortest form")
        return value


def _crc16(data: bytes | bytearray) -> int:
    return binascii.crc_hqx(data, 0xFFFF)
