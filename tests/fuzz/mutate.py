"""Mutations of .vqc files: of any byte, and of fields with the checksums put right again.

Without the second kind nothing would get past the checksums.
"""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image

from vqcodec.fileformat.container import ChunkTag, Container

_FRONT = 10  # magic, version, model id, flags, quality
_NUMBERS = (0, 1, 2, 63, 64, 65, 127, 128, 255, 256, 65535, 65536, 65537, 2**31, 2**32 - 1, 2**32)
_SIDES = (1, 2, 7, 8, 63, 64, 65, 127, 128, 129)
_PNG_START = 8
_PNG_CHUNK = struct.Struct(">I4s")


@dataclass
class Fields:
    """A file in pieces that may contradict each other; a `Number` is a value and its padding."""

    front: bytearray
    width: tuple[int, int]
    height: tuple[int, int]
    count: int | None
    chunks: list[tuple[int, int, bytes]]
    stream_size: tuple[int, int]
    stream: bytes

    def pack(self) -> bytes:
        """Return the file with checksums that fit."""
        out = bytearray(self.front) + number(*self.width) + number(*self.height)
        out += binascii.crc_hqx(out, 0xFFFF).to_bytes(2, "little")
        if self.count is not None:
            out.append(self.count)
            for tag, size, data in self.chunks:
                out.append(tag)
                out += number(size) + data
        out += number(*self.stream_size) + self.stream
        return bytes(out + zlib.crc32(out).to_bytes(4, "little"))


def fields_of(data: bytes, container: Container) -> Fields:
    """Return the pieces of a sound file."""
    chunks = [(int(tag), len(own), own) for tag, own in sorted(container.chunks.items())]
    return Fields(
        bytearray(data[:_FRONT]),
        (container.header.width, 0),
        (container.header.height, 0),
        len(chunks) or None,
        chunks,
        (len(container.payload), 0),
        container.payload,
    )


def number(value: int, padding: int = 0) -> bytes:
    """Return a varint with `padding` bytes more than it needs."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F)
    digits += [0] * padding
    return bytes([digit | 0x80 for digit in digits[:-1]] + digits[-1:])


def repair(data: bytes) -> bytes:
    """Return the file with both checksums put right, wherever the header now ends."""
    out, end = bytearray(data), _FRONT
    for _ in range(2):
        while end < len(out) and out[end] >= 0x80:
            end += 1
        end += 1
    if end + 2 <= len(out):
        out[end : end + 2] = binascii.crc_hqx(bytes(out[:end]), 0xFFFF).to_bytes(2, "little")
    if len(out) >= 4:
        out[-4:] = zlib.crc32(out[:-4]).to_bytes(4, "little")
    return bytes(out)


def scramble(data: bytes, random: Random) -> bytes:
    """Change some bytes, wherever they are."""
    out = bytearray(data or b"V")
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        place = random.randrange(len(out))
        kind = random.randrange(6)
        if kind < 2:
            out[place] ^= 1 << random.randrange(8)
        elif kind == 2:
            out[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 3:
            out[place:place] = random.randbytes(random.choice((1, 1, 2, 4, 40)))
        elif kind == 4 and len(out) > 1:
            del out[place : place + random.choice((1, 1, 2, 4, 40))]
        elif kind == 5:
            source = random.randrange(len(out))
            piece = out[source : source + random.choice((1, 4, 16))]
            out[place : place + len(piece)] = piece
        out = out or bytearray(b"V")
    return bytes(out)


def rewrite(fields: Fields, random: Random) -> bytes:
    """Change one to three fields; the checksums fit."""
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(_REWRITES)(fields, random)
    return fields.pack()


def _flags(fields: Fields, random: Random) -> None:
    one_flipped = fields.front[8] ^ 1 << random.randrange(3)
    fields.front[8] = random.choice((one_flipped, random.randrange(256)))
    if fields.front[8] & 2 and fields.count is None:
        fields.count = 0
    elif not fields.front[8] & 2 and random.random() < 0.5:
        fields.count = None


def _quality(fields: Fields, random: Random) -> None:
    fields.front[9] = random.choice((0, 1, 2, 99, 100, 101, 255, random.randrange(256)))


def _front(fields: Fields, random: Random) -> None:
    fields.front[random.randrange(8)] ^= 1 << random.randrange(8)


def _sides(fields: Fields, random: Random) -> None:
    side = random.choice((_SIDES, _SIDES, _NUMBERS))
    fields.width = random.choice((fields.width[0], random.choice(side))), random.random() < 0.05
    fields.height = random.choice((fields.height[0], random.choice(side))), random.random() < 0.05


def _chunks(fields: Fields, random: Random) -> None:
    chunks, kind = fields.chunks, random.randrange(6)
    if kind < 2 or not chunks:
        tag = random.choice((1, 2, 3, 3, 4, 0, 5, 127, 128, 129, 255))
        own = random_png(fields, random) if tag == ChunkTag.ALPHA else random.randbytes(9)
        chunks[:] = [chunk for chunk in chunks if chunk[0] != tag or kind == 1]
        chunks.append((tag, len(own), own))
        if random.random() < 0.9:
            chunks.sort(key=lambda chunk: chunk[0])
        fields.front[8] |= 2
    else:
        place = random.randrange(len(chunks))
        tag, size, own = chunks[place]
        if kind == 2:
            chunks.append((tag, size, own))
        elif kind == 3:
            chunks[place] = tag, random.choice((*_NUMBERS, size + 1, max(0, size - 1))), own
        elif tag == ChunkTag.ALPHA:
            own = scramble_png(own, random)
            chunks[place] = tag, len(own), own
        else:
            own = scramble(own, random)
            chunks[place] = tag, len(own), own
    fields.count = random.randrange(256) if random.random() < 0.05 else len(chunks) % 256


def _stream(fields: Fields, random: Random) -> None:
    stream, size = fields.stream, random.randrange(len(fields.stream) + 1)
    fields.stream = random.choice(
        (
            stream[:size],
            scramble(stream, random),
            scramble(stream, random),
            random.randbytes(size),
            stream[:size] + random.randbytes(8),
            bytes(size),
            b"\xff" * size,
            stream + random.randbytes(random.choice((1, 4, 100))),
        )
    )
    fields.stream_size = len(fields.stream), 0


def _stream_size(fields: Fields, random: Random) -> None:
    size = len(fields.stream)
    claimed = random.choice((*_NUMBERS, size, size + 1, max(0, size - 1)))
    fields.stream_size = claimed, random.random() < 0.2


_REWRITES: tuple[Callable[[Fields, Random], None], ...] = (
    _flags, _quality, _front, _sides, _sides, _chunks, _chunks, _chunks, _stream, _stream, _stream,
    _stream_size,
)  # fmt: skip


def random_png(fields: Fields, random: Random) -> bytes:
    """Return a PNG that may or may not be the opacity of the file."""
    width, height = fields.width[0], fields.height[0]
    if random.random() < 0.2 or not (0 < width <= 512 and 0 < height <= 512):
        width, height = random.choice(_SIDES), random.choice(_SIDES)
    mode = random.choice(("L", "L", "L", "1", "P", "LA", "I;16", "RGB"))
    out = io.BytesIO()
    options = {"bits": random.choice((1, 2, 4, 8))} if mode == "P" else {}
    Image.new(mode, (width, height), 0).save(out, "PNG", **options)
    return scramble_png(out.getvalue(), random) if random.random() < 0.5 else out.getvalue()


def scramble_png(png: bytes, random: Random) -> bytes:
    """Change a PNG, mostly within a chunk whose checksum is put right again."""
    chunks, place = [], _PNG_START
    while place + 12 <= len(png):
        size, kind = _PNG_CHUNK.unpack_from(png, place)
        chunks.append((kind, png[place + 8 : place + 8 + size]))
        place += 12 + size
    if not chunks or random.random() < 0.2:
        return scramble(png, random)
    place = random.randrange(len(chunks))
    change = random.randrange(4)
    kind, own = chunks[place]
    if change < 2:
        chunks[place] = kind, scramble(own, random)
    elif change == 2:
        text = zlib.compress(bytes(random.choice((10, 10**6, 4 * 10**6))))
        extra = random.choice(
            (
                (b"zTXt", b"k\0\0" + text),
                (b"iTXt", b"k\0\1\0\0\0" + text),
                (b"iCCP", random.choice((b"", b"k\0\0" + text))),
                (b"acTL", struct.pack(">II", random.randrange(3), 0)),
                (b"fcTL", random.randbytes(26)),
                (b"fdAT", random.randbytes(9)),
                (b"tRNS", random.randbytes(random.randrange(9))),
                (b"gAMA", random.randbytes(random.randrange(5))),
                (b"eXIf", random.randbytes(20)),
                (b"pHYs", random.randbytes(random.choice((3, 9)))),
                (b"cHRM", random.randbytes(random.choice((31, 32)))),
            )
        )
        chunks.insert(place, extra)
    else:
        del chunks[place]
    out = bytearray(png[:_PNG_START])
    for kind, own in chunks:
        out += _PNG_CHUNK.pack(len(own), kind) + own
        out += zlib.crc32(kind + own).to_bytes(4, "big")
    return bytes(out)
