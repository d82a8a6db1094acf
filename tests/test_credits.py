"""Credits: every photograph in one line, under its licence and source, or an error."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from train import credits
from train.credits import COLUMNS
from train.export import model_card

ROWS = [
    ("f2.jpg", "free-0.tar", "github:b/b", "z/dune_*1*.jpg @blob 0123456789", "Bo", "CC0-1.0", ""),
    ("f0.jpg", "free-0.tar", "github:b/b", "lake.jpg", "", "CC0-1.0", ""),
    ("f1.jpg", "free-valid.tar", "github:a/a", "town.png", "Ann Ö", "MIT", "not named"),
    ("f3.jpg", "free-1.tar", "github:a/a", "hill.png", "Ann Ö", "CC0-1.0", ""),
    ("f4.jpg", "free-1.tar", "github:a/a", "sea.png", "Ann Ö", "MIT", ""),
]  # fmt: skip


def table(path: Path, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(credits.main, [str(argument) for argument in arguments])


def test_a_line_a_photograph_under_licence_and_source(tmp_path: Path) -> None:
    out = tmp_path / "CREDITS.md"
    assert run(table(tmp_path / "a.csv", ROWS), "-o", out).exit_code == 0
    head, *body = out.read_text(encoding="utf-8").split("\n\n## ")
    assert "5 photographs" in head
    assert "1 of them only to\nvalidate on" in head
    assert "\n\n## ".join(body) == (
        "CC0-1.0\n\n"
        "### github:a/a\n\n"
        "    f3 hill.png, Ann Ö\n\n"
        "### github:b/b\n\n"
        "    f0 lake.jpg\n"
        "    f2 z/dune_*1*.jpg @blob 0123456789, Bo\n\n"
        "## MIT\n\n"
        "### github:a/a\n\n"
        "    f4 sea.png, Ann Ö\n\n"
        "### github:a/a\n\n"
        "In doubt: not named.\n\n"
        "    f1 town.png, Ann Ö\n"
    )


def test_a_name_of_two_lines_stays_on_one(tmp_path: Path) -> None:
    rows = [("f0.jpg", "free-0.tar", "github:b/b", "lake.jpg", "Ann\nBo", "MIT", "")]
    run(table(tmp_path / "a.csv", rows), "-o", tmp_path / "CREDITS.md")
    assert (tmp_path / "CREDITS.md").read_text().endswith("    f0 lake.jpg, Ann Bo\n")


def test_a_page_is_only_replaced_when_told(tmp_path: Path) -> None:
    out = tmp_path / "CREDITS.md"
    out.write_text("mine")
    sources = table(tmp_path / "a.csv", ROWS)
    result = run(sources, "-o", out)
    assert (result.exit_code, out.read_text()) == (1, "mine")
    assert "exists already" in result.stderr
    assert run(sources, "-o", out, "--force").exit_code == 0
    assert out.read_text(encoding="utf-8").startswith("# Credits\n")


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        (COLUMNS[:-2], [row[:-2] for row in ROWS], "no column licence, doubt"),
        (COLUMNS, [*ROWS, ("f9.jpg", "free-0.tar", "github:b/b", "", "Bo", "MIT", "")],
         "photograph 6 has no path"),
        (COLUMNS, [("f9.jpg", "free-0.tar")], "photograph 1 has no source, path, licence"),
        (COLUMNS, [], "no photographs"),
    ],
)  # fmt: skip
def test_a_table_that_says_too_little_is_refused(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], reason: str, tmp_path: Path
) -> None:
    result = run(table(tmp_path / "a.csv", rows, columns), "-o", tmp_path / "CREDITS.md")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert reason in result.stderr
    assert not (tmp_path / "CREDITS.md").exists()


@pytest.mark.parametrize("data", [None, b"file,shard\n\xff"])
def test_what_is_no_table_is_refused(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "a.csv").write_bytes(data)
    result = run(tmp_path / "a.csv", "-o", tmp_path / "CREDITS.md")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "a.csv" in result.stderr


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (["/d/free-0.tar", "/d/free-6.tar"], True),
        (["/d/free-0.tar", "/d/photos.tar"], False),
        (["/d/photos.tar"], False),
        ([], False),
    ],
)
def test_the_card_names_the_credits_of_the_free_photographs(data: list[str], named: bool) -> None:
    config = {"settings": {"data": data}}
    card = model_card({"config": config, "step": 1, "seconds": 1.0, "pixels": 1}, "small")
    assert card.get("credits") == ("train/CREDITS.md" if named else None)
    assert (Path(__file__).parents[1] / credits.PAGE).is_file()
