"""Means over the images of previews, from a CSV of `benchmarks.preview`.

python -m benchmarks.preview_summary preview.csv [--csv benchmarks/results/preview.csv]
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import tables
from benchmarks.preview import FIELDS
from benchmarks.runs import read_done
from benchmarks.tables import Row

SUMMARY_FIELDS = (
    "dataset", "images", "codec", "budget", "images_fitted", "bytes", "psnr", "ms_ssim",
)  # fmt: skip


def means(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield one row a codec and budget; without figures unless every image fits into the budget.

    A mean over those that fit would be one over the easy images.

    Raises:
        ValueError: no rows, several sets of images, an image that a codec was not measured on, or
            two versions of a codec.
    """
    datasets = sorted({row["dataset"] for row in rows})
    if len(datasets) != 1:
        raise ValueError(f"one set of images is needed, not {', '.join(datasets) or 'none'}")
    images = {row["image"] for row in rows}
    versions: dict[str, str] = {}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if versions.setdefault(row["codec"], row["codec_version"]) != row["codec_version"]:
            raise ValueError(f"two versions of {row['codec']}")
        groups.setdefault((row["codec"], row["budget"]), []).append(row)
    for (codec, budget), group in groups.items():
        if sorted(row["image"] for row in group) != sorted(images):
            raise ValueError(
                f"{codec} within {budget or 'its own'} bytes was measured on {len(group)} of "
                f"{len(images)} images: finish the run first"
            )
        fitted = [row for row in group if row["bytes"]]
        result = {"dataset": datasets[0], "images": str(len(images))}
        result |= {"codec": codec, "budget": budget, "images_fitted": str(len(fitted))}
        for column, digits in (("bytes", 1), ("psnr", 4), ("ms_ssim", 5)):
            values = [float(row[column]) for row in fitted if row[column]]
            if len(values) == len(images):
                result[column] = f"{np.mean(values):.{digits}f}"
        yield result


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the means.")
def main(source: Path, csv_path: Path | None) -> None:
    """Print a Markdown table of the means over the images in SOURCE."""
    try:
        result = list(means(read_done(source, FIELDS)))
    except ValueError as error:
        raise click.ClickException(f"{source}: {error}") from error
    click.echo(tables.preview_table([dict.fromkeys(SUMMARY_FIELDS, "") | row for row in result]))
    if csv_path:
        tables.write_csv(csv_path, SUMMARY_FIELDS, result)


if __name__ == "__main__":
    main()
