"""Containers that lack their end, or were cut, and what their first bytes tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_container import FULL, HEADER, PLAIN, Watched, header_of

from vqcodec.errors import (
    CorruptError,
    TruncatedError,
)
from vqcodec.fileformat.container import (
    MAX_HEADER_SIZE,
    Container,
    Header,
    pack,
    read_header,
    read_preamble,
    unpack,
)


def test_a_cut_file_says_so_in_its_flags() -> None:
    header = header_of("56514301 deadbeef 0432 8006 8004")
    cut = replace(HEADER, cut=True)
    assert pack(Container(cut, payload=b"st")).startswith(header)
    container = unpack(pack(Container(cut, payload=b"st")))
    assert (container.header, container.complete, container.whole_stream) == (cut, True, False)
    assert unpack(pack(PLAIN)).whole_stream


def test_partial_gives_what_is_there() -> None:
    data = pack(FULL)
    _, header_size = read_header(data)
    fields = dict(FULL.chunks)
    for size in range(len(data) + 1):
        if size < header_size:
            with pytest.raises(TruncatedError):
                unpack(data[:size], partial=True)
            continue
        container = unpack(data[:size], partial=True)
        assert container.header == FULL.header
        assert container.chunks.items() <= fields.items()
        assert FULL.payload.startswith(container.payload)
        assert container.complete == (size == len(data))
    assert unpack(data[:-4], partial=True).payload == FULL.payload
    assert unpack(data[:-5], partial=True).payload == FULL.payload[:-1]
    assert unpack(data[:-5], partial=True).chunks == FULL.chunks


def test_partial_does_not_excuse_damage() -> None:
    data = bytearray(pack(PLAIN))
    data[-6] ^= 1
    with pytest.raises(CorruptError):
        unpack(bytes(data), partial=True)


def test_preamble_says_where_the_stream_is_and_does_not_read_it() -> None:
    payload = bytes(10_000)
    data = pack(Container(FULL.header, FULL.chunks, payload))
    file = Watched(data)
    preamble = read_preamble(file)
    assert (preamble.header, preamble.chunks) == (FULL.header, FULL.chunks)
    assert preamble.stream_offset + preamble.stream_size + 4 == len(data)
    assert preamble.stream_size == len(payload)
    assert file.furthest == preamble.stream_offset


def test_the_promised_prefix_is_enough_for_the_header() -> None:
    header = Header(b"abcd", width=65536, height=2048, quality=50)
    assert read_header(pack(Container(header))[:MAX_HEADER_SIZE]) == (header, 17)
