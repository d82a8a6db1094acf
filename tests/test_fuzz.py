"""Hostile input: every bit of a file counts, no file does harm; the long run is `tests.fuzz`."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from fuzz.mutate import fields_of, number, repair
from fuzz.run import CORPUS, corpus, mutated
from fuzz.seeds import make_seeds
from fuzz.targets import MEGABYTES, ContainerTarget, DecoderTarget, Limits, Target
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.commands.main import cli
from vqcodec.errors import CorruptError, TruncatedError, UnsupportedVersionError, VqcError
from vqcodec.fileformat.container import ChunkTag, Container, Header, pack, read_header, unpack
from vqcodec.fileformat.image import decode_alpha
from vqcodec.VqcImagePlugin import VqcImageFile

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

SMALL = 400


@pytest.fixture(scope="module")
def seeds(codec: Codec) -> list[bytes]:
    return make_seeds(codec)


def png(depth: int = 8, before: bytes = b"", after: bytes = b"") -> bytes:
    """A white gray PNG of 4x3 pixels with chunks around its pixels."""
    row = b"\0" + b"\xff" * (4 * depth // 8)
    header = struct.pack(">IIBBBBB", 4, 3, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", zlib.compress(row * 3))
        + after
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refused_by_plugin(data: bytes) -> bool:
    try:
        VqcImageFile(io.BytesIO(data)).load()
    except (OSError, SyntaxError):
        return True
    return False


def test_the_seeds_have_every_flag_and_chunk(seeds: list[bytes]) -> None:
    containers = [unpack(seed) for seed in seeds]
    assert {each.header.gray for each in containers} == {True, False}
    assert {each.header.cut for each in containers} == {True, False}
    assert set().union(*(each.chunks for each in containers)) == set(ChunkTag)
    assert b"" in [each.chunks.get(ChunkTag.ALPHA) for each in containers]
    assert {1, 100} <= {each.header.quality for each in containers}


def test_every_flipped_bit_is_reported(codec: Codec, seeds: list[bytes]) -> None:
    small = [seed for seed in seeds if len(seed) < SMALL]
    assert len(small) >= 5
    for seed in small:
        for bit in range(8 * len(seed)):
            data = bytearray(seed)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(VqcError):
                codec.decode(bytes(data))
            assert refused_by_plugin(bytes(data)), f"bit {bit}"


def test_every_truncation_is_reported(codec: Codec, seeds: list[bytes]) -> None:
    for seed in seeds:
        for size in range(len(seed)):
            with pytest.raises(TruncatedError):
                codec.decode(seed[:size])
            assert size > SMALL or refused_by_plugin(seed[:size]), f"{size} bytes"


@pytest.mark.parametrize("kind", ["container", "decoder"])
def test_no_file_does_harm(codec: Codec, seeds: list[bytes], kind: str) -> None:
    target: Target = ContainerTarget() if kind == "container" else DecoderTarget(codec)
    limits, random = Limits(target), Random(1)
    limits.warm_up(seeds)
    for data in corpus():
        limits(data)
    for _ in range(5000 if kind == "container" else 60):
        limits(mutated(random.choice(seeds), random))
    assert limits.megabytes <= MEGABYTES


def test_enough_mutations_pass_the_checksums(seeds: list[bytes]) -> None:
    random = Random(2)
    outcomes = []
    for _ in range(1000):
        try:
            unpack(mutated(random.choice(seeds), random))
            outcomes.append("whole")
        except VqcError as error:
            outcomes.append(str(error).partition(" ")[0] + type(error).__name__)
    assert outcomes.count("whole") > 200
    assert len(set(outcomes)) > 8


@pytest.mark.usefixtures("codec")
def test_the_command_line_has_a_line_for_each_file_of_the_corpus() -> None:
    result = CliRunner().invoke(cli, ["decode", str(CORPUS), "-o", "unwritten/"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == len(corpus()) + 1
    assert all("alpha" in line for line in lines[:-1])
    assert not Path("unwritten").exists()


# The alpha chunk, a PNG of which Pillow takes more than the format does


def test_alpha_is_what_the_format_says() -> None:
    assert decode_alpha(png(), 4, 3).tolist() == [[255] * 4] * 3


@pytest.mark.parametrize("depth", [2, 4])
def test_alpha_of_fewer_bits_is_corrupt(depth: int) -> None:
    with pytest.raises(CorruptError, match="8-bit gray"):
        decode_alpha(png(depth), 4, 3)


def test_alpha_that_is_the_corner_of_an_animation_is_corrupt() -> None:
    control = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 2, 0, 0, 1, 1, 0, 0))
    with pytest.raises(CorruptError):
        decode_alpha(png(before=png_chunk(b"acTL", struct.pack(">II", 1, 0)) + control), 4, 3)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iCCP", b""),  # an IndexError of Pillow's
        png_chunk(b"pHYs", b""),
        png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000))),  # unpacks to 20 MB
        png_chunk(b"\xff\xff\xff\xff", b""),
    ],
)
def test_alpha_with_a_harmful_chunk_is_corrupt(chunk: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_alpha(png(before=chunk), 4, 3)
    with suppress(CorruptError):  # Pillow forgives some of them after the pixels
        assert decode_alpha(png(after=chunk), 4, 3).tolist() == [[255] * 4] * 3


# The container, whatever the values


headers = st.builds(
    Header,
    model_id=st.binary(min_size=4, max_size=4),
    width=st.integers(1, 2048),
    height=st.integers(1, 65536),
    quality=st.integers(1, 100),
    gray=st.booleans(),
    cut=st.booleans(),
)
containers = st.builds(
    Container,
    headers,
    st.dictionaries(st.sampled_from(ChunkTag), st.binary(max_size=300)),
    st.binary(max_size=300),
)


@given(containers)
def test_fields_with_fitting_checksums_are_the_file(container: Container) -> None:
    data = pack(container)
    assert fields_of(data, container).pack() == data
    assert repair(data) == data


@given(containers, st.integers(0, 255), st.binary(max_size=20))
def test_any_further_chunk_is_skipped_refused_or_out_of_order(
    container: Container, tag: int, own: bytes
) -> None:
    fields = fields_of(pack(container), container)
    fields.front[8] |= 2
    fields.chunks.append((tag, len(own), own))
    fields.count = len(fields.chunks)
    last = max(container.chunks, default=-1)
    if tag <= last:
        with pytest.raises(CorruptError):
            unpack(fields.pack())
    elif tag in set(ChunkTag):
        assert unpack(fields.pack()).chunks == {**container.chunks, ChunkTag(tag): own}
    elif tag >= 128:
        assert unpack(fields.pack()) == container
    else:
        with pytest.raises(UnsupportedVersionError):
            unpack(fields.pack())


@given(headers, st.integers(1, 4), st.booleans())
def test_a_padded_number_is_corrupt(header: Header, padding: int, which: bool) -> None:
    fields = fields_of(pack(Container(header)), Container(header))
    if which:
        fields.width = header.width, padding
    else:
        fields.stream_size = 0, padding
    with pytest.raises(CorruptError, match="shortest form"):
        unpack(fields.pack())


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_any_size_is_taken_or_refused_at_once(width: int, height: int) -> None:
    container = Container(Header(b"abcd", 1, 1, 50))
    fields = fields_of(pack(container), container)
    fields.width, fields.height = (width, 0), (height, 0)
    try:
        header, _ = read_header(fields.pack())
    except VqcError:
        assert not (0 < width <= 65536 and 0 < height <= 65536 and width * height <= 2**27)
    else:
        assert (header.width, header.height) == (width, height)


def test_numbers_of_the_mutations_are_those_of_the_format() -> None:
    assert number(768).hex() == "8006"
    assert number(0, 2).hex() == "808000"
    assert number(2**32 - 1).hex() == "ffffffff0f"
