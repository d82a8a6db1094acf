"""Measure rate and distortion: every image x codec x setting becomes one row of a CSV.

    python -m benchmarks.rd IMAGES -o rd.csv [-c CODEC[:SETTING,...]]... [--jobs N]

Rows that the CSV already holds are not measured again, so a run can be stopped and continued.
"""

import csv
import functools
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

from benchmarks import codecs, machine, metrics
from benchmarks.images import ImageRef, find_images

FIELDS = (
    "dataset", "image", "width", "height", "codec", "setting", "bytes", "bpp",
    "psnr", "ms_ssim", "ssimulacra2", "encode_s", "decode_s", "jobs",
    "codec_version", "machine", "versions", "commit",
)  # fmt: skip
Row = dict[str, str]
Key = tuple[str, str, str]  # image, codec, setting


@dataclass(frozen=True, slots=True)
class Task:
    """One image through one codec at the settings that are still to do."""

    ref: ImageRef
    codec: str
    settings: tuple[float, ...]
    model: str | None
    with_ssimulacra2: bool


def measure(task: Task) -> list[Row]:
    """Encode and decode one image at each setting; the rows lack the columns of the whole run."""
    codec = _built(task.codec, task.model)
    image = task.ref.load()
    return [_measure_one(codec, image, setting, task) for setting in task.settings]


def _measure_one(codec: codecs.BenchCodec, image: Image.Image, setting: float, task: Task) -> Row:
    start = time.perf_counter()
    data = codec.encode(image, setting)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    similarity = metrics.ms_ssim(image, decoded)
    return {
        "image": task.ref.name,
        "width": str(image.width),
        "height": str(image.height),
        "codec": task.codec,
        "setting": f"{setting:g}",
        "bytes": str(len(data)),
        "bpp": f"{metrics.bits_per_pixel(len(data), *image.size):.6f}",
        "psnr": f"{metrics.psnr(image, decoded):.5f}",
        "ms_ssim": "" if similarity is None else f"{similarity:.7f}",
        "ssimulacra2": (
            f"{metrics.ssimulacra2(image, decoded):.4f}" if task.with_ssimulacra2 else ""
        ),
        "encode_s": f"{encoded - start:.5f}",
        "decode_s": f"{end - encoded:.5f}",
    }


@functools.cache
def _built(name: str, model: str | None) -> codecs.BenchCodec:
    return codecs.build(name, model=model)  # once a process: weights take time to load


def read_done(path: Path) -> list[Row]:
    """Read the rows that an earlier run left, dropping a last line that was cut off mid-write.

    Raises:
        ValueError: the file is some other CSV.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    if not whole:
        return []
    reader = csv.DictReader(whole.splitlines())
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise ValueError(f"{path}: not a CSV of this benchmark (its columns differ)")
    return list(reader)


def plan(
    refs: Sequence[ImageRef],
    wanted: dict[str, Sequence[float]],
    done: set[Key],
    *,
    model: str | None,
    with_ssimulacra2: bool,
) -> list[Task]:
    """List what is still to measure, one task an image and codec."""
    tasks = []
    for ref in refs:
        for codec, settings in wanted.items():
            left = tuple(s for s in settings if (ref.name, codec, f"{s:g}") not in done)
            if left:
                tasks.append(Task(ref, codec, left, model, with_ssimulacra2))
    return tasks


def run(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, list[Row] | Exception]]:
    """Measure the tasks, `jobs` at a time in processes of their own; failures are yielded too."""
    if jobs == 1:
        for task in tasks:
            yield task, _attempt(task)
        return
    # Not fork: torch and its threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        yield from zip(tasks, pool.map(_attempt, tasks), strict=True)


def _attempt(task: Task) -> list[Row] | Exception:
    try:
        return measure(task)
    except (OSError, ValueError) as error:  # of this image; anything else is our own mistake
        return error


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def parse_codec(text: str) -> tuple[str, tuple[float, ...] | None]:
    """Split `NAME` or `NAME:SETTING,SETTING,...`.

    Raises:
        click.BadParameter: no such codec, or a setting that is not a number.
    """
    name, _, settings = text.partition(":")
    if name not in codecs.NAMES:
        raise click.BadParameter(f"no codec named {name}; there are {', '.join(codecs.NAMES)}")
    try:
        return name, tuple(float(s) for s in settings.split(",")) if settings else None
    except ValueError as error:
        raise click.BadParameter(f"{text}: settings are numbers") from error


def _choose(
    chosen: Sequence[str], model: str | None, done: Sequence[Row]
) -> tuple[dict[str, Sequence[float]], dict[str, str]]:
    """Return the settings and the version of each codec that can run here."""
    wanted: dict[str, Sequence[float]] = {}
    found: dict[str, str] = {}
    for text in chosen or codecs.NAMES:
        name, settings = parse_codec(text)
        try:
            codec = _built(name, model)
        except codecs.CodecUnavailableError as error:
            click.echo(f"skipping {name}: {error}", err=True)
            continue
        wanted[name] = settings or codec.settings
        found[name] = codec.version
        for row in done:
            if row["codec"] == name and row["codec_version"] != codec.version:
                raise click.ClickException(
                    f"the CSV holds {name} as “{row['codec_version']}”, here it is "
                    f"“{codec.version}”: write to another file"
                )
    return wanted, found


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="CSV to extend.")
@click.option(
    "-c", "--codec", "chosen", multiple=True, metavar="NAME[:SETTING,...]",
    help=f"Codec and settings; default all of {', '.join(codecs.NAMES)}.",
)  # fmt: skip
@click.option("--model", help="Weights of vqcodec, a name or a path.")
@click.option("--dataset", help="Name of the image set in the CSV; default the name of SOURCE.")
@click.option("--ssimulacra2", is_flag=True, help="Measure SSIMULACRA2 too (slow).")
@click.option("-j", "--jobs", default=1, type=click.IntRange(1), help="Images side by side.")
def main(
    source: Path,
    out: Path,
    chosen: tuple[str, ...],
    model: str | None,
    dataset: str | None,
    ssimulacra2: bool,
    jobs: int,
) -> None:
    """Measure the images of SOURCE, a folder or a tar, and write one CSV row a measurement.

    Encode and decode seconds are wall time of one call; they are only worth comparing from a run
    with --jobs 1 on an idle machine, and `benchmarks.speed` measures them better.
    """
    try:
        refs = find_images(source)
        done = read_done(out)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if ssimulacra2 and any(not row["ssimulacra2"] for row in done):
        raise click.ClickException("the CSV holds rows without SSIMULACRA2: write to another file")
    wanted, found = _choose(chosen, model, done)
    keys = {(row["image"], row["codec"], row["setting"]) for row in done}
    tasks = plan(refs, wanted, keys, model=model, with_ssimulacra2=ssimulacra2)
    common = {
        "dataset": dataset or source.stem,
        "jobs": str(jobs),
        "machine": machine.processor(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    failures = 0
    total = sum(len(task.settings) for task in tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        out.open("a", newline="", encoding="utf-8") as stream,
        tqdm(total=total, unit="row", disable=None) as bar,
    ):
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        if stream.tell() == 0:
            writer.writeheader()
        for task, result in run(tasks, jobs):
            if isinstance(result, Exception):
                failures += 1
                tqdm.write(f"{task.ref.name}, {task.codec}: {result}", file=sys.stderr)
            else:
                writer.writerows(
                    {**row, **common, "codec_version": found[task.codec]} for row in result
                )
                stream.flush()
            bar.update(len(task.settings))
    click.echo(f"{out}: {len(done)} rows were there, {total} to measure, {failures} tasks failed")
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
