"""How many bytes a collection will take, before it is encoded: bytes foretold from density maps.

    python -m benchmarks.compressibility IMAGES -o compressibility.csv [-q 50] [--most 48]

A lossy file need not say what is finer than its error. As in reverse water-filling, what it has to
say of a block of 8x8 pixels is taken to be its bits per dimension above a level, or nothing. The
level, and a power law from the mean of that to the file's bytes, are fitted to all the images but
the one that is foretold. Beside it: the same law from the bytes of a lossless file. Rows that the
CSV already holds are not measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks import density, runs, tables
from benchmarks.anomaly import lossless
from benchmarks.images import ImageRef, find_images, middle
from benchmarks.tables import Row
from vqcodec import weights
from vqcodec.errors import VqcError

BLOCK = 8
LEVELS = np.arange(0, 4.25, 0.25)  # bits per dimension
FIELDS = (
    "dataset", "image", "side", "quality", "bytes", "lossless", "codec",
    *(f"above_{level:g}" for level in LEVELS), "model_id", "codec_id", "machine", "versions",
    "commit",
)  # fmt: skip
# A picture with nothing above the level has a logarithm all the same.
_LEAST = 1e-3
# Fewer images are no test of a law with three parameters.
LEAST_IMAGES = 8

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """One image, at a quality of the codec; the models are files."""

    ref: ImageRef
    side: int
    quality: int
    model: Path
    codec: Path

    num_rows = 1

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return self.ref.name


def measure(task: Task) -> list[Row]:
    """Measure one image; the row lacks the columns of the whole run."""
    from vqcodec.api import load_codec
    from vqcodec.density.measure import bit_map
    from vqcodec.density.ycc import as_recorded

    picture = middle(task.ref.load(), task.side)
    bits = bit_map(density.loaded(task.model), as_recorded(np.array(picture)))
    size = len(load_codec(task.codec).encode(picture, quality=task.quality))
    codec, whole = lossless(picture)
    row = {"image": task.ref.name, "side": str(task.side), "quality": str(task.quality)}
    row |= {"bytes": str(size), "lossless": str(whole), "codec": codec}
    means = zip(LEVELS, above_levels(bits), strict=True)
    return [row | {f"above_{level:g}": f"{mean:.6f}" for level, mean in means}]


def above_levels(bits: NDArray[np.float32]) -> Array:
    """Return the mean over blocks of a map of what they have above each level, `[LEVELS]`."""
    height, width = (side // BLOCK for side in bits.shape)
    cut = bits[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    blocks = cut.mean((1, 3), dtype=np.float64)
    means: Array = np.maximum(blocks[..., None] - LEVELS, 0).mean((0, 1))
    return means


def foretold(known: Array, sizes: Array) -> Array:
    """Return the bytes of each file as the others let expect, float64 `[N]`.

    `known` `[N, C]` are candidates for what the power law starts from; that is chosen which fits
    the others best. `sizes` are the bytes of the files, `[N]`.
    """
    x, y = np.log(np.maximum(known, _LEAST)), np.log(sizes)
    result = np.empty_like(y)
    for number in range(len(y)):
        others = np.arange(len(y)) != number
        best = np.inf
        for column in x.T:
            slope, start = np.polyfit(column[others], y[others], 1)
            error = float(np.square(slope * column + start - y)[others].sum())
            if error < best:
                best, result[number] = error, slope * column[number] + start
    return np.exp(result)


def table(rows: Sequence[Row]) -> str:
    """Lay out how good the forecasts are: rank correlation, errors of files, error of the sum."""
    sizes = np.array([float(row["bytes"]) for row in rows])
    maps = np.array([[float(row[f"above_{level:g}"]) for level in LEVELS] for row in rows])
    files = np.array([[float(row["lossless"])] for row in rows])
    body = []
    for name, known in {
        "density map": maps,
        "bits per dimension": maps[:, :1],
        "lossless file": files,
    }.items():
        told = foretold(known, sizes)
        errors = np.abs(told / sizes - 1)
        rank = float(spearmanr(told, sizes).statistic)
        line = [f"{np.corrcoef(np.log(told), np.log(sizes))[0, 1]:.3f}", f"{rank:.3f}"]
        line += [f"{np.median(errors):.1%}", f"{told.sum() / sizes.sum() - 1:+.1%}"]
        body.append([name, *line])
    first = rows[0]
    header = ["from", "correlation of logarithms", "of ranks", "median error", "of the sum"]
    caption = (
        f"Bytes at quality {first['quality']}, each foretold from all the other images: "
        f"{first['dataset']}, the middle {first['side']}x{first['side']} of {len(rows)} images, "
        f"lossless files: {', '.join(sorted({row['codec'] for row in rows}))}."
    )
    return f"{tables.markdown(header, body)}\n\n{caption}"


@click.command()
@runs.image_options
@click.option("-q", "--quality", default=50, type=click.IntRange(1, 100), show_default=True)
@click.option("--most", default=48, type=click.IntRange(LEAST_IMAGES), show_default=True)
@click.option("--side", default=256, type=click.IntRange(16), show_default=True, help="Pixels.")
@click.option("--model", default=weights.DENSITY, help="Density model, a name or a path.")
@click.option("--codec", default=weights.DEFAULT, help="Model of the codec, a name or a path.")
def main(
    source: Path,
    out: Path,
    quality: int,
    most: int,
    side: int,
    model: str,
    codec: str,
    dataset: str | None,
    jobs: int,
) -> None:
    """Measure images of SOURCE, a folder or a tar, and print how well their bytes are foretold."""
    try:
        refs = find_images(source)[:most]
        done = runs.read_done(out, FIELDS)
        density_info, codec_info = weights.find_density(model), weights.find(codec)
        ids = {"model_id": density_info.model_id.hex(), "codec_id": codec_info.model_id.hex()}
        options = {"side": str(side), "quality": str(quality)}
        runs.check_options(done, options | ids, other="other options")
    except (ValueError, VqcError) as error:
        raise click.ClickException(str(error)) from error
    names = {row["image"] for row in done}
    models = density_info.path, codec_info.path
    tasks = [Task(ref, side, quality, *models) for ref in refs if ref.name not in names]
    common = runs.in_common(source, dataset, **ids)
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.tell(out, table, failures, at_least=LEAST_IMAGES)


if __name__ == "__main__":
    main()
