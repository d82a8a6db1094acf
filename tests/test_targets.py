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
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.errors import TargetError
from vqcodec.fileformat.container import ChunkTag, Container, pack, unpack
from vqcodec.fileformat.image import Pixels, prepare
from vqcodec.rate_control.attempts import Attempt, adjusting, next_for_psnr, next_for_size
from vqcodec.rate_control.samples import sample
from vqcodec.rate_control.targets import sampled, to_psnr, to_size


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


def test_a_sample_has_busy_and_quiet_squares_as_the_image_has() -> None:
    contrast = np.random.default_rng(0).permutation(10 * 16).reshape(10, 16)
    stripes = np.tile([0, 1], 32)[None, None, None] * contrast[:, None, :, None]
    pixels = np.broadcast_to(stripes, (10, 64, 16, 64)).reshape(640, 1024).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    part = sample(prepare(image), 6)
    assert part is not None
    assert part.pixels.shape == (5 * 64, 5 * 64, 3)
    # Of 160 squares one of 6.4, from its middle on, beside where it fades into the next one.
    inner = part.pixels[..., 0].reshape(5, 64, 5, 64)[:, 8:-8, :, 8:-8]
    assert inner.max((1, 3)).flatten().tolist() == [int((n + 0.5) * 160 / 25) for n in range(25)]
    assert sample(prepare(image.crop((0, 0, 3 * 64, 5 * 64))), 6) is None


def test_squares_of_a_sample_fade_into_each_other() -> None:
    ramp = np.linspace(0, 240, 1024).astype(np.uint8)
    part = sample(prepare(Image.fromarray(np.tile(ramp, (640, 1)))), 6)
    assert part is not None
    assert np.ptp(part.pixels) > 150
    steps = np.diff(part.pixels[..., 0].astype(int), axis=1)
    assert np.abs(steps).max() <= 240 / 16 + 1


def test_a_forecast_is_shifted_by_what_a_sample_is_off() -> None:
    rising = np.arange(100.0)
    tried = []

    def measure(quality: int) -> Attempt:
        tried.append(quality)
        return Attempt(quality, b"", rising[quality - 1] + 10)

    assert np.array_equal(sampled(rising + 3, rising, measure, 50), rising + 13)
    assert tried == [48]


def test_errors_become_worth_what_meets_the_decibels() -> None:
    assert next_for_psnr(85, [0], [0.1]) is None
    assert next_for_psnr(85, [0], [-0.1]) is None
    assert next_for_psnr(85, [0], [0.5]) is None
    assert next_for_psnr(85, [0], [-0.05]) == 2
    assert next_for_psnr(85, [0, 2], [-0.05, -0.04]) == 4
    assert next_for_psnr(5, [0], [-0.01]) == 1
    assert next_for_psnr(5, [0, 1], [-0.01, 0.3]) == 0.5
    assert next_for_psnr(5, [0, 1, 0.5], [-0.01, 0.3, -0.005]) == 0.75
    # As expected, more so at a lower quality; then by what the first did: too little, too much.
    first = next_for_psnr(85, [0], [0.4])
    low = next_for_psnr(10, [0], [0.4])
    assert first is not None
    assert low is not None
    assert first == pytest.approx(-(3 ** (2 / 3)), abs=0.05)
    assert first < low < -0.5
    for surplus, farther in ((0.25, True), (-0.1, False)):
        second = next_for_psnr(85, [0, first], [0.4, surplus])
        assert second is not None
        assert (second < first) == farther
        lost = (0.4 - surplus) * (second / first) ** 1.5
        assert 0.4 - lost == pytest.approx(0.1)


def test_errors_become_worth_what_meets_the_size() -> None:
    for percent in (-3, 5, 10, -12, 25):
        assert next_for_size([0], [math.log(1 + percent / 100)]) is None
    assert next_for_size([0], [math.log(0.94)]) == 2
    assert next_for_size([0, 2], [math.log(0.94), math.log(0.95)]) == 4
    assert next_for_size([0], [math.log(1.15)]) == -2


def test_errors_become_worth_something_else_three_times_at_most() -> None:
    adjust = adjusting(lambda _: math.log(1.15), 0.0, next_for_size)
    assert [adjust(b"") for _ in range(4)] == [2**-2, 2**-4, 2**-6, None]


def test_the_finest_level_alone_is_chosen_again(codec: Codec, photo: Image.Image) -> None:
    pixels = np.array(photo)
    picture, plain = np.empty_like(pixels), codec.encode_stream(pixels, 40)
    reached: list[float] = []
    streams: list[bytes] = []
    asked = iter((0.25, 1.0, None))

    def adjust(stream: bytes) -> float | None:
        streams.append(stream)
        reached.append(psnr(photo, Image.fromarray(picture)))
        return next(asked)

    assert codec.encode_stream(pixels, 40, picture, adjust) == plain
    assert reached[0] == reached[2] > reached[1] > reached[0] - 1
    asked = iter((0.25, None))
    cheaper = codec.encode_stream(pixels, 40, picture, adjust)
    assert len(cheaper) < len(plain)
    assert streams == [plain, cheaper, plain, plain, cheaper]
    data = pack(Container(codec.header(prepare(photo), 40), {}, cheaper))
    assert abs(np.array(codec.decode(data), int) - picture).max() <= 1
    for number, level in enumerate(codec.encode_indices(photo, 40)[:-1]):
        for part, own in zip(level, codec.file_indices(data)[number], strict=True):
            assert np.array_equal(part, own)


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
