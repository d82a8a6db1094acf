"""Whose photographs the weights have seen: python -m train.credits SOURCES.csv

Writes a page with a line for each photograph of the free training set, by licence and source, from
the table that came with the set.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from train.errors import DataError
from train.options import FILE, Script, option
from vqcodec.commands.files import atomic_write

PAGE = "train/CREDITS.md"
SHARD = re.compile(r"free-\d+\.tar")
VALIDATION = "free-valid.tar"
COLUMNS = ("file", "shard", "source", "path", "author", "licence", "doubt")
_REQUIRED = ("file", "shard", "source", "path", "licence")

Row = dict[str, str]


def credited(data: Iterable[str]) -> bool:
    """Tell if training data, by the names of their files, are shards of the free set alone."""
    names = list(data)
    return bool(names) and all(SHARD.fullmatch(name) for name in names)


def read_sources(path: Path) -> list[Row]:
    """Read a row for each photograph.

    Raises DataError if the table or a column is missing, or a row says too little.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}") from error
    missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    for number, row in enumerate(rows, 1):
        empty = [name for name in _REQUIRED if not row[name]]
        if empty:
            raise DataError(f"{path}: photograph {number} has no {', '.join(empty)}")
    if not rows:
        raise DataError(f"{path}: no photographs")
    return rows


def credits_page(rows: Sequence[Row]) -> str:
    """Lay out the page: a heading a licence, one a source and doubt, a line a photograph."""
    validation = sum(row["shard"] == VALIDATION for row in rows)
    lines = [
        "# Credits",
        "",
        f"The {len(rows)} photographs of the free training set, {validation} of them only to",
        f"validate on ({VALIDATION}): the file, its path in the source, which for a repository has",
        "the first digits of the Git blob, and the author where known. Each was scaled down and",
        "saved anew. A heading has the licence and, in brackets, what it is known from, which may",
        "be no more than the name of the file. `python -m train.credits` makes this page.",
    ]
    for licence, of_licence in _groups(rows, "licence"):
        lines += ["", f"## {licence}"]
        for source, of_source in _groups(of_licence, "source"):
            for doubt, photographs in _groups(of_source, "doubt"):
                lines += ["", f"### {source}", ""]
                if doubt:
                    lines += [f"In doubt: {doubt}.", ""]
                lines += [_line(row) for row in photographs]
    return "\n".join(lines) + "\n"


def _groups(rows: Sequence[Row], column: str) -> list[tuple[str, list[Row]]]:
    ordered = sorted(rows, key=lambda row: (row[column], row["file"]))
    return [(key, list(group)) for key, group in itertools.groupby(ordered, lambda r: r[column])]


def _line(row: Row) -> str:
    # Indented by four it is shown as it stands, whatever the names hold.
    text = f"{Path(row['file']).stem} {row['path']}" + (row["author"] and f", {row['author']}")
    return "    " + " ".join(text.splitlines())


@click.command(cls=Script)
@click.argument("sources", type=FILE)
@option("-o", "--out", type=FILE, default=PAGE)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing page.")
def main(sources: Path, out: Path, force: bool) -> None:
    """Write the page of credits from the table SOURCES."""
    atomic_write(out, credits_page(read_sources(sources)).encode(), force=force)


if __name__ == "__main__":
    main()
