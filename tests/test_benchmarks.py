"""The benchmarks: BD-rates against hand-computed cases, and refusals where there is no figure."""

import io
import json
import math
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import codecs, rd, readme, speed, summary, tables
from benchmarks.curves import Curve, CurveError, bd_rate, curve, read_published, to_unit
from benchmarks.images import find_images
from benchmarks.measurements import group, read_measurements

RATES = (0.08, 0.12, 0.2, 0.35, 0.6, 1.0)

# Kodak, RGB: bits per pixel and mean of the images' PSNR, from the results of lossy-vae.
VTM = [
    (0.18268, 30.1283), (0.21332, 30.6904), (0.24763, 31.2642), (0.28729, 31.8701),
    (0.331, 32.4712), (0.37871, 33.0679), (0.43372, 33.6957), (0.4936, 34.3304),
    (0.55708, 34.9438), (0.62963, 35.5855), (0.70762, 36.2218), (0.78971, 36.8461),
    (0.88052, 37.471), (0.9774, 38.0919), (1.07974, 38.6789), (1.19418, 39.2917),
    (1.31553, 39.8815), (1.44319, 40.4503), (1.58642, 41.0366), (1.74503, 41.6174),
    (1.91761, 42.2001), (2.13081, 42.8426), (2.34387, 43.432), (2.56725, 43.9903),
    (2.82161, 44.5687),
]  # fmt: skip
QARV = [
    (0.20815, 30.3249), (0.25609, 31.1869), (0.31235, 32.0794), (0.37809, 32.9896),
    (0.45388, 33.9176), (0.54002, 34.8645), (0.63681, 35.8159), (0.74558, 36.7804),
    (0.86666, 37.7453), (1.00117, 38.7023), (1.14938, 39.6478), (1.31344, 40.5802),
    (1.49552, 41.503), (1.71578, 42.4879), (1.95176, 43.4387), (2.21029, 44.371),
]  # fmt: skip


def line(name: str, db_per_decade: float, rate_factor: float = 1.0) -> Curve:
    """PSNR = 30 dB + slope * log10(bpp / 0.1), at rates times a factor."""
    points = [(r * rate_factor, 30 + db_per_decade * math.log10(r / 0.1)) for r in RATES]
    return curve(name, points)


def save_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    tables.write_csv(path, rd.FIELDS, rows)
    return path


def rows_of(codec: str, factors: dict[str, float]) -> list[dict[str, str]]:
    """Rows of a codec on images 1000 x 1000 whose rates are those of `line` times a factor."""
    rows = []
    for image, factor in factors.items():
        for setting, (bpp, psnr) in enumerate(line(codec, 10, factor).points):
            size = round(bpp * 125_000)
            rows.append(
                dict.fromkeys(rd.FIELDS, "")
                | {"dataset": "made", "image": image, "width": "1000", "height": "1000"}
                | {"codec": codec, "setting": str(setting), "bytes": str(size)}
                | {"bpp": f"{size / 125_000:.6f}", "psnr": f"{psnr:.6f}", "codec_version": "1"}
            )
    return rows


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


# BD-rate


def test_a_curve_at_four_fifths_of_the_rate_has_bd_rate_minus_20() -> None:
    result = bd_rate(line("a", 10), line("t", 10, 0.8), min_bpp=0.01, max_bpp=10)
    assert result.percent == pytest.approx(-20, abs=1e-6)


def test_exchanging_anchor_and_test_gives_the_reciprocal() -> None:
    result = bd_rate(line("a", 10, 0.8), line("t", 10), min_bpp=0.01, max_bpp=10)
    assert result.percent == pytest.approx(25, abs=1e-6)


def test_bd_rate_of_two_slopes_worked_out_by_hand() -> None:
    # log10 of the rates differs by -(D - 30) / 20, on average -0.25 over D = 30..40 dB, which is
    # what the anchor spans from 0.1 to 1 bpp.
    result = bd_rate(line("a", 10), line("t", 20), min_bpp=0.1, max_bpp=1.0)
    assert (result.low, result.high) == pytest.approx((30, 40), abs=1e-6)
    assert result.percent == pytest.approx(100 * (10**-0.25 - 1), abs=1e-3)


def test_bd_rate_of_published_curves_is_the_published_figure() -> None:
    result = bd_rate(curve("vtm", VTM), curve("qarv", QARV), min_bpp=0.01, max_bpp=10)
    assert result.percent == pytest.approx(-5.9, abs=0.1)


def test_the_range_of_rates_limits_both_curves() -> None:
    result = bd_rate(line("a", 10), line("t", 10, 0.5), min_bpp=0.1, max_bpp=0.8)
    assert result.low == pytest.approx(30 + 10 * math.log10(2), abs=1e-3)  # test at 0.1 bpp
    assert result.high == pytest.approx(30 + 10 * math.log10(8), abs=1e-3)  # anchor at 0.8 bpp


def test_nothing_is_extrapolated() -> None:
    far = curve("far", [(bpp, psnr + 20) for bpp, psnr in line("", 10).points])
    with pytest.raises(CurveError, match="no overlap"):
        bd_rate(line("a", 10), far, min_bpp=0.1, max_bpp=0.8)


def test_a_curve_that_falls_is_refused() -> None:
    points = line("t", 10).points
    points[3] = (points[3][0], points[2][1] - 0.1)
    with pytest.raises(CurveError, match="does not rise"):
        bd_rate(line("a", 10), curve("t", points), min_bpp=0.1, max_bpp=0.8)


def test_what_lies_outside_the_range_does_not_matter() -> None:
    outside = [(0.001, 90.0), (0.002, 10.0), (30.0, 90.0), (40.0, 10.0)]
    test = curve("t", line("t", 10, 0.8).points + outside)
    result = bd_rate(line("a", 10), test, min_bpp=0.12, max_bpp=0.6)
    assert result.percent == pytest.approx(-20, abs=0.3)


def test_a_curve_with_too_few_points_in_the_range_is_refused() -> None:
    with pytest.raises(CurveError, match="2 points"):
        bd_rate(line("a", 10), line("t", 10), min_bpp=0.3, max_bpp=0.7)


def test_rate_and_metric_swapped_are_refused() -> None:
    swapped = curve("t", [(psnr, bpp) for bpp, psnr in line("t", 10).points])
    with pytest.raises(CurveError):
        bd_rate(line("a", 10), swapped, min_bpp=0.1, max_bpp=0.8)


def test_ms_ssim_enters_in_decibels() -> None:
    assert to_unit("ms_ssim", 0.99) == pytest.approx(20)
    assert to_unit("psnr", 33.0) == 33.0


# From the CSV of rd to the averages


def test_the_average_is_that_of_per_image_psnr_at_each_setting(tmp_path: Path) -> None:
    rows = rows_of("a", {"1.png": 1.0, "2.png": 3.0})
    for row in rows:
        row["psnr"] = "30" if row["image"] == "1.png" else "40"
    means = group(read_measurements(save_rows(tmp_path / "rd.csv", rows)))["a"].means()
    bpp, values = means[0]
    assert bpp == pytest.approx(2 * RATES[0], abs=1e-5)
    assert values == {"psnr": 35}


def test_summary_finds_average_and_worst_image(tmp_path: Path) -> None:
    rows = rows_of("a", {"1.png": 1.0, "2.png": 1.0})
    rows += rows_of("t", {"1.png": 0.5, "2.png": 1.1})
    measured = group(read_measurements(save_rows(tmp_path / "rd.csv", rows)))
    (row,) = summary.compare("a", "psnr", measured, {}, min_bpp=0.1, max_bpp=0.8)
    assert float(row["bd_rate"]) == pytest.approx(-20, abs=0.02)
    assert float(row["image_mean"]) == pytest.approx(-20, abs=0.02)
    assert row["worst_image"] == "2.png"
    assert float(row["image_worst"]) == pytest.approx(10, abs=0.02)


def test_summary_says_why_there_is_no_figure(tmp_path: Path) -> None:
    rows = rows_of("a", {"1.png": 1.0})
    rows += rows_of("t", {"1.png": 0.01})
    measured = group(read_measurements(save_rows(tmp_path / "rd.csv", rows)))
    (row,) = summary.compare("a", "psnr", measured, {}, min_bpp=0.1, max_bpp=0.8)
    assert "bd_rate" not in row
    assert "0 points" in row["note"]


def test_published_curves_join_as_published(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    bpp, psnr = zip(*line("", 10, 0.8).points, strict=True)
    path.write_text(json.dumps({"_about": "x", "vtm": {"bpp": bpp[::-1], "psnr": psnr[::-1]}}))
    source = save_rows(tmp_path / "rd.csv", rows_of("a", {"1.png": 1.0}))
    out = tmp_path / "summary.csv"
    arguments = [str(source), "--anchor", "a", "--published", str(path), "--csv", str(out)]
    result = CliRunner().invoke(summary.main, arguments)
    assert result.exit_code == 0, result.output
    assert "| vtm (published) | −20.0 % |" in result.output
    assert [row["codec"] for row in tables.read_csv(out)] == ["published/vtm"]


def test_a_broken_file_of_published_curves_is_named(tmp_path: Path) -> None:
    path = tmp_path / "published.json"
    path.write_text('{"vtm": {"bpp": [1, 2], "psnr": [30]}}')
    with pytest.raises(ValueError, match=r"published\.json"):
        read_published(path)


@pytest.mark.parametrize(
    ("one", "other"), [("bpp", "psnr"), ("bytes", "width"), ("psnr", "ms_ssim")]
)
def test_swapped_columns_are_noticed(tmp_path: Path, one: str, other: str) -> None:
    rows = rows_of("a", {"1.png": 1.0})
    for row in rows:
        row["ms_ssim"] = "0.98"
        row[one], row[other] = row[other], row[one]
    with pytest.raises(ValueError, match="line 2"):
        read_measurements(save_rows(tmp_path / "rd.csv", rows))


def test_mixed_versions_double_rows_and_missing_images_are_refused(tmp_path: Path) -> None:
    rows = rows_of("a", {"1.png": 1.0, "2.png": 1.0})
    with pytest.raises(ValueError, match="twice"):
        read_measurements(save_rows(tmp_path / "1.csv", [*rows, rows[0]]))
    with pytest.raises(ValueError, match="1 of 2 images"):
        group(read_measurements(save_rows(tmp_path / "2.csv", rows[:-1])))
    rows[-1]["codec_version"] = "2"
    with pytest.raises(ValueError, match="version"):
        read_measurements(save_rows(tmp_path / "3.csv", rows))


def test_a_quality_that_loses_psnr_is_named(tmp_path: Path) -> None:
    rows = rows_of("a", {"1.png": 1.0, "2.png": 1.0})
    good = group(read_measurements(save_rows(tmp_path / "1.csv", rows)))
    assert good["a"].falls() == []
    rows[-1]["psnr"] = "30"
    (fall,) = group(read_measurements(save_rows(tmp_path / "2.csv", rows)))["a"].falls()
    assert fall.startswith("2.png: 4 → 5 loses")


# Measuring


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
    whole, part = speed.make_rows(seconds, {"vqcodec": (50, 0.5)})
    assert (whole["median_s"], whole["min_s"], whole["max_s"]) == ("0.40000", "0.20000", "9.00000")
    assert part["share"] == "0.2500"


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


# The tables of the README


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A README with one table to fill, and the results for it."""
    rows = rows_of("jpeg", {"1.png": 1.0}) + rows_of("vqcodec", {"1.png": 0.5})
    source = save_rows(tmp_path / "rd.csv", rows)
    out = tmp_path / "results" / "kodak-summary.csv"
    result = CliRunner().invoke(summary.main, [str(source), "--anchor", "jpeg", "--csv", str(out)])
    assert result.exit_code == 0, result.output
    path = tmp_path / "README.md"
    path.write_text("# A\n\n<!-- table:kodak -->\n<!-- /table -->\n\nB\n")
    return path


def run_readme(page: Path, *arguments: str) -> int:
    given = ["--readme", str(page), "--results", str(page.parent / "results"), *arguments]
    return CliRunner().invoke(readme.main, given).exit_code


def test_readme_fills_its_tables_and_check_compares(page: Path) -> None:
    assert run_readme(page, "--check") == 1
    assert run_readme(page) == 0
    assert "| vqcodec | −50.0 % (−50.0 %) |" in page.read_text()
    assert page.read_text().endswith("<!-- /table -->\n\nB\n")
    assert run_readme(page, "--check") == 0


def test_readme_check_fails_when_a_figure_was_changed(page: Path) -> None:
    run_readme(page)
    page.write_text(page.read_text().replace("−50.0", "−55.0"))
    assert run_readme(page, "--check") == 1


@pytest.mark.parametrize(
    "text", ["no table", "<!-- table:kodak -->\n", "<!-- table:nonesuch -->\n<!-- /table -->\n"]
)
def test_readme_refuses_what_it_cannot_fill(page: Path, text: str) -> None:
    page.write_text(text)
    assert run_readme(page) == 1
    assert page.read_text() == text


def test_readme_check_fails_without_results(page: Path) -> None:
    run_readme(page)
    shutil.rmtree(page.parent / "results")
    assert run_readme(page, "--check") == 1


def test_tables_read_back_what_was_written(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "a.csv", ("x", "y"), [{"x": "1, 2"}])
    assert tables.read_csv(tmp_path / "a.csv") == [{"x": "1, 2", "y": ""}]
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n"1, 2",\n'
