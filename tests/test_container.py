"""The byte format: frozen bytes, and for every kind of damage its own error."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zlib
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.errors import (
    CorruptError,
    NotVqcError,
    TooLargeError,
    TruncatedError,
    UnsupportedVersionError,
    VqcError,
)
from vqcodec.fileformat.container import (
    MAX_PIXELS,
    ChunkTag,
    Container,
    Header,
    check_size,
    pack,
    read_header,
    read_preamble,
    unpack,
)

HEADER = Header(bytes.fromhex("deadbeef"), width=768, height=512, quality=50)
# The example of docs/format.md.
HEADER_BYTES = bytes.fromhex("56514301 deadbeef 0032 8006 8004 4af0")
PLAIN = Container(HEADER, payload=b"stream")
FULL = Container(
    Header(b"\x00\x01\x02\x03", width=1, height=300, quality=100, gray=True),
    {ChunkTag.ICC: b"profile", ChunkTag.EXIF: b"", ChunkTag.ALPHA: bytes(range(200))},
    b"\xff" * 9,
)


def crc16_bit_by_bit(data: bytes) -> int:
    """CRC-16/IBM-3740 from its definition."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def header_of(fields: str) -> bytes:
    """Header bytes from hexadecimal fields, with the checksum that fits them."""
    data = bytes.fromhex(fields)
    return data + crc16_bit_by_bit(data).to_bytes(2, "little")


def sealed(data: bytes) -> bytes:
    """A file from all that stands before its trailer."""
    return data + zlib.crc32(data).to_bytes(4, "little")


class Watched(io.BytesIO):
    """A file that remembers how far it was read."""

    furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


def test_checksum_of_the_tests_is_the_documented_one() -> None:
    assert crc16_bit_by_bit(b"123456789") == 0x29B1


def test_bytes_of_a_plain_file_are_frozen() -> None:
    assert pack(PLAIN) == HEADER_BYTES + b"\x06stream" + bytes.fromhex("0305be91")


def test_bytes_of_a_file_with_chunks_are_frozen() -> None:
    container = Container(
        Header(b"abcd", width=1, height=65536, quality=1, gray=True),
        {ChunkTag.ALPHA: b"A", ChunkTag.ICC: b"icc"},
    )
    expected = header_of("56514301 61626364 0301 01 808004") + b"\x02\x01\x03icc\x03\x01A" + b"\0"
    assert pack(container) == sealed(expected)


@pytest.mark.parametrize("side", [128, 768, 8192, 16383])
def test_header_of_an_ordinary_size_takes_16_bytes(side: int) -> None:
    data = pack(Container(Header(b"abcd", width=side, height=128, quality=50)))
    assert read_header(data)[1] == 16


@pytest.mark.parametrize("container", [PLAIN, FULL])
def test_unpack_gives_back_what_was_packed(container: Container) -> None:
    assert unpack(pack(container)) == container


@given(
    st.builds(
        Container,
        st.builds(
            Header,
            st.binary(min_size=4, max_size=4),
            st.integers(1, 2048),
            st.integers(1, 65536),
            st.integers(1, 100),
            st.booleans(),
        ),
        st.dictionaries(st.sampled_from(ChunkTag), st.binary(max_size=300)),
        st.binary(max_size=300),
    )
)
def test_round_trip_of_any_container(container: Container) -> None:
    assert unpack(pack(container)) == container


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_nothing_but_our_errors(tail: bytes) -> None:
    for data in (tail, b"VQC\x01" + tail, HEADER_BYTES + tail):
        for partial in (False, True):
            with contextlib.suppress(VqcError):
                unpack(data, partial=partial)


@pytest.mark.parametrize("container", [PLAIN, FULL])
def test_every_truncation_is_called_truncation(container: Container) -> None:
    data = pack(container)
    for size in range(len(data)):
        with pytest.raises(TruncatedError):
            unpack(data[:size])


@pytest.mark.parametrize("container", [PLAIN, FULL])
def test_every_flipped_bit_is_detected(container: Container) -> None:
    data = pack(container)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        for partial in (False, True):
            try:
                whole = unpack(bytes(damaged), partial=partial).complete
            except VqcError:
                whole = False
            assert not whole, f"bit {bit} flipped"


@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (0, NotVqcError),
        (3, UnsupportedVersionError),
        (4, CorruptError),  # model id
        (8, CorruptError),  # flags
        (9, CorruptError),  # quality
        (10, CorruptError),  # width
        (14, CorruptError),  # the header's own checksum
        (-5, CorruptError),  # stream
        (-1, CorruptError),  # trailer
    ],
)
def test_damage_has_the_error_of_its_place(offset: int, error: type[VqcError]) -> None:
    data = bytearray(pack(PLAIN))
    data[offset] ^= 0x40
    with pytest.raises(error):
        unpack(bytes(data))


def test_damaged_chunk_tag_is_not_taken_for_a_later_version() -> None:
    data = bytearray(pack(FULL))
    tag = read_header(bytes(data))[1] + 1
    assert data[tag] == ChunkTag.ICC
    data[tag] = 77
    with pytest.raises(CorruptError, match="checksum"):
        unpack(bytes(data))


@pytest.mark.parametrize("tail", [b"\0", b"more", pack(PLAIN)])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    for partial in (False, True):
        with pytest.raises(CorruptError, match=f"{len(tail)} bytes follow"):
            unpack(pack(PLAIN) + tail, partial=partial)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"VQD\x01", b"v", b"\0" * 100])
def test_other_files_are_not_ours(data: bytes) -> None:
    with pytest.raises(NotVqcError):
        unpack(data)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_unknown_version_is_named(version: int) -> None:
    data = header_of(f"565143{version:02x} deadbeef 0032 8006 8004")
    with pytest.raises(UnsupportedVersionError, match=f"version {version},"):
        read_header(data)


@pytest.mark.parametrize("bit", range(3, 8))
def test_reserved_flags_need_a_later_version(bit: int) -> None:
    with pytest.raises(UnsupportedVersionError, match="later version"):
        read_header(header_of(f"56514301 deadbeef {1 << bit:02x}32 8006 8004"))


@pytest.mark.parametrize(
    "sizes",
    [
        "808600 8004",  # a last byte of zero
        "8000 8004",  # zero in two bytes
        "8006 8080808010",  # 2**32
        "8006 808080808001",  # six bytes
    ],
)
def test_numbers_have_one_form(sizes: str) -> None:
    with pytest.raises(CorruptError, match="shortest form"):
        read_header(header_of("56514301 deadbeef 0032" + sizes))


@pytest.mark.parametrize("fields", ["0000 0101", "0065 0101", "0032 0001", "0032 0100"])
def test_impossible_values_are_corrupt(fields: str) -> None:
    with pytest.raises(CorruptError):
        read_header(header_of("56514301 deadbeef" + fields))


@pytest.mark.parametrize(
    ("width", "height"), [("ffffffff0f", "01"), ("818004", "01"), ("808004", "808004")]
)
def test_absurd_size_is_refused_before_memory_is_taken(width: str, height: str) -> None:
    data = sealed(header_of("56514301 deadbeef 0032" + width + height) + b"\0")
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_limit_on_pixels_is_the_callers() -> None:
    data = pack(PLAIN)
    assert unpack(data, max_pixels=768 * 512) == PLAIN
    with pytest.raises(TooLargeError, match="768x512"):
        unpack(data, max_pixels=768 * 512 - 1)


def test_largest_size_by_default() -> None:
    check_size(8192, 8192)
    check_size(65536, MAX_PIXELS // 65536)
    with pytest.raises(TooLargeError):
        check_size(16384, 8193)
    with pytest.raises(TooLargeError):
        check_size(65537, 1)


def test_absurd_chunk_length_is_truncation_before_memory_is_taken() -> None:
    class Jealous(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 <= size <= 100, "asked for more than the file holds"
            return super().read(size)

    file: IO[bytes] = Jealous(header_of("56514301 deadbeef 0232 01 01") + b"\x01\x01\xff\xff\x03..")
    with pytest.raises(TruncatedError):
        read_preamble(file)


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        (b"\x00", CorruptError),  # chunks announced, none there
        (b"\x02\x02\x00\x01\x00", CorruptError),  # order
        (b"\x02\x01\x00\x01\x00", CorruptError),  # twice
        (b"\x01\x01\x81\x00.", CorruptError),  # length not in its shortest form
        (b"\x01\x00\x00", UnsupportedVersionError),
        (b"\x01\x05\x00", UnsupportedVersionError),
        (b"\x01\x7f\x00", UnsupportedVersionError),
    ],
)
def test_malformed_chunks(chunks: bytes, error: type[VqcError]) -> None:
    with pytest.raises(error):
        unpack(sealed(header_of("56514301 deadbeef 0232 01 01") + chunks + b"\0"))


def test_unknown_optional_chunks_are_skipped() -> None:
    chunks = b"\x03\x01\x03icc\x81\x02..\xff\x00"
    data = sealed(header_of("56514301 deadbeef 0232 01 01") + chunks + b"\x01S")
    container = unpack(data)
    assert container.chunks == {ChunkTag.ICC: b"icc"}
    assert container.payload == b"S"


def test_stream_size_that_contradicts_a_sound_file() -> None:
    with pytest.raises(TruncatedError):
        unpack(sealed(HEADER_BYTES + b"\x07stream"))
    with pytest.raises(CorruptError):
        unpack(sealed(HEADER_BYTES + b"\x05stream"))


@pytest.mark.parametrize(
    "container",
    [
        Container(Header(b"abc", 1, 1, 50)),
        Container(Header(b"abcd", 0, 1, 50)),
        Container(Header(b"abcd", 1, 65537, 50)),
        Container(Header(b"abcd", 1, 1, 0)),
        Container(Header(b"abcd", 1, 1, 101)),
        Container(HEADER, complete=False),
    ],
)
def test_pack_refuses_what_no_file_may_hold(container: Container) -> None:
    with pytest.raises(ValueError, match=r"."):
        pack(container)
