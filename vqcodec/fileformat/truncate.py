"""A .vqc file made smaller by cutting its stream: coarser, but whole. No weights, no torch."""

from __future__ import annotations

from dataclasses import replace

from vqcodec.errors import TargetError
from vqcodec.fileformat.container import (
    BytesLike,
    ChunkTag,
    Container,
    as_bytes,
    pack,
    unpack,
)

# The coder works in words of this size; a rest of a word tells a decoder nothing.
WORD = 4
# What is left out first of what is not the picture itself.
_LEAST_FIRST = (ChunkTag.EXIF, ChunkTag.ICC, ChunkTag.ALPHA)


def truncate(data: BytesLike, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a .vqc file of at most `max_bytes` bytes, and what it had to leave out, in words.

    The first symbols of the stream stay: the coarse levels, then as much of the finer ones as there
    is room for. Chunks (EXIF, then ICC, then alpha) give way as long as the stream would get less
    than half of the bytes. A file that is small enough already is returned as it is.

    Raises TargetError if not even an empty stream fits, and what `unpack` raises: a damaged or
    truncated file is not made into a sound one.
    """
    data = as_bytes(data)
    container = unpack(data)
    if len(data) <= max_bytes:
        return data, []
    payload = container.payload
    frame, notes = drop_chunks(container, max_bytes, min(max_bytes // 2, len(payload)))
    space = room(frame, max_bytes)
    if space < 0:
        raise TargetError(f"no .vqc file of this image is smaller than {max_bytes - space} bytes")
    if space < len(payload):
        header = replace(frame.header, cut=True)
        return pack(replace(frame, header=header, payload=payload[: space // WORD * WORD])), notes
    return pack(replace(frame, payload=payload)), notes  # without its chunks it is small enough


def drop_chunks(container: Container, max_bytes: int, wanted: int) -> tuple[Container, list[str]]:
    """Return an empty file without the chunks that leave a stream less than `wanted` bytes.

    `max_bytes` are what the whole file may have. What was left out is said in words.
    """
    frame, notes = replace(container, payload=b""), []
    for tag in _LEAST_FIRST:
        if tag in frame.chunks and room(frame, max_bytes) < wanted:
            chunks = {other: data for other, data in frame.chunks.items() if other != tag}
            frame = replace(frame, chunks=chunks)
            notes.append(f"{tag.name} left out: {max_bytes} bytes have no room for it")
    return frame, notes


def room(empty: Container, max_bytes: int) -> int:
    """Return the bytes that a stream may take beside everything else in the file."""
    space = left = max_bytes - len(pack(empty))
    # The stream's size is a number of one byte in an empty file, of more in others: 7 bits each.
    while space > 0 and space + (space.bit_length() - 1) // 7 > left:
        space -= 1
    return space
