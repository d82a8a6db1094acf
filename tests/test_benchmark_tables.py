"""The tables of the README: filled from the results, compared with them, and CSV files."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from curves import rows_of, save_rows

from benchmarks import rate_tables, readme, summary, tables
from vqcodec import weights


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


def test_tables_mark_the_metrics_that_a_network_was_trained_for(tmp_path: Path) -> None:
    rows = rows_of("jpeg", {"1.png": 1.0}, ms_ssim=True)
    for name, model in (
        ("vqcodec", weights.TUNED["ssim"]),
        ("vqcodec-psnr", weights.TUNED["psnr"]),
    ):
        version = f"vqcodec 1 model {weights.find(model).model_id.hex()}"
        made = rows_of(name, {"1.png": 0.5}, ms_ssim=True)
        rows += [row | {"codec_version": version} for row in made]
    other = rows_of("vqcodec-other", {"1.png": 0.5}, ms_ssim=True)
    rows += [row | {"codec_version": "vqcodec 1 model 00000000"} for row in other]
    source, out = save_rows(tmp_path / "rd.csv", rows), tmp_path / "summary.csv"
    arguments = [str(source), "--anchor", "vqcodec", "--anchor", "jpeg", "--csv", str(out)]
    result = CliRunner().invoke(summary.main, arguments)
    assert result.exit_code == 0, result.output
    read = tables.read_csv(out)
    psnr, ms_ssim = rate_tables.bd_rate_table(read).split("| MS-SSIM |")
    names = ["jpeg", "vqcodec", "vqcodec-psnr", "vqcodec-other"]
    for section, marked in ((psnr, "vqcodec-psnr"), (ms_ssim, "vqcodec")):
        first = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines()]
        shown = {name for name in first if name.rstrip("†") in names}
        assert shown == {name + "†" * (name == marked) for name in names}
    assert "† Trained for this very metric." in ms_ssim
    assert "| vqcodec-psnr† |" in result.output
    older = [{name: row[name] for name in row if name != "trained"} for row in read]
    assert "†" not in rate_tables.bd_rate_table(older)


def test_tables_read_back_what_was_written(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "a.csv", ("x", "y"), [{"x": "1, 2"}])
    assert tables.read_csv(tmp_path / "a.csv") == [{"x": "1, 2", "y": ""}]
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n"1, 2",\n'
