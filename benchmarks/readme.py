"""Fill the tables of the README from the CSV files in benchmarks/results/.

    python -m benchmarks.readme [--check]

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks import tables

ROOT = Path(__file__).parent.parent
TABLES: dict[str, tuple[str, Callable[[Sequence[tables.Row]], str]]] = {
    "kodak": ("kodak-summary.csv", tables.bd_rate_table),
    "kodak-qualities": ("kodak-curves.csv", tables.quality_table),
    "kodak-density": ("kodak-density.csv", tables.density_table),
    "mnist": ("mnist-nll.csv", tables.digits_table),
    "photos": ("photos-summary.csv", tables.bd_rate_table),
    "preview": ("preview.csv", tables.preview_table),
    "speed": ("speed.csv", tables.speed_table),
    "sweep": ("sweep.csv", tables.sweep_tables),
}
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
@click.option("--check", is_flag=True, help="Change nothing; fail when README and CSVs disagree.")
@click.option("--readme", default=ROOT / "README.md", type=click.Path(exists=True, path_type=Path))
@click.option("--results", default=ROOT / "benchmarks" / "results", type=click.Path(path_type=Path))
def main(check: bool, readme: Path, results: Path) -> None:
    """Write the tables of the README, or check them."""
    before = readme.read_text(encoding="utf-8")
    try:
        after = fill(before, results)
    except ValueError as error:
        raise click.ClickException(f"{readme}: {error}") from error
    if not check:
        readme.write_text(after, encoding="utf-8")
    elif after != before:
        raise click.ClickException(
            f"{readme} disagrees with {results}: run python -m benchmarks.readme"
        )


if __name__ == "__main__":
    main()
