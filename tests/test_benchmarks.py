"""Measuring: real files, in CSVs that are continued, and times."""

import io
import math
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from curves import save_rows
from extras import need
from PIL import Image

from benchmarks import browser, codecs, rd, speed, tables
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


@pytest.mark.parametrize(
    "name", ["ssimulacra2", pytest.param("cvvdp", marks=pytest.mark.slow), "haarpsi", "vif"]
)
def test_rd_measures_the_metrics_that_are_asked_for(
    name: str, photos: Path, tmp_path: Path
) -> None:
    need(name)
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:10,80", f"--{name}")
    rows = tables.read_csv(out)
    image = Image.open(photos / "1.png").convert("RGB")
    codec = codecs.build("jpeg")
    value = rd.OPTIONAL[name][0](image, codec.decode(codec.encode(image, 80)))
    assert float(rows[1][name]) == pytest.approx(value, abs=1e-4)
    assert float(rows[0][name]) < float(rows[1][name])
    assert not any(row[other] for row in rows for other in rd.OPTIONAL if other != name)
    assert read_measurements(out)[1].metrics[name] == float(rows[1][name])


def test_rd_says_which_extra_is_missing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)  # as Python itself marks what cannot be imported
    out = tmp_path / "rd.csv"
    result = CliRunner().invoke(rd.main, [str(photos), "-o", str(out), "-c", "jpeg:20", "--vif"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "pip install 'vqcodec[perceptual]'" in line
    assert not out.exists()


def test_a_csv_from_before_a_metric_was_known_is_read_and_continued(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20")
    older = [name for name in rd.FIELDS if name not in ("cvvdp", "haarpsi", "vif")]
    rows = [{name: row[name] for name in older} for row in tables.read_csv(out)]
    tables.write_csv(out, older, rows)
    assert [m.metrics.keys() for m in read_measurements(out)] == [{"psnr", "ms_ssim"}] * 2
    assert "2 rows were there, 2 to measure" in run_rd(photos, "-o", out, "-c", "jpeg:20,80")
    continued = tables.read_csv(out)
    assert tuple(continued[0]) == rd.FIELDS
    assert [{name: row[name] for name in older} for row in continued[:2]] == rows
    assert len(read_measurements(out)) == 4


def test_a_csv_that_lacks_another_column_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20")
    fields = [name for name in rd.FIELDS if name not in ("vif", "psnr")]
    tables.write_csv(
        out, fields, [{name: row[name] for name in fields} for row in tables.read_csv(out)]
    )
    before = out.read_bytes()
    result = CliRunner().invoke(rd.main, [str(photos), "-o", str(out), "-c", "jpeg:20"])
    assert (result.exit_code, out.read_bytes()) == (1, before)
    assert "its columns differ" in result.stderr


def test_rd_does_not_mix_rows_with_and_without_a_metric(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rd.csv"
    run_rd(photos, "-o", out, "-c", "jpeg:20")
    arguments = [str(photos), "-o", str(out), "-c", "jpeg:20,80", "--ssimulacra2"]
    result = CliRunner().invoke(rd.main, arguments)
    assert result.exit_code == 1
    assert "rows without SSIMULACRA2: write to another file" in result.stderr


def test_an_image_too_small_for_vif_is_no_row_without_it(photos: Path, tmp_path: Path) -> None:
    need("vif")
    Image.open(photos / "1.png").resize((60, 40)).save(photos / "small.png")
    out = tmp_path / "rd.csv"
    for settings in ("20", "20,80"):
        run_rd(photos, "-o", out, "-c", f"jpeg:{settings}", "--vif")
    rows = tables.read_csv(out)
    assert {row["image"] for row in rows if not row["vif"]} == {"small.png"}
    assert len(rows) == 6


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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in codecs.USUAL else [pytest.mark.slow])
        for name in codecs.NAMES
        if not name.startswith("vqcodec")
    ],
)
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


@pytest.mark.parametrize(
    ("name", "subsampled"), [("avif", True), ("avif-speed4", True), ("avif-speed2-444", False)]
)
def test_avif_has_the_colours_that_its_name_says(name: str, subsampled: bool, photos: Path) -> None:
    try:
        codec = codecs.build(name)
    except codecs.CodecUnavailableError as error:
        pytest.skip(str(error))
    data = codec.encode(Image.open(photos / "1.png").convert("RGB"), 50)
    settings = data[data.index(b"av1C") + 6]  # of the box: tier, depths, grey, subsampling x and y
    assert (settings >> 2 & 3) == (3 if subsampled else 0)


def test_slower_variants_are_measured_only_when_chosen() -> None:
    assert set(codecs.USUAL) < set(codecs.NAMES)
    left_out = set(codecs.NAMES) - set(codecs.USUAL)
    assert {"avif-speed0", "avif-speed1", "avif-speed2", "avif-444", "jxl-effort9"} <= left_out


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


def test_browser_times_each_round_and_tells_the_first_apart(node: str) -> None:
    file = Path(__file__).parent / "golden" / "size-64x64.vqc"
    seconds = browser.in_node(file, threads=1, rounds=3)
    assert {what: len(values) for what, values in seconds.items()} == {"decode": 3, "entropy": 3}
    assert min(map(min, seconds.values())) > 0
    (line,) = browser.table({"decode": [9, 1, 2, 6]}).splitlines()[2:]
    assert line == "| decode | 9.00 | 2.00 | 1.00 to 6.00 |"


def test_speed_times_the_start_of_the_command_line() -> None:
    seconds = speed.time_starts([["--help"], ["--version"]], rounds=2)
    assert {key: len(values) for key, values in seconds.items()} == {
        ("start: --help", "vqcodec"): 2,
        ("start: --version", "vqcodec"): 2,
    }
