"""The tables of the README: filled from the results, compared with them, and CSV files."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from curves import rows_of, save_rows

from benchmarks import readme, summary, tables


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
