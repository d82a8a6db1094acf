"""Files of at most so many bytes, and pictures of at least so many decibels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image

import vqcodec
from vqcodec import weights
from vqcodec.cli import cli
from vqcodec.codec import Codec
from vqcodec.container import ChunkTag, unpack
from vqcodec.errors import TargetError
from vqcodec.image import Pixels, prepare
from vqcodec.targets import Attempt, sampled, samples, to_psnr, to_size


def test_functions_of_the_package(codec: Codec, photo: Image.Image) -> None:
    assert vqcodec.encode_to_size(photo, 900) == to_size(codec, prepare(photo), 900)[0]
    tuned = Codec.load(weights.TUNED["psnr"], device="cpu")
    assert vqcodec.encode_to_psnr(photo, 28) == to_psnr(tuned, prepare(photo), 28)[0]


def psnr(x: Image.Image, x_hat: Image.Image) -> float:
    error = np.asarray(x, float) - np.asarray(x_hat, float)
    return float(10 * np.log10(255**2 / np.mean(error**2)))


SAMPLE = Path(__file__).parents[1] / "samples" / "photo.png"


@pytest.fixture
def photo() -> Image.Image:
    """The sample photograph, RGB, 384x256."""
    return Image.open(SAMPLE).convert("RGB")


def test_never_over_and_nearly_all_used(codec: Codec, photo: Image.Image) -> None:
    within_reach = 9 * len(codec.encode(photo, 100)) // 10
    for max_bytes in (500, 2000, within_reach):
        data, notes = to_size(codec, prepare(photo), max_bytes)
        assert 0.95 * max_bytes <= len(data) <= max_bytes
        assert not notes
        # It looks as the quality says, whose whole file has about as many bytes.
        header = unpack(data).header
        whole = codec.encode(photo, header.quality)
        assert len(whole) <= 1.1 * max_bytes
        assert psnr(photo, codec.decode(data)) > psnr(photo, codec.decode(whole)) - 0.5


def test_beyond_both_ends_of_the_qualities(codec: Codec, photo: Image.Image) -> None:
    assert to_size(codec, prepare(photo), 10**6)[0] == codec.encode(photo, 100)
    for max_bytes in (40, 100):
        data, _ = to_size(codec, prepare(photo), max_bytes)
        assert len(data) <= max_bytes
        assert unpack(data).header.cut
        assert codec.decode(data).size == photo.size
    with pytest.raises(TargetError, match="smaller than"):
        to_size(codec, prepare(photo), 10)


def test_what_is_beside_the_picture_gives_way_only_where_it_must(
    codec: Codec, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = 3000 * "x"
    photo.info["exif"] = exif.tobytes()
    plenty, notes = to_size(codec, prepare(photo), 8000)
    assert (set(unpack(plenty).chunks), notes) == ({ChunkTag.EXIF}, [])
    assert len(plenty) > 0.95 * 8000
    scarce, notes = to_size(codec, prepare(photo), 3500)
    assert not unpack(scarce).chunks
    assert "EXIF left out" in notes[0]
    assert len(scarce) > 0.95 * 3500


@pytest.mark.parametrize("target", [27.2, 29.0, 32.5])
def test_decibels_are_met_and_hardly_surpassed(
    codec: Codec, photo: Image.Image, target: float
) -> None:
    data, notes = to_psnr(codec, prepare(photo), target)
    assert target <= psnr(photo, codec.decode(data)) < target + 0.2
    assert not notes


def test_decibels_out_of_reach_give_the_best_there_is(codec: Codec, photo: Image.Image) -> None:
    data, notes = to_psnr(codec, prepare(photo), 70)
    assert data == codec.encode(photo, 100)
    assert "out of reach" in notes[0]
    assert to_psnr(codec, prepare(photo), 1)[0] == codec.encode(photo, 1)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_other_modes_and_flat_images(codec: Codec, photo: Image.Image, mode: str) -> None:
    data, _ = to_size(codec, prepare(photo.convert(mode)), 1500)
    assert 0.95 * 1500 <= len(data) <= 1500
    flat = Image.new(mode, (70, 50), "gray")
    assert codec.decode(to_size(codec, prepare(flat), 200)[0]).mode == mode
    reached = codec.decode(to_psnr(codec, prepare(flat), 35)[0])
    assert psnr(flat.convert("L"), reached.convert("L")) >= 35


def test_a_target_takes_few_attempts(
    codec: Codec, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    encode_stream = codec.encode_stream

    def counted(pixels: Pixels, *arguments: object) -> object:
        sizes.append(pixels.size)
        return encode_stream(pixels, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(codec, "encode_stream", counted)
    for max_bytes in (600, 1500, 4000):
        to_size(codec, prepare(photo), max_bytes)
    pixels = 3 * photo.width * photo.height
    assert 3 <= sizes.count(pixels) <= 3 * 2
    assert sum(sizes) - pixels * sizes.count(pixels) <= 3 * pixels / 3


def test_samples_are_squares_of_the_image_spread_over_it() -> None:
    squares = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24)
    pixels = np.stack([squares // 256, squares % 256, 0 * squares], 2).astype(np.uint8)
    image = Image.fromarray(pixels.repeat(64, 0).repeat(64, 1))
    small, large = samples(prepare(image))
    assert small.pixels.shape == (6 * 64, 4 * 64, 3)
    assert large.pixels.shape == (10 * 64, 9 * 64, 3)
    high, low, _ = np.moveaxis(large.pixels[::64, ::64].astype(int), 2, 0)
    numbers = 256 * high + low
    assert np.array_equal(large.pixels[63::64, 63::64], large.pixels[::64, ::64])
    assert np.all(np.diff(numbers.flatten()) > 0)
    assert numbers[0, 0] < 5
    assert numbers[-1, -1] >= 16 * 24 - 5
    assert not samples(prepare(image.crop((0, 0, 3 * 64, 5 * 64))))


def test_a_forecast_is_shifted_by_what_samples_are_off() -> None:
    rising = np.arange(100.0)
    tried = []

    def measure(quality: int) -> Attempt:
        tried.append(quality)
        return Attempt(quality, b"", rising[quality - 1] + 10)

    expected = sampled(rising + 3, [(rising, measure), (rising, measure)], 50)
    assert np.array_equal(expected, rising + 13)
    assert tried == [48, 38]


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
