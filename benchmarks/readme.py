"""Fill the tables of the README, and of that of the results, from the CSV files beside the latter.

    python -m benchmarks.readme [--check]

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks import rate_tables, tables, time_tables

ROOT = Path(__file__).parent.parent
TABLES: dict[str, tuple[str, Callable[[Sequence[tables.Row]], str]]] = {
    "kodak": ("kodak-summary.csv", rate_tables.bd_rate_table),
    "kodak-ladder": ("kodak-summary.csv", rate_tables.ladder_table),
    "kodak-high": ("kodak-high-summary.csv", rate_tables.bd_rate_table),
    "kodak-qualities": ("kodak-curves.csv", tables.quality_table),
    "kodak-density": ("kodak-density.csv", tables.density_table),
    "mnist": ("mnist-nll.csv", tables.digits_table),
    "mnist-semi": ("mnist-semi.csv", tables.semi_table),
    "natural": ("natural.csv", tables.natural_tables),
    "photos": ("photos-summary.csv", rate_tables.bd_rate_table),
    "preview": ("preview.csv", tables.preview_table),
    "speed": ("speed.csv", time_tables.speed_table),
    "sweep": ("sweep.csv", time_tables.sweep_tables),
}
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "results" / "README.md",
    ROOT / "docs" / "natural.md",
)
_MARKED = re.compile(r"(<!-- table:(\S+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def fill(text: str, results: Path) -> str:
    """Return the text with every marked table made anew.

    Raises:
        ValueError: no marked table, an unknown name, an opening marker without its end, or no CSV.
    """
    if len(_MARKED.findall(text)) != text.count("<!-- table:") or "<!-- table:" not in text:
        raise ValueError("no tables, or a marker without its partner")

    def made(match: re.Match[str]) -> str:
        start, name, _, end = match.groups()
        if name not in TABLES:
            raise ValueError(f"no table named {name}; there are {', '.join(TABLES)}")
        file, layout = TABLES[name]
        if not (results / file).exists():
            raise ValueError(f"table {name} needs {results / file}")
        return f"{start}\n{layout(tables.read_csv(results / file))}\n\n{end}"

    return _MARKED.sub(made, text)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail when pages and CSVs disagree.")
@click.option(
    "--readme", "pages", multiple=True, default=PAGES, help="Default: all that have any.",
    type=click.Path(exists=True, path_type=Path),
)  # fmt: skip
@click.option("--results", default=PAGES[1].parent, type=click.Path(path_type=Path))
def main(check: bool, pages: Sequence[Path], results: Path) -> None:
    """Write the tables of the pages, or check them."""
    for page in pages:
        before = page.read_text(encoding="utf-8")
        try:
            after = fill(before, results)
        except ValueError as error:
            raise click.ClickException(f"{page}: {error}") from error
        if not check:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            raise click.ClickException(
                f"{page} disagrees with {results}: run python -m benchmarks.readme"
            )


if __name__ == "__main__":
    main()
