"""Speed and memory over sizes and threads: the images made, the ratios, the peaks of memory."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import AvifImagePlugin, Image

from benchmarks import codecs, memory, sweep, tables, time_tables
from benchmarks.speed import Seconds
from benchmarks.sweep import make_image, ratio, time_files, with_coding


def times(**of: list[float]) -> Seconds:
    """Seconds of `what__codec`, where a dot stands for a colon and a space."""
    seconds: Seconds = defaultdict(list)
    for key, values in of.items():
        what, codec = key.split("__")
        seconds[what.replace("_", ": "), codec] = values
    return seconds


@pytest.fixture
def picture(photo: Image.Image, tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    photo.save(path)
    return path


def run_sweep(picture: Path, *arguments: object) -> str:
    given = [str(picture), "--rounds", "1", *(str(a) for a in arguments)]
    result = CliRunner().invoke(sweep.main, given)
    assert result.exit_code == 0, result.output
    return result.output


# Images


@pytest.mark.parametrize("megapixels", [0.001, 0.006144, 0.02, 0.2])
def test_images_have_the_size_asked_for_and_the_photos_shape(
    photo: Image.Image, megapixels: float
) -> None:
    image = make_image(photo, megapixels)
    assert image.width * image.height == pytest.approx(1e6 * megapixels, rel=0.02)
    assert image.width / image.height == pytest.approx(1.5, rel=0.02)


def test_larger_images_are_the_photo_and_its_mirror_images(photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    larger = np.asarray(make_image(photo, 9 * 96 * 64 / 1e6))
    assert larger.shape == (3 * 64, 3 * 96, 3)
    for row in range(3):
        for column in range(3):
            tile = larger[64 * row : 64 * (row + 1), 96 * column : 96 * (column + 1)]
            assert np.array_equal(tile, pixels[:: (-1) ** row, :: (-1) ** column])


# Times


def test_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians() -> None:
    # The machine was three times as slow in the last round, for both.
    seconds = times(encode__vqcodec=[2.0, 4.0, 9.0], encode__webp=[1.0, 1.0, 3.0])
    assert ratio(seconds, "encode", "webp") == 3.0
    seconds = times(encode__vqcodec=[1.0, 10.0, 30.0], encode__webp=[1.0, 2.0, 30.0])
    assert ratio(seconds, "encode", "webp") == 1.0  # that of the medians would be 5


def test_coding_is_what_analysis_leaves_of_the_encoder_in_each_round() -> None:
    seconds = times(
        encode__vqcodec=[1.0, 2.0], encode_analysis__vqcodec=[0.25, 0.5],
        encode_quantize__vqcodec=[0.5, 1.0], encode_entropy__vqcodec=[0.1, 0.1],
        decode__vqcodec=[0.5, 0.5], decode_entropy__vqcodec=[0.2, 0.3], encode__webp=[0.1, 0.1],
    )  # fmt: skip
    split = with_coding(seconds)
    assert split["encode: code", "vqcodec"] == [0.75, 1.5]
    assert {what for what, codec in split if codec == "vqcodec"} == {
        "encode", "encode: analysis", "encode: code", "decode", "decode: entropy",
    }  # fmt: skip
    assert split["encode", "webp"] == [0.1, 0.1]


def test_files_are_really_read_and_written(picture: Path, photo: Image.Image) -> None:
    seconds = time_files(photo, picture, b"a small file", rounds=2)
    assert {key: len(values) for key, values in seconds.items()} == {
        ("encode: read", "vqcodec"): 2, ("encode: write", "vqcodec"): 2,
        ("decode: read", "vqcodec"): 2, ("decode: write", "vqcodec"): 2,
    }  # fmt: skip
    assert min(min(values) for values in seconds.values()) > 0
    assert picture.with_suffix(".vqc").read_bytes() == b"a small file"
    written = Image.open(picture.with_suffix(".written.png"))
    assert written.tobytes() == photo.tobytes()


def test_threads_go_to_encoder_and_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0)
    try:
        codec = codecs.build_threaded("avif", 3, model=None, device="cpu")
    except codecs.CodecUnavailableError as error:
        pytest.skip(str(error))
    assert "max_threads=3" in codec.version
    assert AvifImagePlugin.DEFAULT_MAX_THREADS == 3


# Memory


def peak(codec: str, what: str, file: Path) -> float:
    peaks = memory.measure(codec, what, file, threads=1, model=None, device="cpu")
    if peaks["peak"] is None or peaks["loaded"] is None:
        pytest.skip("this system does not say")
    assert peaks["loaded"] <= peaks["peak"]
    assert peaks["device"] is None
    return peaks["peak"] / 1e6


def test_peak_memory_grows_with_the_image(picture: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.webp"
    Image.new("RGB", (4000, 3000)).save(large, "WEBP", method=0)
    for what, small in (("encode", picture), ("decode", tmp_path / "small.webp")):
        Image.open(picture).save(tmp_path / "small.webp", "WEBP")
        assert peak("webp:50", what, large) - peak("webp:50", what, small) > 36  # its pixels alone


def test_peak_memory_is_not_that_of_the_process_that_asks(picture: Path) -> None:
    ballast = np.ones(400_000_000, dtype=np.uint8)
    assert peak("jpeg:50", "encode", picture) < 300
    assert ballast[-1] == 1


# The command


def test_sweep_measures_every_size_thread_count_and_codec(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep.csv"
    arguments = ("--threads", 1, "--threads", 2, "-c", "jpeg:50", "-c", "webp:50", "--csv", out)
    printed = run_sweep(picture, "--megapixels", 0.003, "--megapixels", 0.01, *arguments)
    rows = tables.read_csv(out)
    key = ("megapixels", "threads", "codec", "what")
    assert [tuple(row[name] for name in key) for row in rows] == [
        (size, threads, codec, what)
        for threads in ("1", "2")
        for size in ("0.003", "0.01")
        for codec in ("jpeg", "webp")
        for what in ("encode", "decode")
    ]
    for row in rows:
        megapixels = int(row["width"]) * int(row["height"]) / 1e6
        rate = megapixels / float(row["median_s"])
        assert float(row["mpixel_s"]) == pytest.approx(rate, rel=0.1)
        assert row["vqcodec_ratio"] == ""
        assert row["machine"] in printed
    assert "| Mpixel | threads | jpeg encode | webp encode | jpeg decode | webp decode |" in printed
    assert "command line" not in printed  # there was no vqcodec to start


def test_sweep_skips_a_codec_that_is_not_here(picture: Path, tmp_path: Path) -> None:
    missing = ("-c", "vqcodec:50", "-c", "jpeg:50", "--model", tmp_path / "missing.safetensors")
    sizes = ("--megapixels", 0.003, "--threads", 1)
    assert "skipping vqcodec" in run_sweep(picture, *sizes, *missing)


@pytest.mark.slow
def test_sweep_splits_the_time_of_vqcodec(
    picture: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep.csv"
    arguments = ("-c", "vqcodec:50", "-c", "jpeg:50", "--model", tiny_weights, "--csv", out)
    printed = run_sweep(picture, "--megapixels", 0.01, "--threads", 1, *arguments)
    rows = {(row["codec"], row["what"]): row for row in tables.read_csv(out)}
    stages = {what for codec, what in rows if codec == "vqcodec" and ": " in what}
    assert stages == {
        *time_tables.SWEEP_STAGES,
        "start: --version",
        "start: encode",
        "start: decode",
    }
    vqcodec, jpeg = (float(rows[codec, "encode"]["median_s"]) for codec in ("vqcodec", "jpeg"))
    assert float(rows["jpeg", "encode"]["vqcodec_ratio"]) == pytest.approx(vqcodec / jpeg, rel=0.1)
    coded = sum(
        float(rows["vqcodec", f"encode: {stage}"]["median_s"]) for stage in ("analysis", "code")
    )
    assert coded == pytest.approx(vqcodec, rel=0.01)
    memory_of = {
        codec: float(rows[codec, "encode"]["peak_mb"] or 0) for codec in ("vqcodec", "jpeg")
    }
    assert memory_of["vqcodec"] >= memory_of["jpeg"]
    assert "| start: encode |" in printed
