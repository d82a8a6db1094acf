"""A .vqc file made smaller by cutting its stream: coarser, but whole. No weights, no torch."""

from __future__ import annotations

from dataclasses import replace

from vqcodec.container import ChunkTag, Container, pack, unpack
from vqcodec.errors import TargetError

# The coder works in words of this size; a rest of a word tells a decoder nothing.
WORD = 4
# What is left out first of what is not the picture itself.
_LEAST_FIRST = (ChunkTag.EXIF, ChunkTag.ICC, ChunkTag.ALPHA)


def truncate(data: bytes, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a .vqc file of at most `max_bytes` bytes, and what it had to leave out, in words.

    The first symbols of the stream stay: the coarse levels, then as much of the finer ones as there
    is room for. Chunks (EXIF, then ICC, then alpha) give way as long as the stream would get less
    than half of the bytes. A file that is small enough already is returned as it is.

    Raises TargetError if not even an empty stream fits, and what `unpack` raises: a damaged or
    truncated file is not made into a sound one.
    """
    container = unpack(data)
    if len(data) <= max_bytes:
        return data, []
    header, chunks = replace(container.header, cut=True), dict(container.chunks)
    wanted = min(max_bytes // 2, len(container.payload))
    notes = []
    for tag in _LEAST_FIRST:
        if tag in chunks and _room(Container(header, chunks), max_bytes) < wanted:
            del chunks[tag]
            notes.append(f"{tag.name} left out: {max_bytes} bytes have no room for it")
    room = _room(Container(header, chunks), max_bytes)
    if room < 0:
        raise TargetError(f"no .vqc file of this image is smaller than {max_bytes - room} bytes")
    if room < len(container.payload):
        payload = container.payload[: room // WORD * WORD]
    else:  # without its chunks the file is small enough
        header, payload = container.header, container.payload
    return pack(Container(header, chunks, payload)), notes


def _room(empty: Container, max_bytes: int) -> int:
    """Return the bytes that a stream may take beside everything else in the file."""
    room = max_bytes - len(pack(empty))
    # The stream's size is a number of one byte in an empty file, of more in others.
    while room > 0 and len(pack(replace(empty, payload=bytes(room)))) > max_bytes:
        room -= 1
    return room
