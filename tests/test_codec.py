"""The codec: files hold the indices, on every kind of arithmetic, and give the image back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import psnr
from PIL import Image

import vqcodec
from vqcodec.codec.codec import Codec
from vqcodec.entropy.levels import Indices, Symbols
from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import (
    CorruptError,
    ImageError,
    ModelError,
    TooLargeError,
    TruncatedError,
    UnknownModelError,
)
from vqcodec.fileformat.container import pack, unpack
from vqcodec.model.config import Config
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load

if TYPE_CHECKING:
    from torch import Tensor

    from vqcodec.model.vqvae import VQVAE

SIZES = [(1, 1), (7, 5), (64, 64), (9, 130), (130, 70)]


@pytest.fixture(scope="module")
def picture(scenes: Tensor) -> Image.Image:
    """RGB, 130x70: three by two blocks of 64."""
    pixels = scenes[1, 0].permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).crop((40, 20, 170, 90))


@pytest.fixture(scope="module")
def file(tiny_codec: Codec, picture: Image.Image) -> bytes:
    return tiny_codec.encode(picture, quality=70)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def assert_same(indices: Indices, others: Indices) -> None:
    assert len(indices) == len(others)
    for level, other in zip(indices, others, strict=True):
        for group, other_group in zip(level, other, strict=True):
            assert group.dtype == other_group.dtype
            np.testing.assert_array_equal(group, other_group)


def values(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def ideal_bytes(model: Path, quality: int, size: tuple[int, int], indices: Indices) -> float:
    """The cross-entropy of known indices under the shipped prior and tables."""
    loaded = load(ModelInfo(model))
    config = Config.from_dict(loaded.config)
    width, height = size
    bits = 0.0

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        nonlocal bits
        grid = config.grid(config.scale_of(number), height, width)
        positions = phase_positions(len(loaded.prior.levels[number].phases), phase, *grid)
        chosen = [group[:, positions] for group in indices[number]]
        for tables, group, symbols in zip(loaded.tables[number], classes, chosen, strict=True):
            bits += float(tables.bits(group, symbols).sum())
        return chosen

    list(loaded.prior.walk(quality, *config.grid(0, height, width), code))
    return bits / 8


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_there_and_back(
    tiny_codec: Codec, picture: Image.Image, size: tuple[int, int], mode: str
) -> None:
    image = picture.crop((0, 0, *size))
    if mode.endswith("A"):
        image.putalpha(picture.getchannel("G").crop((0, 0, *size)))
    image = image.convert(mode)
    data = tiny_codec.encode(image, quality=60)
    assert_same(
        tiny_codec.file_tokens(data).indices, tiny_codec.tokenize(image, quality=60).indices
    )
    decoded = tiny_codec.decode(data)
    assert (decoded.size, decoded.mode) == (size, mode)
    if mode.endswith("A"):
        assert decoded.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_the_indices_are_the_image(tiny_codec: Codec, picture: Image.Image, file: bytes) -> None:
    tokens = tiny_codec.tokenize(picture, quality=70)
    decoded, indices = tiny_codec.render(tokens), tokens.indices
    np.testing.assert_array_equal(values(decoded), values(tiny_codec.decode(file)))
    assert [group.shape[1] for level in indices for group in level[:1]] == [
        6 * 64**scale for scale in (0, 0, 1, 1)
    ]


def test_the_decoded_image_is_like_the_original(
    tiny_codec: Codec, picture: Image.Image, file: bytes
) -> None:
    blind = Image.new("RGB", picture.size, tuple(int(v) for v in values(picture).mean((0, 1))))
    assert psnr(picture, tiny_codec.decode(file)) > psnr(picture, blind) + 3


@pytest.mark.parametrize("quality", [40, 90])
def test_a_file_is_as_short_and_as_good_as_training_sees_it(
    tiny_model: VQVAE, tiny_codec: Codec, scenes: Tensor, quality: int
) -> None:
    pixels = scenes[1, 1]
    with torch.no_grad():
        out = tiny_model(pixels[None].float() / 255, torch.tensor([float(quality)]))
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    data = tiny_codec.encode(picture, quality=quality)
    assert 8 * len(unpack(data).payload) == pytest.approx(float(out.bits), rel=0.05)
    trained = -10 * float(out.mse.log10())
    assert psnr(picture, tiny_codec.decode(data)) == pytest.approx(trained, abs=0.1)


def test_qualities_differ_in_bytes(tiny_codec: Codec, picture: Image.Image) -> None:
    sizes = [len(tiny_codec.encode(picture, quality=quality)) for quality in (1, 50, 100)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_stream_is_as_short_as_the_tables_allow(
    tiny_weights: Path, tiny_codec: Codec, picture: Image.Image
) -> None:
    data = tiny_codec.encode(picture, quality=100)
    ideal = ideal_bytes(tiny_weights, 100, picture.size, tiny_codec.file_tokens(data).indices)
    assert ideal > 500
    assert len(unpack(data).payload) < 1.01 * ideal + 8


# The same file everywhere


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arithmetic_has_no_part_in_what_a_file_holds(
    tiny_weights: Path,
    tiny_codec: Codec,
    picture: Image.Image,
    file: bytes,
    count: int,
    onednn: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    with threads(count):
        codec = Codec.load(tiny_weights, "cpu", dtype)
        assert_same(
            codec.file_tokens(file).indices, tiny_codec.tokenize(picture, quality=70).indices
        )
        decoded = codec.decode(file)
    difference = values(decoded) - values(tiny_codec.decode(file))
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) < difference.size / 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_made_in_another_precision_is_decodable(
    tiny_weights: Path,
    tiny_codec: Codec,
    picture: Image.Image,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(torch.backends.mkldnn, "enabled", False)
        other = Codec.load(tiny_weights, "cpu", dtype)
        data, indices = (
            other.encode(picture, quality=70),
            other.tokenize(picture, quality=70).indices,
        )
    assert_same(tiny_codec.file_tokens(data).indices, indices)


# What is refused


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_out_of_range_is_refused(
    tiny_codec: Codec, picture: Image.Image, quality: int
) -> None:
    with pytest.raises(ValueError, match="not within"):
        tiny_codec.encode(picture, quality=quality)
    with pytest.raises(ValueError, match="not within"):
        tiny_codec.tokenize(picture, quality=quality)


def test_an_image_beyond_the_limits_is_refused(tiny_codec: Codec) -> None:
    with pytest.raises(TooLargeError):
        tiny_codec.encode(Image.new("1", (65537, 1)))
    with pytest.raises(ImageError):
        tiny_codec.encode(Image.new("RGB", (0, 5)))


def test_a_file_of_another_model_is_refused(tiny_codec: Codec, file: bytes) -> None:
    container = unpack(file)
    header = replace(container.header, model_id=b"\1\2\3\4")
    data = pack(replace(container, header=header))
    with pytest.raises(UnknownModelError, match="01020304"):
        tiny_codec.decode(data)
    with pytest.raises(UnknownModelError, match="01020304"):
        tiny_codec.file_tokens(data)
    with pytest.raises(UnknownModelError, match="01020304"):
        vqcodec.decode(data)


def test_every_damaged_byte_of_the_stream_is_noticed(tiny_codec: Codec, file: bytes) -> None:
    start = file.index(unpack(file).payload)
    for position in range(start, len(file), 7):
        damaged = bytearray(file)
        damaged[position] ^= 0x10
        with pytest.raises(CorruptError, match="checksum"):
            tiny_codec.decode(bytes(damaged))


def test_a_truncated_file_is_refused(tiny_codec: Codec, file: bytes) -> None:
    with pytest.raises(TruncatedError):
        tiny_codec.decode(file[:-20])


def test_a_forged_stream_gives_an_image_or_an_error(
    tiny_codec: Codec, picture: Image.Image, file: bytes
) -> None:
    container, rng = unpack(file), np.random.default_rng(0)
    for _ in range(8):
        data = pack(replace(container, payload=rng.bytes(200)))
        with suppress(CorruptError):
            assert tiny_codec.decode(data).size == picture.size


def test_a_truncated_file_gives_what_it_holds_if_that_is_asked_for(
    tiny_codec: Codec, scenes: Tensor
) -> None:
    picture = Image.fromarray(scenes[1, 0].permute(1, 2, 0).tile(2, 2, 1).numpy())
    data = tiny_codec.encode(picture, quality=100)
    start = data.index(unpack(data).payload)
    cuts = range(start, len(data) - 4, (len(data) - start) // 12)
    distances = [psnr(picture, tiny_codec.decode(data[:cut], partial=True)) for cut in cuts]
    whole = psnr(picture, tiny_codec.decode(data))
    assert distances[0] + 10 < whole
    assert whole - 1 < distances[-1] < whole + 0.1
    assert (np.diff(distances) > -0.5).all(), distances


# Models and tokens


def test_a_model_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="no model called nobody"):
        Codec.load("nobody")


def test_tokens_of_another_model_are_refused(tiny_codec: Codec, picture: Image.Image) -> None:
    tokens = replace(tiny_codec.tokenize(picture, quality=40), model_id=b"\1\2\3\4")
    with pytest.raises(UnknownModelError, match="01020304"):
        tiny_codec.render(tokens)
    with pytest.raises(UnknownModelError, match="01020304"):
        tiny_codec.bits(tokens)


def test_loading_a_model_does_not_import_torchs_compiler(tiny_weights: Path) -> None:
    script = f"""
import sys
from vqcodec import Codec
Codec.load({str(tiny_weights)!r}, device="cpu")
assert "torch._dynamo" not in sys.modules, "half a second of every start"
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])
