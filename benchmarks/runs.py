"""Many measurements into one CSV: side by side in processes, stopped and continued at will."""

import csv
import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import click
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks import machine
from benchmarks.codecs import CodecUnavailableError
from benchmarks.tables import Row, read_csv, write_csv
from vqcodec import threads


class Task(Protocol):
    """One piece of work, small enough to be sent to another process."""

    @property
    def label(self) -> str:
        """What is measured, for the message when it fails."""

    @property
    def num_rows(self) -> int:
        """How many rows it gives."""


class Versioned(Protocol):
    """Anything that knows what it was made of, in words."""

    @property
    def version(self) -> str:
        """Names and versions of the libraries, and their options."""


TaskT = TypeVar("TaskT", bound=Task)
VersionedT = TypeVar("VersionedT", bound=Versioned)
Command = Callable[..., object]


def image_options(command: Command) -> Command:
    """Give a command what every measurement of images takes: SOURCE, --out, --dataset, --jobs."""
    for decorate in reversed((
        click.argument("source", type=click.Path(exists=True, path_type=Path)),
        click.option(
            "-o", "--out", required=True, type=click.Path(path_type=Path), help="CSV to extend."
        ),
        click.option("--dataset", help="Name of the images in the CSV; default that of SOURCE."),
        click.option(
            "-j", "--jobs", default=1, type=click.IntRange(1), help="Images side by side."
        ),
    )):  # fmt: skip
        command = decorate(command)
    return command


def read_done(path: Path, fields: Sequence[str], *, may_lack: Iterable[str] = ()) -> list[Row]:
    """Read the rows that an earlier run left, dropping a last line that was cut off mid-write.

    A file from before the columns `may_lack` were there gets them, empty.

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
    found = reader.fieldnames or ()
    lacking = [name for name in may_lack if name not in found]
    if list(found) != [name for name in fields if name not in lacking]:
        raise ValueError(f"{path}: not a CSV of this benchmark (its columns differ)")
    rows = list(reader)
    if lacking:
        rows = [dict.fromkeys(lacking, "") | row for row in rows]
        wider = path.with_name(f"{path.name}.new")
        write_csv(wider, fields, rows)
        wider.replace(path)
    return rows


def check_options(rows: Sequence[Row], options: Row, *, other: str) -> None:
    """Raise ValueError if rows are of `other` than these options, values of columns."""
    if any(row | options != row for row in rows):
        raise ValueError(f"the CSV is of {other}: write to another file")


def in_common(source: Path, dataset: str | None, **options: str) -> Row:
    """Return the columns that all rows share: of which images, how, and where they are made."""
    return {"dataset": dataset or source.stem, **options, **machine.about()}


def build_all(
    names: Sequence[str], build: Callable[[str], VersionedT], done: Sequence[Row] = ()
) -> dict[str, VersionedT]:
    """Build the codecs of these names; one that cannot run here is named and left out.

    Raises:
        click.ClickException: the rows that are there are of another version of a codec.
    """
    built = {}
    for name in names:
        try:
            codec = build(name)
        except CodecUnavailableError as error:
            click.echo(f"skipping {name}: {error}", err=True)
            continue
        for row in done:
            if row["codec"] == name and row["codec_version"] != codec.version:
                raise click.ClickException(
                    f"the CSV holds {name} as “{row['codec_version']}”, here it is "
                    f"“{codec.version}”: write to another file"
                )
        built[name] = codec
    return built


def extend(
    out: Path,
    fields: Sequence[str],
    tasks: Sequence[TaskT],
    measure: Callable[[TaskT], list[Row]],
    *,
    jobs: int,
    common: Row,
) -> int:
    """Append the rows of each task to a CSV as they come, with the columns that all have in common.

    A task that fails is named, and the others are still done. Returns how many failed.
    """
    failures = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        out.open("a", newline="", encoding="utf-8") as stream,
        tqdm(total=sum(task.num_rows for task in tasks), unit="row", disable=None) as bar,
    ):
        writer = csv.DictWriter(stream, fields, lineterminator="\n")
        if stream.tell() == 0:
            writer.writeheader()
        for task, result in _run(tasks, measure, jobs):
            if isinstance(result, Exception):
                failures += 1
                tqdm.write(f"{task.label}: {result}", file=sys.stderr)
            else:
                writer.writerows({**row, **common} for row in result)
                stream.flush()
            bar.update(task.num_rows)
    return failures


def tell(out: Path, table: Callable[[list[Row]], str], failures: int, *, at_least: int = 1) -> None:
    """Print the table of a CSV, if it has rows enough for one.

    Raises:
        click.ClickException: some of the images failed, or they are too few.
    """
    rows = read_csv(out)
    if len(rows) >= at_least:
        click.echo(table(rows))
    if failures:
        raise click.ClickException(f"{failures} images failed")
    if len(rows) < at_least:
        raise click.ClickException(f"{len(rows)} images; at least {at_least} make a table")


def account(out: Path, done: Sequence[Row], tasks: Sequence[Task], failures: int) -> None:
    """Print how many rows were there and how many were to measure.

    Raises:
        SystemExit: some of the tasks failed.
    """
    total = sum(task.num_rows for task in tasks)
    click.echo(f"{out}: {len(done)} rows were there, {total} to measure, {failures} tasks failed")
    if failures:
        raise SystemExit(1)


def _run(
    tasks: Sequence[TaskT], measure: Callable[[TaskT], list[Row]], jobs: int
) -> Iterator[tuple[TaskT, list[Row] | Exception]]:
    """Measure the tasks, `jobs` at a time in processes of their own; failures are yielded too."""
    attempt = functools.partial(_attempt, measure)
    if jobs == 1:
        for task in tasks:
            yield task, attempt(task)
        return
    # Not fork: torch and its threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        yield from zip(tasks, pool.map(attempt, tasks), strict=True)


def _attempt(measure: Callable[[TaskT], list[Row]], task: TaskT) -> list[Row] | Exception:
    try:
        return measure(task)
    except (OSError, ValueError) as error:  # of this image; anything else is our own mistake
        return error


def _one_thread() -> None:
    import torch  # noqa: F401  (which is told too, once it is there)

    threads.use(1)
    # NumPy's waiting threads would spin in the way of the other processes.
    threadpool_limits(1, user_api="blas")
