"""Measuring: real files, in CSVs that are continued, and times."""

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from curves import save_rows
from PIL import Image

from benchmarks import codecs, rd, speed, tables
from benchmarks.images import find_images
from benchmarks.measurements import read_measurements


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two small pictures with some detail in them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (1, 2):
        noise = np.random.default_rng(seed).integers(0, 256, (22, 22, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((176, 168)).save(folder / f"{seed}.png")
    return folder


def run_rd(*arguments: object) -> str:
    result = CliRunner().invoke(rd.main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_rd_writes_the_bytes_of_real_files(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20,80")
    stream = io.BytesIO()
    image = Image.open(photos / "2.png")
    image.save(stream, "JPEG", quality=80, optimize=True, progressive=True)
    rows = tables.read_csv(out)
    assert [(row["image"], row["setting"]) for row in rows] == [
        ("1.png", "20"), ("1.png", "80"), ("2.png", "20"), ("2.png", "80"),
    ]  # fmt: skip
    assert int(rows[-1]["bytes"]) == len(stream.getvalue())
    mse = np.mean((np.asarray(image, float) - np.asarray(Image.open(stream), float)) ** 2)
    assert float(rows[-1]["psnr"]) == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-4)
    assert len(read_measurements(out)) == 4


def test_rd_continues_where_it_was_stopped(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20,80")
    whole = out.read_bytes()
    run_rd(photos, "-o", out, "-c", "jpeg:20,80")
    assert out.read_bytes() == whole  # nothing was measured again
    out.write_bytes(whole[:-30])  # killed while writing the last line
    assert "3 rows were there, 1 to measure" in run_rd(photos, "-o", out, "-c", "jpeg:20,80")
    assert len(read_measurements(out)) == 4


def test_rd_does_not_mix_versions_in_one_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20")
    rows = tables.read_csv(out)
    rows[0]["codec_version"] = "an older one"
    save_rows(out, rows)
    result = CliRunner().invoke(rd.main, [str(photos), "-o", str(out), "-c", "jpeg:20,80"])
    assert result.exit_code == 1
    assert "another file" in result.output


def test_rd_reports_an_unreadable_image_and_measures_the_others(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "0.png").write_bytes(b"no image")
    out = tmp_path / "rd.csv"
    result = CliRunner().invoke(rd.main, [str(photos), "-o", str(out), "-c", "jpeg:20"])
    assert result.exit_code == 1
    assert "0.png" in result.output
    assert [row["image"] for row in tables.read_csv(out)] == ["1.png", "2.png"]


def test_rd_skips_a_codec_that_is_not_here(photos: Path, tmp_path: Path) -> None:
    arguments = ("-c", "jpeg:20", "-c", "vqcodec:20", "--model", tmp_path / "missing.safetensors")
    assert "skipping vqcodec" in run_rd(photos, "-o", tmp_path / "rd.csv", *arguments)


@pytest.mark.slow
def test_rd_in_parallel_measures_the_same(photos: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        run_rd(photos, "-o", tmp_path / f"{jobs}.csv", "-c", "webp:5,50", "--jobs", jobs)
    alone, parallel = (
        {
            tuple(row[name] for name in ("image", "setting", "bytes", "psnr", "ms_ssim"))
            for row in tables.read_csv(tmp_path / f"{jobs}.csv")
        }
        for jobs in (1, 2)
    )
    assert alone == parallel
    assert len(alone) == 4


def test_a_tar_of_images_is_like_a_folder(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in ("2.png", "1.png"):
            tar.add(photos / name, arcname=name)
    packed, loose = find_images(tmp_path / "photos.tar"), find_images(photos)
    assert [ref.name for ref in packed] == [ref.name for ref in loose] == ["1.png", "2.png"]
    assert packed[1].load().tobytes() == loose[1].load().tobytes()


@pytest.mark.parametrize("name", [name for name in codecs.NAMES if not name.startswith("vqcodec")])
def test_settings_of_a_codec_rise_in_rate_and_quality(name: str, photos: Path) -> None:
    try:
        codec = codecs.build(name)
    except codecs.CodecUnavailableError as error:
        pytest.skip(str(error))
    image = Image.open(photos / "1.png").convert("RGB")
    low, high = (codec.encode(image, codec.settings[i]) for i in (0, -1))
    errors = [
        np.mean((np.asarray(image, float) - np.asarray(codec.decode(data), float)) ** 2)
        for data in (low, high)
    ]
    assert len(low) < len(high)
    assert errors[0] > errors[1]


def test_speed_gives_medians_and_the_share_of_a_part() -> None:
    seconds = {
        ("decode", "vqcodec"): [0.4, 0.2, 9.0],
        ("decode: entropy", "vqcodec"): [0.1, 0.1, 5.0],
    }
    whole, entropy = speed.make_rows(seconds, {"vqcodec": (50, 0.5)})
    assert (whole["median_s"], whole["min_s"], whole["max_s"]) == ("0.40000", "0.20000", "9.00000")
    assert entropy["share"] == "0.2500"


def test_speed_times_every_round_but_the_first(photos: Path) -> None:
    image = Image.open(photos / "1.png").convert("RGB")
    seconds = speed.time_codecs(image, [(codecs.build("jpeg"), 50)], rounds=3)
    assert {key: len(values) for key, values in seconds.items()} == {
        ("encode", "jpeg"): 3,
        ("decode", "jpeg"): 3,
    }


def test_speed_times_the_start_of_the_command_line() -> None:
    seconds = speed.time_starts([["--help"], ["--version"]], rounds=2)
    assert {key: len(values) for key, values in seconds.items()} == {
        ("start: --help", "vqcodec"): 2,
        ("start: --version", "vqcodec"): 2,
    }
