"""A .vqc file made smaller by cutting its stream: coarser, but whole. No weights, no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vqcodec.errors import TargetError
from vqcodec.fileformat.container import (
    ALPHA_TAGS,
    BytesLike,
    ChunkTag,
    Container,
    as_bytes,
    pack,
    unpack,
)

# The coder works in words of this size; a rest of a word tells a decoder nothing.
WORD = 4
_VARINT_BYTES = 5
# What is left out first of what is not the picture itself.
_LEAST_FIRST = (ChunkTag.XMP, ChunkTag.EXIF, ChunkTag.ICC)


def truncate(
    data: BytesLike, max_bytes: int, *, needed: Collection[ChunkTag] = ()
) -> tuple[bytes, list[str]]:
    """Return a .vqc file of at most `max_bytes` bytes, and what it had to leave out, in words.

    The first symbols of the stream stay: the coarse levels, then as much of the finer ones as there
    is room for. Metadata (XMP, then EXIF and ICC) give way as long as the stream would get less
    than half of the bytes, but for those that are `needed`. A file that is small enough already is
    returned as it is.

    Raises TargetError if not even an empty stream fits beside alpha and what is needed, and as
    `unpack` does: a damaged or truncated file is not made into a sound one.
    """
    data = as_bytes(data)
    container = unpack(data)
    if len(data) <= max_bytes:
        return data, []
    payload = container.payload
    frame, notes = drop_chunks(container, max_bytes, min(max_bytes // 2, len(payload)), needed)
    space = room(frame, max_bytes)
    if space < len(payload):
        header = replace(frame.header, cut=True)
        return pack(replace(frame, header=header, payload=payload[: space // WORD * WORD])), notes
    return pack(replace(frame, payload=payload)), notes  # without its chunks it is small enough


def drop_chunks(
    container: Container, max_bytes: int, wanted: int, needed: Collection[ChunkTag] = ()
) -> tuple[Container, list[str]]:
    """Return an empty file without the chunks that leave a stream less than `wanted` bytes.

    `max_bytes` are what the whole file may have. None of the `needed` chunks is left out; what was
    is said in words.
    """
    frame, notes = replace(container, payload=b""), []
    for tag in _LEAST_FIRST:
        if tag in frame.chunks and tag not in needed and _space(frame, max_bytes) < wanted:
            chunks = {other: data for other, data in frame.chunks.items() if other != tag}
            frame = replace(frame, chunks=chunks)
            notes.append(f"{tag.name} left out: {max_bytes} bytes have no room for it")
    return frame, notes


def room(empty: Container, max_bytes: int) -> int:
    """Return the bytes that a stream may take beside everything else in the file.

    Raises TargetError if that alone is longer than `max_bytes`. Alpha, without which colours show
    that are not to be seen, is never left out.
    """
    space = _space(empty, max_bytes)
    if space < 0:
        message = f"no .vqc file of this image is smaller than {max_bytes - space} bytes"
        for name, tags in (("alpha", ALPHA_TAGS), ("ICC profile", (ChunkTag.ICC,))):
            if size := sum(len(empty.chunks.get(tag, b"")) for tag in tags):
                message += f", its {name} alone takes {size}"
        raise TargetError(message)
    return space


def _space(empty: Container, max_bytes: int) -> int:
    """Return `room`, or less than 0 where there is none."""
    space = max_bytes - len(pack(empty))
    # The stream's size is a number of one byte in an empty file; n bytes hold 7 n bits.
    return max(min(space - n, (128 << 7 * n) - 1) for n in range(_VARINT_BYTES))
