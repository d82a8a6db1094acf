"""Bits per dimension of images under the density model, beside lossless codecs, into a CSV.

    python -m benchmarks.density IMAGES -o density.csv [-k 16] [--model FILE] [--jobs N]

Rows that the CSV already holds are not measured again, so a run can be stopped and continued. The
tables of such a CSV, and of the one that `train.nll` writes of digits, are in `benchmarks.tables`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from PIL import Image

from benchmarks import runs, tables
from benchmarks.images import ImageRef, find_images
from benchmarks.tables import Row
from vqcodec import weights
from vqcodec.density.lossless import BEST_WEBP, file_sizes
from vqcodec.errors import VqcError

if TYPE_CHECKING:
    from vqcodec.density.ladder import Ladder

FIELDS = (
    "dataset", "image", "width", "height", "samples", "elbo", "elbo_error", "iwae", "iwae_error",
    "png", "webp", "jxl", "space", "stored_elbo", "recorded_jxl", "model_id", "machine",
    "versions", "commit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """One image and the number of samples; the model is a file's path."""

    ref: ImageRef
    samples: int
    model: Path

    num_rows = 1

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return self.ref.name


def measure(task: Task) -> list[Row]:
    """Measure one image; the row lacks the columns of the whole run.

    A codec that is not here leaves its column empty. What an image was before it was RGB also goes
    through JPEG XL, and what it is through the model, once.
    """
    from vqcodec.density.measure import measure as density_of
    from vqcodec.density.ycc import as_recorded, as_stored

    image = task.ref.load()
    pixels = np.array(image)
    model, seen = loaded(task.model), as_recorded(pixels)
    density = density_of(model, seen, task.samples)
    sizes, _ = file_sizes(image, BEST_WEBP)
    recorded, _ = file_sizes(Image.fromarray(seen.pixels), codecs=["jxl"])
    sizes |= {f"recorded_{name}": size for name, size in recorded.items()}
    bounds = {
        "stored_elbo": density_of(model, as_stored(pixels), 1).elbo,
        "elbo": density.elbo,
        "elbo_error": density.elbo_error,
        "iwae": density.iwae,
        "iwae_error": density.iwae_error,
        **{name: 8 * size / pixels.size for name, size in sizes.items()},
    }
    row = {"image": task.ref.name, "width": str(image.width), "height": str(image.height)}
    row |= {"samples": str(task.samples), "space": seen.space}
    return [row | {name: f"{value:.6f}" for name, value in bounds.items() if value is not None}]


@functools.cache
def loaded(model: Path) -> "Ladder":
    """Return a density model of a file, loaded once a process."""
    from vqcodec.density.store import load

    return load(weights.ModelInfo(model))


@click.command()
@runs.image_options
@click.option("-k", "--samples", default=16, type=click.IntRange(1), show_default=True)
@click.option("--model", default=weights.DENSITY, help="Density model, a name or a path.")
def main(source: Path, out: Path, samples: int, model: str, dataset: str | None, jobs: int) -> None:
    """Measure the images of SOURCE, a folder or a tar, and print the table of their means."""
    try:
        refs = find_images(source)
        done = runs.read_done(out, FIELDS)
        info = weights.find_density(model)
        model_id = info.model_id.hex()
        options = {"model_id": model_id, "samples": str(samples)}
        runs.check_options(done, options, other="another model or -k")
    except (ValueError, VqcError) as error:
        raise click.ClickException(str(error)) from error
    names = {row["image"] for row in done}
    tasks = [Task(ref, samples, info.path) for ref in refs if ref.name not in names]
    common = runs.in_common(source, dataset, model_id=model_id)
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.tell(out, tables.density_table, failures)


if __name__ == "__main__":
    main()
