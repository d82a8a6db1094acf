"""The report of the benchmarks: what stands on the page, and what it refuses."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from base64 import b64decode
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from curves import RATES, rows_of, save_rows
from numpy.typing import NDArray
from PIL import Image

from benchmarks import plots, rate_tables, report, summary, tables
from benchmarks.curves import curve

if TYPE_CHECKING:
    from benchmarks.chromium import Chromium

SVG = "{http://www.w3.org/2000/svg}"


def write_rd(
    path: Path, factors: dict[str, float], *, dataset: str = "made <set>", ms_ssim: bool = False
) -> Path:
    """A CSV of `rd` with two images: codecs at 10 dB a decade, rates times each one's factor."""
    rows = []
    for codec, factor in factors.items():
        images = {"1.png": factor, "2.png": factor}
        rows += rows_of(codec, images, dataset=dataset, ms_ssim=ms_ssim)
    return save_rows(path, rows)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """jpeg, and webp at four fifths of its rate."""
    return write_rd(tmp_path / "rd.csv", {"jpeg": 1.0, "webp": 0.8}, ms_ssim=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one picture that has some detail."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (22, 22, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((176, 168)).save(folder / "1.png")
    return folder


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(report.main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def made(*arguments: object) -> str:
    """The page for these arguments; they begin with a CSV, beside which it is written."""
    out = Path(str(arguments[0])).with_name("report.html")
    result = run(*arguments, "-o", out)
    assert result.exit_code == 0, result.output
    return out.read_text(encoding="utf-8")


def charts(page: str) -> dict[str, str]:
    """The SVG files within a page by their labels."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', page)
    return {label: b64decode(source).decode() for label, source in found}


def element(svg: str, name: str) -> ET.Element:
    """The element of that id."""
    found = ET.fromstring(svg).find(f".//*[@id='{name}']")
    assert found is not None
    return found


def texts(tree: ET.Element) -> list[str]:
    return [text.text or "" for text in tree.iter(f"{SVG}text")]


def places(tree: ET.Element) -> list[tuple[float, float]]:
    """Where the marks of an element stand: the points of a curve, or the tick of an axis."""
    return [(float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in tree.iter(f"{SVG}use")]


def vertices(tree: ET.Element) -> NDArray[np.float64]:
    """The corners of the first path of an element, [N, 2]."""
    path = next(tree.iter(f"{SVG}path")).attrib["d"]
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)


def test_every_bd_rate_table_names_anchor_average_and_colour_space(measured: Path) -> None:
    page = made(measured)
    found = re.findall(r"<caption>([^<]*)</caption>", page)
    captions = [unescape(text) for text in found if "BD-rate" in text]
    assert [text.split(":")[0] for text in captions] == [
        "PSNR against jpeg", "PSNR against webp", "MS-SSIM against jpeg", "MS-SSIM against webp",
    ]  # fmt: skip
    for text in captions:
        assert "made <set> (2 images), RGB, bytes of whole files" in text
        assert "curves of the means over the images" in text
    assert re.search(r"webp</th><td>−20.0 %</td>", page)


def test_there_is_a_plot_for_each_metric_that_was_measured(measured: Path, tmp_path: Path) -> None:
    psnr, ms_ssim = (f"{name} (dB) over bits per pixel" for name in ("PSNR", "MS-SSIM"))
    assert [*charts(made(measured))] == [psnr, ms_ssim, "Times as bars"]
    plain = made(write_rd(tmp_path / "plain.csv", {"jpeg": 1.0}), "-f")
    assert [*charts(plain)] == [psnr, "Times as bars"]


def test_published_curves_are_marked_and_their_source_is_named(measured: Path) -> None:
    public = measured.with_name("public.json")
    psnr = [30 + 10 * math.log10(rate / 0.1) for rate in RATES]
    entry = {"source": "a paper & more", "bpp": [0.5 * rate for rate in RATES], "psnr": psnr}
    public.write_text(json.dumps({"vtm": entry}))
    page = made(measured, "--published", public, "--anchor", "published/vtm")
    chart = charts(page)["PSNR (dB) over bits per pixel"]
    for name, published in (("jpeg", False), ("published/vtm", True)):
        style = next(element(chart, name).iter(f"{SVG}path")).attrib["style"]
        assert ("stroke-dasharray" in style) == published
    assert texts(element(chart, "legend_1")) == ["jpeg", "webp", "vtm (published)"]
    assert "<li>vtm (published): a paper &amp; more</li>" in page
    assert "PSNR against vtm (published)" in page
    assert re.search(r"jpeg</th><td>\+100.0 %</td>", page)


def test_readme_tables_keep_what_is_published_apart(measured: Path) -> None:
    public, out = measured.with_name("public.json"), measured.with_name("summary.csv")
    psnr = [30 + 10 * math.log10(rate / 0.1) for rate in RATES]
    half = {"bpp": [0.5 * rate for rate in RATES], "psnr": psnr}
    public.write_text(json.dumps({"vtm": half, "worse": {"bpp": RATES, "psnr": psnr}}))
    anchors = ["--anchor", "jpeg", "--anchor", "published/vtm"]
    given = [str(measured), "--published", str(public), *anchors, "--csv", str(out)]
    result = CliRunner().invoke(summary.main, given)
    assert result.exit_code == 0, result.output
    rows = tables.read_csv(out)
    between_measured = rate_tables.bd_rate_table(rows)
    assert "| PSNR | against jpeg |" in between_measured
    assert "| MS-SSIM | against jpeg |" in between_measured
    assert "| webp | −20.0 % (−20.0 %) |" in between_measured
    assert "published" not in between_measured
    ladder = rate_tables.ladder_table(rows).splitlines()
    assert ladder[0] == "| PSNR | against vtm (published) | overlap |"
    rungs = [line.split(" | ")[:2] for line in ladder[2:5]]
    assert rungs == [
        ["| jpeg", "+100.0 %"],
        ["| worse (published)", "+100.0 %"],
        ["| webp", "+60.0 %"],
    ]


def test_pictures_come_at_equal_bytes(measured: Path, photos: Path) -> None:
    page = made(measured, "--images", photos, "--image", "1.png", "--bpp", "1.5")
    sizes = re.findall(r"<p>(\w+), ([\d,]+) bytes", page)
    assert [name for name, _ in sizes] == ["jpeg", "webp"]
    budget = 176 * 168 * 1.5 / 8
    for _, size in sizes:
        assert 0.8 * budget < int(size.replace(",", "")) <= budget
    assert re.search(r"<li>webp: pillow [\d.]+ webp [\d.]+ method=6</li>", page)


def test_a_codec_that_is_not_here_is_left_out_of_the_pictures(photos: Path, tmp_path: Path) -> None:
    source = write_rd(tmp_path / "rd.csv", {"vqcodec": 1.0, "jpeg": 1.0, "other": 1.0})
    arguments = ("--images", photos, "--image", "1.png", "--model", "missing", "--bpp", "1.5")
    page = made(source, *arguments)
    assert "<li>vqcodec left out: no model called missing" in page
    assert "<li>other left out: no codec has this name here</li>" in page
    assert re.findall(r'data-name="(\w+)"', page) == ["original", "jpeg"]


def test_times_are_drawn_to_scale(measured: Path) -> None:
    medians = np.array([float(row["median_s"]) for row in tables.read_csv(report.SPEED)])
    chart = charts(made(measured))["Times as bars"]
    bars = [vertices(element(chart, f"bar-{number}"))[:, 0] for number in range(len(medians))]
    assert len({bar.min() for bar in bars}) == 1
    widths = np.array([np.ptp(bar) for bar in bars])
    assert widths / widths.max() == pytest.approx(medians / medians.max(), abs=1e-3)


def test_several_sets_of_images_are_sections_of_their_own(measured: Path) -> None:
    other = write_rd(measured.with_name("other.csv"), {"jpeg": 1.0}, dataset="other")
    page = made(measured, other)
    headings = [unescape(text) for text in re.findall(r"<h2>(.*?)</h2>", page)]
    assert headings == ["made <set> (2 images)", "other (2 images)", "Speed"]


def test_points_lie_where_the_axes_say() -> None:
    points = [(0.2, 30.0), (0.4, 34.0), (0.6, math.inf), (2.0, 50.0)]
    look = plots.looks(["a"])
    chart = plots.rate_plot("PSNR", {"a": curve("a", points)}, look, min_bpp=0.1, max_bpp=0.8)
    ticks: dict[str, dict[float, tuple[float, float]]] = {"xtick": {}, "ytick": {}}
    for group in ET.fromstring(chart).iter(f"{SVG}g"):
        kind = group.attrib.get("id", "").partition("_")[0]
        if kind in ticks:
            (value,) = texts(group)
            ticks[kind][float(value)] = places(group)[0]
    line = element(chart, "a")
    assert places(line)[:2] == [
        (ticks["xtick"][0.2][0], ticks["ytick"][30][1]),
        (ticks["xtick"][0.4][0], ticks["ytick"][34][1]),
    ]
    assert len(vertices(line)) == 3  # the infinite one is left out
    assert max(ticks["ytick"]) < 50  # what lies beyond the axis does not stretch the other one


def test_a_curve_of_small_values_fills_the_axis() -> None:
    points = [(0.2, 0.5), (0.4, 0.7), (0.6, 0.9)]
    assert plots.axis("haarpsi") == "HaarPSI"
    chart = plots.rate_plot("t", {"a": curve("a", points)}, {"a": 0}, min_bpp=0.1, max_bpp=0.8)
    drawn = vertices(element(chart, "a"))[:, 1]
    frame = vertices(element(chart, "patch_2"))[:, 1]
    assert np.ptp(drawn) > 0.8 * np.ptp(frame)


def test_plots_as_files_hold_the_curves_of_the_page(measured: Path) -> None:
    public = measured.with_name("public.json")
    public.write_text(json.dumps({"vtm": {"bpp": RATES, "psnr": [31 + rate for rate in RATES]}}))
    prefix = measured.with_name("plot")
    given = [str(measured), "--published", str(public), "--plots", str(prefix)]
    result = CliRunner().invoke(summary.main, given)
    assert result.exit_code == 0, result.output
    drawn = charts(made(measured, "--published", public))
    for metric, names in (
        ("psnr", ["jpeg", "webp", "vtm (published)"]), ("ms_ssim", ["jpeg", "webp"]),
    ):  # fmt: skip
        chart = Path(f"{prefix}-{metric}.svg").read_text(encoding="utf-8")
        assert drawn[f"{plots.axis(metric)} over bits per pixel"] == chart
        assert texts(element(chart, "legend_1")) == names
        assert f"made <set>, 2 images: {plots.axis(metric)}" in texts(ET.fromstring(chart))


def test_an_existing_page_is_kept_and_a_csv_never_replaced(measured: Path) -> None:
    made(measured)
    out = measured.with_name("report.html")
    out.write_text("mine")
    result = run(measured, "-o", out)
    assert (result.exit_code, out.read_text()) == (1, "mine")
    before = measured.read_bytes()
    assert run(measured, "-o", measured, "-f").exit_code == 2
    assert measured.read_bytes() == before


def test_what_makes_no_sense_is_one_line(measured: Path, photos: Path) -> None:
    twin = measured.with_name("twin.csv")
    twin.write_bytes(measured.read_bytes())
    other = write_rd(measured.with_name("other.csv"), {"jpeg": 1.0}, dataset="other")
    public = measured.with_name("public.json")
    public.write_text("{}")
    cases: list[tuple[list[object], str]] = [
        ([report.SPEED], "speed.csv, line 2"),
        ([measured, twin], "jpeg on made <set> is in"),
        ([measured, "--speed", measured], "not a CSV of benchmarks.speed"),
        ([measured, other, "--published", public], "--published is for one set of images"),
        ([measured, "--image", "1.png"], "--image needs --images"),
        ([measured, "--images", photos, "--image", "9.png"], "no image 9.png"),
        ([measured, "--images", photos, "--image", "1.png", "--bpp", "0.001"], "nothing to show"),
    ]
    for arguments, reason in cases:
        result = run(*arguments, "-o", measured.with_name("none.html"))
        assert result.exit_code in (1, 2)
        assert reason in result.stderr.splitlines()[-1]
    assert not measured.with_name("none.html").exists()


@pytest.mark.slow
def test_the_report_fits_a_phone_and_asks_for_nothing(
    browser: Chromium, measured: Path, photos: Path
) -> None:
    made(measured, "--images", photos, "--image", "1.png", "--bpp", "1.5")
    browser.open(measured.with_name("report.html"), phone=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.complaints() == []
