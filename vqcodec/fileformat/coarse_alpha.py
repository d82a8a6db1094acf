"""Opacity with loss: a chunk that holds a gray file, without the header that it has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vqcodec.errors import CorruptError
from vqcodec.fileformat.container import ChunkTag, Container, Header

_QUALITIES = range(1, 101)


def chunk_of(quality: int, stream: bytes) -> bytes:
    """The COARSE_ALPHA chunk for opacity that was coded, like a gray image, to a stream."""
    return bytes([quality]) + stream


def file_of(header: Header, chunks: Mapping[ChunkTag, bytes]) -> Container | None:
    """The gray file that shows a file's opacity, None if it has none with loss.

    Raises CorruptError for a chunk that no encoder writes.
    """
    chunk = chunks.get(ChunkTag.COARSE_ALPHA)
    if chunk is None:
        return None
    if ChunkTag.ALPHA in chunks:
        raise CorruptError("the file has alpha twice")
    if not chunk or chunk[0] not in _QUALITIES:
        raise CorruptError("the coarse alpha chunk has no quality of 1..100")
    return Container(replace(header, quality=chunk[0], gray=True, cut=False), payload=chunk[1:])
