"""docs/format.md: its numbers, its range coder, and its errors are those of the code."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import pytest
import shown
from golden import FOLDER
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from reference import Reference, Refused, parse
from reference import config as reference_config
from reference.stream import RangeDecoder, cumulative_frequencies
from safetensors import safe_open
from safetensors.numpy import save_file
from test_container import header_of, sealed

import vqcodec
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.errors import CorruptError, UnknownModelError, VqcError
from vqcodec.fileformat.container import ChunkTag, pack, unpack
from vqcodec.model import config as model_config

PAGE = Path(__file__).parents[1].joinpath("docs", "format.md").read_text(encoding="utf-8")
CHUNKS = (FOLDER / "chunks.vqc").read_bytes()
WITH_CHUNKS = "56514301 deadbeef 0232 0705"  # a header
UNKNOWN_CHUNK = sealed(header_of(WITH_CHUNKS) + b"\x02\x01\x02..\x05\x03...\x01S")


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(weights.find(weights.DEFAULT).path)


# what the page shows


def test_what_it_shows_of_the_weights_is_right() -> None:
    assert shown.with_shown(PAGE) == PAGE
    for shows, other in (("top left pixel: [", "top left pixel: [9"), ("-psnr |", "-other |")):
        assert shown.with_shown(PAGE.replace(shows, other)) == PAGE != PAGE.replace(shows, other)


def test_what_a_configuration_leaves_out_is_as_in_the_code() -> None:
    table = PAGE.split("| key |")[1].split("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in table.splitlines()[2:]]
    defaults = {cells[1]: cells[3] for cells in rows}
    assert defaults.keys() == {each.name for each in dataclasses.fields(reference_config.Config)}
    for key, absent in defaults.items():
        for config in (model_config.Config(), reference_config.Config(phases=[], groups=[])):
            if absent:
                assert json.loads(absent) == json.loads(json.dumps(getattr(config, key)))


def test_gray_is_rounded_as_pillow_does() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (400, 400, 3), np.uint8)
    red, green, blue = colours.astype(int).transpose(2, 0, 1)
    gray = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    np.testing.assert_array_equal(np.array(Image.fromarray(colours).convert("L")), gray)


def test_a_decoder_does_without_what_the_page_says(
    tmp_path: Path, codec: Codec, reference: Reference
) -> None:
    path = tmp_path / "decoder.safetensors"
    config = codec.config
    unused = [f"network.analysis.{grid}." for grid in range(len(config.strides) - 1)]
    unused += [f"prior.{number}.values." for number in config.scales[-1]]
    unused += ["network.encoder.", "network.enhance."]
    with safe_open(weights.find(weights.DEFAULT).path, "np") as file:
        kept = {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
            if not name.startswith(tuple(unused))
            and not name.endswith((".take", ".project", ".logits"))
        }
        assert len(kept) < len(list(file.keys())) - 50
        save_file(kept, path, file.metadata())
    alone = Reference(path)
    data = (FOLDER / "quality-80.vqc").read_bytes()
    container = unpack(data)
    header = replace(container.header, model_id=alone.model_id)
    renamed = pack(replace(container, header=header))
    np.testing.assert_array_equal(alone.pixels(renamed), reference.pixels(data))


# the range coder


def tables(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Counts that sum to 2^24, most of them small, `[size]`."""
    counts = 1 + np.floor((2**24 - size) * rng.dirichlet(np.full(size, 0.1))).astype(np.int64)
    counts[rng.integers(size)] += 2**24 - counts.sum()
    return counts


def model(counts: NDArray[np.int64]) -> Any:
    return constriction.stream.model.Categorical(counts / 2.0**24, perfect=False)


def coded(size: int) -> tuple[NDArray[np.int64], list[int], list[int]]:
    """Return counts, symbols that they fit, all of them among these, and their stream's words."""
    rng = np.random.default_rng(size)
    counts = tables(rng, size)
    symbols = rng.choice(size, 3000, p=counts / 2**24).astype(np.int32)
    symbols[:size] = np.arange(size)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols, model(counts))
    return counts, symbols.tolist(), encoder.get_compressed().tolist()


@pytest.mark.parametrize("size", [2, 16, 256, 1023])
def test_frequencies_are_those_of_the_formula(size: int) -> None:
    counts, symbols, words = coded(size)
    cumulative = cumulative_frequencies(counts)
    assert (np.diff(cumulative) > 0).all()
    decoder = RangeDecoder(words)
    assert [decoder.symbol(cumulative.tolist()) for _ in symbols] == symbols


def test_counts_are_not_what_is_coded() -> None:
    counts, symbols, words = coded(256)
    decoder, cumulative = RangeDecoder(words), [0, *np.cumsum(counts).tolist()]
    assert [decoder.symbol(cumulative) for _ in symbols] != symbols


@pytest.mark.parametrize("kind", ["random", "zeros", "ones", "empty"])
def test_any_words_are_read_as_constriction_reads_them(kind: str) -> None:
    rng = np.random.default_rng(1)
    invalid = 0
    for _ in range(40):
        counts = tables(rng, int(rng.integers(2, 257)))
        cumulative = cumulative_frequencies(counts).tolist()
        words = rng.integers(0, 2**32, 0 if kind == "empty" else 12, np.uint32)
        if kind in ("zeros", "ones"):
            words[:] = 2**32 - 1 if kind == "ones" else 0
        first, second = constriction.stream.queue.RangeDecoder(words), RangeDecoder(words.tolist())
        for _ in range(200):
            try:
                expected = int(first.decode(model(counts)))
            except AssertionError:
                invalid += 1
                assert second.symbol(cumulative) is None
                break
            assert second.symbol(cumulative) == expected
    assert invalid or kind != "ones"


@pytest.mark.parametrize("cut", [False, True])
def test_any_stream_is_read_alike(codec: Codec, reference: Reference, cut: bool) -> None:
    rng = np.random.default_rng(2)
    header = replace(unpack(CHUNKS).header, width=1, height=1, cut=cut)
    frame = replace(unpack(CHUNKS), header=header, chunks={})
    streams = [rng.bytes(size) for size in (0, 1, 7, 8, 30)] + [b"\xff" * 8, b"\xff" * 41]
    for stream in streams:
        data = pack(replace(frame, payload=stream))
        try:
            expected = codec.file_tokens(data).indices
        except CorruptError:
            assert not cut
            with pytest.raises(Refused, match=CorruptError.__name__):
                reference.indices(data)
            continue
        for level, other in zip(expected, reference.indices(data), strict=True):
            for group, other_group in zip(level, other, strict=True):
                np.testing.assert_array_equal(group, other_group)


# what is refused, and in which order


def by_the_code(data: bytes, *, partial: bool) -> object:
    try:
        file = unpack(data, partial=partial)
    except VqcError as error:
        return type(error).__name__
    header, cut = file.header, not file.whole_stream
    size = header.quality, header.width, header.height
    return header.model_id, header.gray, cut, *size, file.chunks, file.payload


def by_the_page(data: bytes, *, partial: bool) -> object:
    try:
        file = parse(data, partial=partial)
    except Refused as refused:
        return refused.error
    size = file.quality, file.width, file.height
    return file.model_id, file.gray, file.cut, *size, file.chunks, file.stream


def same(data: bytes) -> object:
    """Both decoders take a file apart alike; return what they say."""
    assert by_the_code(data, partial=True) == by_the_page(data, partial=True)
    said = by_the_code(data, partial=False)
    assert said == by_the_page(data, partial=False)
    return said


def test_every_prefix_is_refused_alike() -> None:
    assert {same(CHUNKS[:size]) for size in range(len(CHUNKS))} == {"TruncatedError"}
    said = [same(UNKNOWN_CHUNK[:size]) for size in range(len(UNKNOWN_CHUNK) + 1)]
    tag_and_size = len(header_of(WITH_CHUNKS)) + 7
    assert said[:tag_and_size] == ["TruncatedError"] * tag_and_size
    assert set(said[tag_and_size:-1]) == {"CorruptError"}
    assert said[-1] == "UnsupportedVersionError"


def test_every_change_is_refused_alike() -> None:
    said = set()
    for data in (CHUNKS, UNKNOWN_CHUNK):
        for offset in range(len(data)):
            for change in (1, 2, 0x40, 0x80, 0xFF):
                damaged = bytearray(data)
                damaged[offset] ^= change
                header = header_of(damaged[:12].hex())
                for changed in (damaged, header + damaged[14:]):
                    said.add(str(same(bytes(changed))))
                    said.add(str(same(sealed(bytes(changed[:-4])))))
                    same(sealed(bytes(changed[:-6])))
                    same(bytes(changed) + b".")
    errors = {name for name in said if name.endswith("Error")}
    known = {"NotVqcError", "UnsupportedVersionError", "CorruptError", "TruncatedError"}
    assert known | {"TooLargeError"} >= errors >= known


@given(
    st.sampled_from(["0032", "0232", "0832", "0200"]),
    st.binary(max_size=12),
    st.binary(max_size=30),
)
def test_anything_in_a_sound_file_is_refused_alike(flags: str, sizes: bytes, rest: bytes) -> None:
    header = header_of("56514301 deadbeef" + flags + sizes.hex())
    for data in (header + rest, header_of(WITH_CHUNKS) + rest):
        same(data)
        same(sealed(data))


def test_the_model_is_looked_for_after_the_header_or_the_container(codec: Codec) -> None:
    container = unpack(CHUNKS)
    other = pack(replace(container, header=replace(container.header, model_id=b"none")))
    with pytest.raises(UnknownModelError):
        codec.decode(other)
    with pytest.raises(CorruptError):
        codec.decode(other + b".")
    with pytest.raises(UnknownModelError):
        vqcodec.decode(other + b".")


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "I;16", "other size", "no PNG"])
def test_alpha_of_another_kind_is_refused_alike(
    codec: Codec, reference: Reference, mode: str
) -> None:
    container = unpack(CHUNKS)
    size = container.header.width, container.header.height
    good = png(Image.new("L", size, 7))
    bad = {"other size": png(Image.new("L", size[::-1], 7)), "no PNG": good[:20]}
    if mode not in bad:
        bad[mode] = png(Image.new(mode, size))
    for alpha, fits in ((good, True), (bad[mode], False)):
        data = pack(replace(container, chunks={ChunkTag.ALPHA: alpha}))
        if fits:
            assert (reference.pixels(data)[..., 3] == 7).all()
            continue
        with pytest.raises(CorruptError):
            codec.decode(data)
        with pytest.raises(Refused, match=CorruptError.__name__):
            reference.pixels(data)


@pytest.mark.parametrize("size", [14, 15, 40, 60, 150, 231])
def test_what_is_there_of_a_truncated_file(codec: Codec, reference: Reference, size: int) -> None:
    data = (FOLDER / "quality-80.vqc").read_bytes()[:size]
    expected = np.array(codec.decode(data, partial=True), int)
    assert abs(reference.pixels(data, partial=True) - expected).max() <= 1
    with pytest.raises(Refused, match="TruncatedError"):
        reference.pixels(data)
