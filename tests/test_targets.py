"""Files of at most so many bytes, and pictures of at least so many decibels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pictures import SAMPLE, psnr
from PIL import ExifTags, Image

import vqcodec
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.codec.encoder import Encoded
from vqcodec.commands.main import cli
from vqcodec.errors import TargetError
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.image import Pixels, prepare
from vqcodec.rate_control import encode_to_psnr, encode_to_size
from vqcodec.rate_control.search import Attempt
from vqcodec.rate_control.targets import corrected


def test_functions_of_the_package(codec: Codec, photo: Image.Image) -> None:
    assert vqcodec.encode(photo, max_bytes=900) == encode_to_size(codec, prepare(photo), 900)[0]
    tuned = Codec.load(weights.TUNED["psnr"], device="cpu")
    assert vqcodec.encode(photo, psnr=28) == encode_to_psnr(tuned, prepare(photo), 28)[0]


@pytest.fixture
def photo() -> Image.Image:
    """The sample photograph, RGB, 384x256."""
    return Image.open(SAMPLE).convert("RGB")


@pytest.mark.parametrize("max_bytes", [500, 2000, "nearly all"])
def test_never_over_and_nearly_all_used(
    codec: Codec, photo: Image.Image, max_bytes: int | str
) -> None:
    if isinstance(max_bytes, str):
        max_bytes = 9 * len(codec.encode(photo, quality=100)) // 10
    data, notes = encode_to_size(codec, prepare(photo), max_bytes)
    assert 0.95 * max_bytes <= len(data) <= max_bytes
    assert not notes
    # It looks as the quality says, whose whole file has about as many bytes.
    header = unpack(data).header
    whole = codec.encode(photo, quality=header.quality)
    assert len(whole) <= 1.1 * max_bytes
    assert psnr(photo, codec.decode(data)) > psnr(photo, codec.decode(whole)) - 0.5


def test_beyond_both_ends_of_the_qualities(codec: Codec, photo: Image.Image) -> None:
    assert encode_to_size(codec, prepare(photo), 10**6)[0] == codec.encode(photo, quality=100)
    for max_bytes in (40, 100):
        data, _ = encode_to_size(codec, prepare(photo), max_bytes)
        assert len(data) <= max_bytes
        assert unpack(data).header.cut
        assert codec.decode(data).size == photo.size
    with pytest.raises(TargetError, match="smaller than"):
        encode_to_size(codec, prepare(photo), 10)


def test_what_is_beside_the_picture_gives_way_only_where_it_must(
    codec: Codec, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = 3000 * "x"
    photo.info["exif"] = exif.tobytes()
    plenty, notes = encode_to_size(codec, prepare(photo), 8000)
    assert (set(unpack(plenty).chunks), notes) == ({ChunkTag.EXIF}, [])
    assert len(plenty) > 0.95 * 8000
    scarce, notes = encode_to_size(codec, prepare(photo), 3500)
    assert not unpack(scarce).chunks
    assert "EXIF left out" in notes[0]
    assert len(scarce) > 0.95 * 3500


@pytest.mark.parametrize("target", [28.2, 29.0, 32.5])
def test_decibels_are_met_and_hardly_surpassed(
    codec: Codec, photo: Image.Image, target: float
) -> None:
    data, notes = encode_to_psnr(codec, prepare(photo), target)
    assert target <= psnr(photo, codec.decode(data)) < target + 0.2
    assert not notes


def test_decibels_out_of_reach_give_the_best_there_is(codec: Codec, photo: Image.Image) -> None:
    data, notes = encode_to_psnr(codec, prepare(photo), 70)
    assert data == codec.encode(photo, quality=100)
    assert "out of reach" in notes[0]
    assert encode_to_psnr(codec, prepare(photo), 1)[0] == codec.encode(photo, quality=1)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_other_modes_and_flat_images(codec: Codec, photo: Image.Image, mode: str) -> None:
    data, _ = encode_to_size(codec, prepare(photo.convert(mode)), 1500)
    assert 0.95 * 1500 <= len(data) <= 1500
    flat = Image.new("RGB", (70, 50), (130, 128, 120)).convert(mode)
    if mode == "RGBA":
        flat.putalpha(200)
    assert codec.decode(encode_to_size(codec, prepare(flat), 200)[0]).mode == mode
    reached = codec.decode(encode_to_psnr(codec, prepare(flat), 35)[0])
    assert psnr(flat.convert("L"), reached.convert("L")) >= 35


class Count:
    """Counts pixels that are encoded, by images, and how often finest levels are chosen again."""

    def __init__(self, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.requantizations = 0
        encode_pixels, requantize = codec.encode_pixels, Encoded.requantize

        def encode(pixels: Pixels, quality: int, *, with_picture: bool) -> Encoded:
            self.sizes.append(pixels.size)
            return encode_pixels(pixels, quality, with_picture=with_picture)

        def again(encoded: Encoded, distortion_weight: float) -> Encoded:
            self.requantizations += 1
            return requantize(encoded, distortion_weight)

        monkeypatch.setattr(codec, "encode_pixels", encode)
        monkeypatch.setattr(Encoded, "requantize", again)


@pytest.fixture
def count(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Count:
    """What the codec does in a test."""
    return Count(codec, monkeypatch)


@pytest.mark.parametrize(
    ("max_bytes", "encodes", "requantizations"), [(600, 2, 1), (4000, 1, 1), (26000, 1, 2)]
)
def test_a_size_takes_few_encodes(
    codec: Codec,
    photo: Image.Image,
    count: Count,
    max_bytes: int,
    encodes: int,
    requantizations: int,
) -> None:
    encode_to_size(codec, prepare(photo), max_bytes)
    pixels = 3 * photo.width * photo.height
    assert count.sizes.count(pixels) <= encodes
    assert sum(count.sizes) - pixels * count.sizes.count(pixels) <= pixels / 3
    assert count.requantizations <= requantizations


@pytest.mark.parametrize(
    ("target", "encodes", "requantizations"),
    [(29.0, 2, 3), (30.0, 3, 3), (32.5, 1, 2), (34.0, 1, 1)],
)
def test_decibels_take_few_encodes(
    codec: Codec,
    photo: Image.Image,
    count: Count,
    target: float,
    encodes: int,
    requantizations: int,
) -> None:
    encode_to_psnr(codec, prepare(photo), target)
    pixels = 3 * photo.width * photo.height
    assert count.sizes.count(pixels) <= encodes
    assert sum(count.sizes) - pixels * count.sizes.count(pixels) <= pixels / 4
    assert count.requantizations <= requantizations


def test_an_image_of_several_tiles_is_not_requantized(
    codec: Codec, photo: Image.Image, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photo.crop((0, 0, 256, 64))
    encode_to_psnr(codec, prepare(photo), 34.0)
    assert count.requantizations > 0
    count.requantizations = 0
    monkeypatch.setattr("vqcodec.codec.tiles.ONE_TILE", 0)
    monkeypatch.setattr("vqcodec.codec.tiles.SIDE", 24)
    data, _ = encode_to_psnr(codec, prepare(photo), 34.0)
    assert psnr(photo, codec.decode(data)) >= 34.0
    assert count.requantizations == 0


def test_a_model_whose_card_says_nothing(
    codec: Codec, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Codec, "card", {})
    data, _ = encode_to_size(codec, prepare(photo), 1500)
    assert 0.95 * 1500 <= len(data) <= 1500
    data, _ = encode_to_psnr(codec, prepare(photo), 30)
    assert 30 <= psnr(photo, codec.decode(data)) < 30.3


def test_a_forecast_is_shifted_by_what_a_sample_is_off() -> None:
    rising = np.arange(100.0)
    tried = []

    def measure(quality: int, k: float) -> Attempt:
        tried.append((quality, k))
        return Attempt(quality, rising[quality - 1] + 10, b"", False)

    assert np.array_equal(corrected(rising + 3, rising, measure, 50), rising + 13)
    assert tried == [(48, 0)]


def test_the_finest_level_alone_is_chosen_again(codec: Codec, photo: Image.Image) -> None:
    plain = codec.encode_pixels(np.array(photo), 60, with_picture=True)
    cheaper = plain.requantize(0.25)
    again = cheaper.requantize(1.0)
    assert plain.picture is not None
    assert cheaper.picture is not None
    assert again.picture is not None
    assert again.stream == plain.stream == codec.encode_pixels(np.array(photo), 60).stream
    assert np.array_equal(again.picture, plain.picture)
    full, less = (psnr(photo, Image.fromarray(x)) for x in (plain.picture, cheaper.picture))
    assert full > less > full - 1
    assert len(cheaper.stream) < len(plain.stream)
    data = codec.pack(prepare(photo), 60, cheaper.stream)
    assert abs(np.array(codec.decode(data), int) - cheaper.picture).max() <= 1
    *fixed, chosen = codec.file_tokens(data).indices
    for level, expected in zip(fixed, plain.indices, strict=False):
        for index, other in zip(level, expected, strict=True):
            assert np.array_equal(index, other)
    assert any(not np.array_equal(*pair) for pair in zip(chosen, plain.indices[-1], strict=True))


# The command line


def vqcodec_(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_options(photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo.save("a.png")
    assert vqcodec_("encode", "a.png", "--max-bytes", "900").exit_code == 0
    assert 0.95 * 900 <= Path("a.vqc").stat().st_size <= 900
    assert vqcodec_("encode", "a.png", "-f", "--bpp", "0.2").exit_code == 0
    size = math.floor(0.2 * photo.width * photo.height / 8)
    assert 0.95 * size <= Path("a.vqc").stat().st_size <= size
    assert vqcodec_("encode", "a.png", "-f", "--psnr", "26").exit_code == 0
    too_small = vqcodec_("encode", "a.png", "-o", "b.vqc", "--max-bytes", "9")
    assert (too_small.exit_code, Path("b.vqc").exists()) == (1, False)
    assert too_small.stderr.count("smaller than") == 1
    both = vqcodec_("encode", "a.png", "-q", "50", "--psnr", "26")
    assert (both.exit_code, "one at a time" in both.stderr) == (2, True)
