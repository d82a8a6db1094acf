"""Streams of several segments: large images, whose finest grid is coded in tiles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from pictures import SAMPLE
from PIL import Image
from reference import Reference, Refused
from reference.stream import Segments
from test_tiles import make_tiles_small

from vqcodec import weights
from vqcodec.codec import tiled_encoder, tiles
from vqcodec.codec.codec import Codec
from vqcodec.entropy import schedule
from vqcodec.entropy.levels import Indices
from vqcodec.entropy.schedule import coding_tiles, cut, paste, within
from vqcodec.entropy.stream import join, split
from vqcodec.errors import CorruptError, TargetError
from vqcodec.fileformat.container import pack, unpack
from vqcodec.fileformat.truncate import truncate
from vqcodec.threads import use

SIDE, ONE_TILE = 10, 150  # positions, of which the picture has 32 x 48
TILES = 4 * 5
REGION = 10, 10, 60, 40


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """A picture that is coded in tiles, by the code and by the page alike."""
    for module in (schedule, reference.indices):
        monkeypatch.setattr(module, "SIDE", SIDE)
        monkeypatch.setattr(module, "ONE_TILE", ONE_TILE)
    make_tiles_small(monkeypatch)
    return Image.open(SAMPLE).convert("RGB").crop((0, 0, 331, 217))


@pytest.fixture(scope="module")
def second() -> Reference:
    return Reference(weights.find(weights.DEFAULT).path)


def same(indices: Indices, others: Indices) -> bool:
    pairs = zip(indices, others, strict=True)
    return all(np.array_equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


# the tiles


def test_a_grid_is_divided_as_the_page_says() -> None:
    assert coding_tiles(160, 160) == [(slice(0, 160), slice(0, 160))]
    assert coding_tiles(161, 160)[:4] == [
        *((slice(0, 64), slice(start, stop)) for start, stop in ((0, 64), (64, 128), (128, 160))),
        (slice(64, 128), slice(0, 64)),
    ]
    assert coding_tiles(161, 160)[-1] == (slice(128, 161), slice(128, 160))
    assert len(coding_tiles(8, 8192)) == 128


def test_parts_are_cut_and_pasted() -> None:
    size = 161, 170
    level = [np.arange(n * 161 * 170, dtype=np.uint32).reshape(n, -1) for n in (3, 1)]
    whole = [np.zeros_like(group) for group in level]
    for tile in coding_tiles(*size):
        paste(cut(level, size, tile), tile, whole, size)
    assert same([whole], [level])


def test_a_window_has_its_part_of_each_tile() -> None:
    parts = within(coding_tiles(161, 170), (slice(50, 130), slice(128, 170)))
    rows = (slice(0, 14), slice(14, 78), slice(78, 80))
    assert parts == [(row, slice(0, 42)) for row in rows]


# the segments


@given(st.lists(st.binary(max_size=300).map(lambda data: data.rstrip(b"\0")), min_size=1))
def test_segments_are_joined_and_split(segments: list[bytes]) -> None:
    stream = join(segments)
    assert split(stream, len(segments), partial=False) == [(each, False) for each in segments]
    if len(segments) > 1:
        for size in range(len(stream)):
            front = split(stream[:size], len(segments), partial=True)
            for (found, is_cut), each in zip(front, segments, strict=True):
                assert each.startswith(found) if is_cut else found in (each, b"")
            assert sum(is_cut for _, is_cut in front) <= 1


@pytest.mark.parametrize(
    ("stream", "reason", "when_cut"),
    [
        (b"\x02ab\x81", "within a size", [b"ab", b"", b""]),
        (b"\x02ab\x05abcd", "within a segment", [b"ab", b"abcd", b""]),
        (b"\x02ab\x01a\x01b.", "bytes follow", None),
        (b"\x02ab\x81\x00a", "shortest form", None),
        (b"\x02ab", "", [b"ab", b"", b""]),
        (b"", "", [b"", b"", b""]),
    ],
)
def test_streams_are_refused_alike(
    stream: bytes, reason: str, when_cut: list[bytes] | None
) -> None:
    def by_the_page(*, is_cut: bool) -> None:
        segments = Segments(stream, is_cut)
        for _ in range(3):
            segments.next()
        segments.end()

    for is_cut, expected in ((False, None if reason else when_cut), (True, when_cut)):
        if expected is None:
            with pytest.raises(CorruptError, match=reason):
                split(stream, 3, partial=is_cut)
            with pytest.raises(Refused, match=CorruptError.__name__):
                by_the_page(is_cut=is_cut)
        else:
            assert [each for each, _ in split(stream, 3, partial=is_cut)] == expected
            by_the_page(is_cut=is_cut)


# files


@pytest.mark.parametrize("quality", [5, 80])
def test_both_decoders_read_what_was_chosen(
    codec: Codec, large: Image.Image, second: Reference, quality: int
) -> None:
    chosen, data = codec.tokenize(large, quality=quality), codec.encode(large, quality=quality)
    fine = codec.config.scales[-1]
    assert len(split(unpack(data).payload, 1 + TILES * len(fine), partial=False)) > TILES
    assert same(codec.file_tokens(data).indices, chosen.indices)
    assert same(second.indices(data), chosen.indices)
    off = second.pixels(data).astype(int) - np.array(codec.decode(data), int)
    assert abs(off).max() <= 1
    stream = len(unpack(data).payload)
    assert 0 <= stream - sum(codec.bits(chosen)) / 8 <= 6 * (1 + TILES * len(fine))


def test_how_it_is_worked_on_makes_no_difference(
    tiny_codec: Codec, large: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, pictures = tiny_codec.encode(large, quality=60), []
    for threads in (1, 3):
        with ThreadPoolExecutor(1, initializer=use, initargs=(threads,)) as pool:
            assert pool.submit(tiny_codec.encode, large, quality=60).result() == data
            pictures.append(np.array(pool.submit(tiny_codec.decode, data).result()))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    monkeypatch.setattr(tiled_encoder, "KEPT", 0)
    assert tiny_codec.encode(large, quality=60) == data
    monkeypatch.setattr(tiles, "SIDE", 100)  # one tile without a margin
    assert tiny_codec.encode(large, quality=60) == data


def test_a_region_takes_the_segments_of_its_surroundings_alone(
    codec: Codec, large: Image.Image
) -> None:
    data = codec.encode(large, quality=70)
    container = unpack(data)
    count = 1 + TILES * len(codec.config.scales[-1])
    segments = [each for each, _ in split(container.payload, count, partial=False)]
    damaged = [
        b"\xff" * 9 if number and (number - 1) % TILES == TILES - 1 else each
        for number, each in enumerate(segments)  # the last tile, at the bottom right
    ]
    broken = pack(replace(container, payload=join(damaged)))
    with pytest.raises(CorruptError):
        codec.decode(broken)
    left, upper, width, height = REGION
    part = codec.decode(data).crop((left, upper, left + width, upper + height))
    for file in (data, broken):
        decoded = codec.decode(file, region=REGION)
        assert abs(np.array(decoded, int) - np.array(part, int)).max() <= 1


def test_the_front_of_a_file_is_read_alike(
    codec: Codec, large: Image.Image, second: Reference
) -> None:
    data = codec.encode(large, quality=60)
    whole = codec.file_tokens(data).indices
    for size in range(30, len(data), len(data) // 12):
        with pytest.raises(Refused, match="TruncatedError"):
            second.indices(data[:size])
        shown = np.array(codec.decode(data[:size], partial=True), int)
        assert abs(second.pixels(data[:size], partial=True) - shown).max() <= 1
        try:
            shorter, _ = truncate(data, size)
        except TargetError:
            continue
        kept = codec.file_tokens(shorter).indices
        assert same(second.indices(shorter), kept)
        for level, full in zip(kept, whole, strict=True):
            for group, other in zip(level, full, strict=True):
                assert ((group == other) | (group == 0)).all()


def test_a_damaged_segment_is_told_even_in_a_truncated_file(
    codec: Codec, large: Image.Image, second: Reference
) -> None:
    container = unpack(codec.encode(large, quality=60))
    count = 1 + TILES * len(codec.config.scales[-1])
    segments = [each for each, _ in split(container.payload, count, partial=False)]
    segments[1] = b"\xff" * 9
    data = pack(replace(container, payload=join(segments)))[:-1]
    with pytest.raises(CorruptError):
        codec.decode(data, partial=True)
    with pytest.raises(Refused, match=CorruptError.__name__):
        second.indices(data, partial=True)


def test_a_file_of_the_size_that_was_asked_for(codec: Codec, large: Image.Image) -> None:
    for size in (400, 3000):
        assert len(codec.encode(large, max_bytes=size)) <= size


def test_the_page_says_when() -> None:
    page = Path(__file__).parents[1].joinpath("docs", "format.md").read_text(encoding="utf-8")
    assert f"more than {schedule.ONE_TILE} positions" in page
    assert f"{schedule.SIDE} × {schedule.SIDE} positions" in page
