"""BD-rates against hand-computed cases, and refusals where there is no figure."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from curves import RATES, line, rows_of, save_rows

from benchmarks import summary, tables
from benchmarks.curves import CurveError, bd_rate, curve, read_published, to_unit
from benchmarks.measurements import group, read_measurements

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


@pytest.mark.parametrize(
    ("metric", "value"), [("cvvdp", "10.2"), ("haarpsi", "1.5"), ("haarpsi", "nan"), ("vif", "-1")]
)
def test_impossible_values_are_refused(tmp_path: Path, metric: str, value: str) -> None:
    rows = rows_of("a", {"1.png": 1.0})
    rows[0][metric] = value
    with pytest.raises(ValueError, match=r"line 2: (ColorVideoVDP|HaarPSI|VIF) is"):
        read_measurements(save_rows(tmp_path / "rd.csv", rows))


@pytest.mark.parametrize("metric", ["cvvdp", "haarpsi", "vif"])
def test_bd_rates_are_tabulated_in_every_metric(tmp_path: Path, metric: str) -> None:
    rows = rows_of("a", {"1.png": 1.0}) + rows_of("t", {"1.png": 0.8})
    for row in rows:  # a value to each setting, so that the curves differ in rate alone
        row[metric] = f"{0.5 + 0.05 * int(row['setting']):.6f}"
    source, out = save_rows(tmp_path / "rd.csv", rows), tmp_path / "summary.csv"
    arguments = [str(source), "--anchor", "a", "--csv", str(out)]
    result = CliRunner().invoke(summary.main, [*arguments, "--min-bpp", "0.01", "--max-bpp", "9"])
    assert result.exit_code == 0, result.output
    assert f"### {tables.METRIC_NAMES[metric]} against a" in result.output
    found = {row["metric"]: row for row in tables.read_csv(out)}
    assert float(found[metric]["bd_rate"]) == pytest.approx(-20, abs=0.02)


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
