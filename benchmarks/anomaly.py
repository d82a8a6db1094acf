"""Are tampered, noisy, upscaled, recompressed or synthetic pictures told by their bits?

    python -m benchmarks.anomaly IMAGES -o anomaly.csv [--most 24] [--side 256] [-k 1] [--seed 0]

Of each image the middle is measured as it is and corrupted in each way of `benchmarks.corruptions`.
The table has the area under the ROC curve, the share of pairs of an untouched and a corrupted
picture of which the corrupted one has the higher score: 0.5 says nothing, and below it the
corrupted ones have less. Scores are bits per dimension under the density model, those of a lossless
file, and the first less the second, which takes off what is dear only because it is intricate
(Serrà et al. 2020). Rows that the CSV already holds are not measured again.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from scipy.stats import mannwhitneyu

from benchmarks import density, runs, tables
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.images import ImageRef, find_images, middle
from benchmarks.tables import Row
from vqcodec import weights
from vqcodec.density.lossless import file_sizes
from vqcodec.errors import VqcError

UNTOUCHED = "untouched"
FIELDS = (
    "dataset", "image", "side", "seed", "samples", "picture", "bits", "lossless", "codec",
    "model_id", "machine", "versions", "commit",
)  # fmt: skip
SCORES: Mapping[str, Callable[[Row], float]] = {
    "bits per dimension": lambda row: float(row["bits"]),
    "lossless file": lambda row: float(row["lossless"]),
    "difference": lambda row: float(row["bits"]) - float(row["lossless"]),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One image in all its states; `other` is the photograph that a forger takes a patch of."""

    ref: ImageRef
    other: ImageRef
    side: int
    seed: int
    samples: int
    model: Path

    num_rows = 1 + len(CORRUPTIONS)

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return self.ref.name


def pictures(task: Task) -> dict[str, Image.Image]:
    """Return the middle of a task's image, untouched and corrupted in every way."""
    picture, other = (middle(ref.load(), task.side) for ref in (task.ref, task.other))
    found = {UNTOUCHED: picture}
    for name, corrupt in CORRUPTIONS.items():
        rng = np.random.default_rng((task.seed, zlib.crc32(f"{name} {task.ref.name}".encode())))
        found[name] = corrupt(picture, other, rng)
    return found


def measure(task: Task) -> list[Row]:
    """Measure one image in all its states; the rows lack the columns of the whole run."""
    from vqcodec.density.measure import measure as density_of
    from vqcodec.density.ycc import as_recorded

    rows = []
    for name, picture in pictures(task).items():
        pixels = np.array(picture)
        seen = as_recorded(pixels)
        bound = density_of(density.loaded(task.model), seen, task.samples).iwae
        codec, size = lossless(picture)
        row = {"image": task.ref.name, "side": str(task.side), "seed": str(task.seed)}
        row |= {"samples": str(task.samples), "picture": name, "codec": codec}
        rows.append(row | {"bits": f"{bound:.6f}", "lossless": f"{8 * size / pixels.size:.6f}"})
    return rows


def lossless(picture: Image.Image) -> tuple[str, int]:
    """Return the best lossless codec that is here, JPEG XL before WebP, and the file's bytes."""
    sizes, _ = file_sizes(picture)
    codec = "jxl" if "jxl" in sizes else "webp"
    return codec, sizes[codec]


def auroc(ordinary: Sequence[float], corrupted: Sequence[float]) -> float:
    """Return the share of pairs in which the corrupted score is higher; ties count half."""
    above = mannwhitneyu(corrupted, ordinary).statistic
    return float(above / (len(ordinary) * len(corrupted)))


def table(rows: Sequence[Row]) -> str:
    """Lay out the area under the ROC curve of every score for every corruption."""
    scores = {
        name: {kind: [score(row) for row in rows if row["picture"] == kind] for kind in _kinds()}
        for name, score in SCORES.items()
    }
    body = [
        [kind, *(f"{auroc(found[UNTOUCHED], found[kind]):.2f}" for found in scores.values())]
        for kind in CORRUPTIONS
    ]
    codecs = ", ".join(sorted({row["codec"] for row in rows}))
    count = len({row["image"] for row in rows})
    first = rows[0]
    caption = (
        f"AUROC, corrupted against untouched: {first['dataset']}, the middle {first['side']}x"
        f"{first['side']} of {count} images, k = {first['samples']}, lossless files: {codecs}."
    )
    return f"{tables.markdown(['', *SCORES], body)}\n\n{caption}"


def _kinds() -> list[str]:
    return [UNTOUCHED, *CORRUPTIONS]


@click.command()
@runs.image_options
@click.option("--most", default=24, type=click.IntRange(2), show_default=True, help="Images.")
@click.option("--side", default=256, type=click.IntRange(16), show_default=True, help="Pixels.")
@click.option("-k", "--samples", default=1, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the corruptions.")
@click.option("--model", default=weights.DENSITY, help="Density model, a name or a path.")
def main(
    source: Path,
    out: Path,
    most: int,
    side: int,
    samples: int,
    seed: int,
    model: str,
    dataset: str | None,
    jobs: int,
) -> None:
    """Measure images of SOURCE, a folder or a tar, and print the table."""
    try:
        refs = find_images(source)[:most]
        done = runs.read_done(out, FIELDS)
        info = weights.find_density(model)
        model_id = info.model_id.hex()
        options = {"side": str(side), "seed": str(seed), "samples": str(samples)}
        runs.check_options(done, options | {"model_id": model_id}, other="other options")
    except (ValueError, VqcError) as error:
        raise click.ClickException(str(error)) from error
    if len(refs) < 2:
        raise click.ClickException(f"{source}: a patch is of another image, and there is one only")
    names = {row["image"] for row in done}
    task = functools.partial(Task, side=side, seed=seed, samples=samples, model=info.path)
    pairs = zip(refs, [*refs[1:], refs[0]], strict=True)
    tasks = [task(ref, other) for ref, other in pairs if ref.name not in names]
    common = runs.in_common(source, dataset, model_id=model_id)
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.tell(out, table, failures)


if __name__ == "__main__":
    main()
