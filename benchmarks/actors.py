"""Measure how many images Ray's actors code in a second, and how that grows with their number.

    python -m benchmarks.actors FOLDER [-n 1 -n 2] [-q 50] [--images 200]

Each number of actors codes the same files, taken from FOLDER in turn until there are enough, in a
run of `map_batches` as in docs/scale.md. An actor has one thread; its start, in which it loads the
model, is a figure of its own. Takes `vqcodec[ray]`.
"""

import itertools
import os
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import machine, tables
from benchmarks.images import find_images
from vqcodec.ray import Encoder

BATCH = 8


class Timed(Encoder):
    """An encoder that says when it was ready, when each batch began, and when it ended."""

    def __init__(self, **options: Any) -> None:
        self._born = time.time()
        super().__init__(**options)
        self._ready = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a row: bytes, pixels and errors of a batch, and times in seconds since 1970."""
        begin = time.time()
        coded = super().__call__(batch)
        sums = (sum(map(len, coded["vqc"])), sum(coded["pixels"]), sum(map(bool, coded["error"])))
        row = (*sums, self._ready - self._born, begin, time.time())
        names = ("bytes", "pixels", "errors", "start", "begin", "end")
        return {name: np.array([value]) for name, value in zip(names, row, strict=True)}


def throughput(files: list[bytes], actors: int, quality: int) -> dict[str, float]:
    """Return images and megapixels a second of some actors, bytes an image, seconds to start.

    Raises:
        click.ClickException: an image failed.
    """
    import ray

    rows = [{"bytes": data} for data in files]
    coded = ray.data.from_items(rows, override_num_blocks=-(-len(files) // BATCH)).map_batches(
        Timed,
        batch_size=BATCH,
        fn_constructor_kwargs={"quality": quality},
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    done = coded.take_all()
    total = {name: sum(row[name] for row in done) for name in ("bytes", "pixels", "errors")}
    if total["errors"]:
        raise click.ClickException(f"{total['errors']} images failed")
    seconds = max(row["end"] for row in done) - min(row["begin"] for row in done)
    return {
        "images": len(files) / seconds,
        "megapixels": total["pixels"] / 1e6 / seconds,
        "bytes": total["bytes"] / len(files),
        "start": max(row["start"] for row in done),
    }


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-n", "--actors", multiple=True, type=click.IntRange(1), default=(1, 2))
@click.option("-q", "--quality", default=50, type=click.IntRange(1, 100))
@click.option("--images", default=200, type=click.IntRange(1), help="Files that each run codes.")
def main(folder: Path, actors: tuple[int, ...], quality: int, images: int) -> None:
    """Code images of FOLDER with each number of actors, and print a table."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    try:
        found = find_images(folder)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    refs = itertools.islice(itertools.cycle(found), images)
    files = [(ref.source / ref.name).read_bytes() for ref in refs]
    # One more than actors: what hands them their images wants some of a processor too.
    ray.init(num_cpus=max(actors) + 1, include_dashboard=False, log_to_driver=False)
    rows = []
    for number in actors:
        measured = throughput(files, number, quality)
        rows.append([str(number), *(f"{measured[name]:.2f}" for name in ("images", "megapixels"))])
        rows[-1] += [f"{measured['bytes']:.0f}", f"{measured['start']:.1f}"]
    ray.shutdown()
    header = ["actors", "images a second", "Mpixel a second", "bytes an image", "start (s)"]
    click.echo(tables.markdown(header, rows))
    click.echo(f"\n{images} images, quality {quality}; {machine.processor()}")


if __name__ == "__main__":
    main()
