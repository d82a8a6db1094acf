"""Many files through one piece of work: planning the outputs, running, reporting on stderr.

These are the rules that `encode` and `decode` share: what goes where, nothing is overwritten
unasked, one bad file does not stop the others. No Pillow here, and torch only to tell it how many
threads work.
"""

import errno
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from vqcodec.commands.files import (
    Source,
    Times,
    atomic_write,
    check_writable,
    descriptor_of,
    expand,
    has_times,
    is_written,
)
from vqcodec.commands.terminal import progress, remark
from vqcodec.errors import VqcError
from vqcodec.threads import use

STREAM = "-"
_STDIN, _STDOUT = 0, 1


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read and one to write; None is standard input or output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """The input as messages call it."""
        return STREAM if self.source is None else str(self.source)

    def read(self) -> bytes:
        """The whole input."""
        if self.source is None:
            return sys.stdin.buffer.read()
        return self.source.read_bytes()

    def size(self) -> int:
        """The bytes of the input, 0 where that is not known before it is read."""
        try:
            return self.source.stat().st_size if self.source else 0
        except OSError:
            return 0

    def times(self) -> Times:
        """The times of the input file; to be asked for before `read`, which changes one of them."""
        assert self.source is not None
        status = self.source.stat()
        return status.st_atime_ns, status.st_mtime_ns

    def write(self, data: bytes, *, force: bool, times: Times | None = None) -> None:
        """The whole output, at once or not at all if it is a file."""
        if self.target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            atomic_write(self.target, data, force=force, times=times)


@dataclass(frozen=True, slots=True)
class Done:
    """What a job did: bytes, pixels of the picture, bits of its .vqc file, notes for the user."""

    bytes_in: int
    bytes_out: int
    pixels: int
    bits: int
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Plan:
    """The jobs of a command line, and (name, reason) of every input that cannot become one.

    skipped: the inputs whose output is there and may stay.
    """

    jobs: list[Job] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffixes: Collection[str],
    rename: Callable[[Path], Path],
    force: bool,
    skip_existing: bool = False,
) -> Plan:
    """Decide what every input is written to, before anything is read.

    Without `output` a file goes to `rename(its path)`. `output` is the file to write if there is
    one input file; it is a folder, made if need be, if it is one, ends in a slash, or if there are
    several inputs or a folder among them. Folders are searched for `suffixes` and keep their
    subfolders in the output. The same input given twice counts once; inputs that would share an
    output are problems, all of them. /dev/stdin and /dev/stdout are the streams.

    With `skip_existing` an input whose output is a file already is passed over.

    Raises:
        click.UsageError: the arguments contradict each other.
    """
    if force and skip_existing:
        raise click.UsageError("either --force or --skip-existing")
    inputs = [STREAM if descriptor_of(Path(name)) == _STDIN else name for name in inputs]
    if output is not None and descriptor_of(Path(output)) == _STDOUT:
        output = STREAM
    if STREAM in inputs and len(inputs) > 1:
        raise click.UsageError("'-' (standard input) must be the only input")
    if inputs == [STREAM]:
        return _plan_stream(output, force=force, skip_existing=skip_existing)
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    if output == STREAM:
        if several:
            raise click.UsageError("'-o -' (standard output) takes one input file")
        return Plan([Job(Path(inputs[0]), None)])
    folder = None
    if output is not None:
        if several or output.endswith(("/", os.sep)) or os.path.isdir(output):
            folder = Path(output)
        if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):
            raise click.UsageError(f"{output} is a file; several outputs need a folder")

    def target_of(source: Source) -> Path:
        if output is None:
            return rename(source.path)
        return Path(output) if folder is None else folder / rename(source.relative)

    result = Plan()
    # What each output would be made from; the keys are real paths, so that twins are seen.
    claims: dict[str, dict[str, tuple[Path, Path]]] = defaultdict(dict)
    for name in inputs:
        try:
            found = expand(Path(name), suffixes)
        except OSError as error:
            result.problems.append((name, describe(error)))
            continue
        result.problems += [(str(folder), describe(error)) for folder, error in found.unread]
        for source in found.files:
            target = target_of(source)
            claimants = claims[os.path.realpath(target)]
            claimants[os.path.realpath(source.path)] = (source.path, target)
    for real_target, claimants in claims.items():
        for real_source, (path, target) in claimants.items():
            others = [str(other) for other, _ in claimants.values() if other != path]
            try:
                if others:
                    raise FileExistsError(f"{target} would be the output of {others[0]} too")
                if real_source == real_target:
                    raise FileExistsError("the output would replace the input")
                if skip_existing and is_written(target):
                    result.skipped += 1
                    continue
                check_writable(target, force=force)
                result.jobs.append(Job(path, target))
            except OSError as error:
                result.problems.append((str(path), describe(error)))
    return result


def _plan_stream(output: str | None, *, force: bool, skip_existing: bool) -> Plan:
    """Decide what standard input is written to."""
    if output is None or output == STREAM:
        return Plan([Job(None, None)])
    if output.endswith(("/", os.sep)):
        raise click.UsageError("'-' (standard input) has no name: say how the output is called")
    if skip_existing and is_written(Path(output)):
        return Plan(skipped=1)
    try:
        check_writable(Path(output), force=force)
    except OSError as error:
        return Plan(problems=[(STREAM, describe(error))])
    return Plan([Job(None, Path(output))])


def refuse_streams(todo: Plan) -> None:
    """Raise click.UsageError if a job reads or writes what has no times to be preserved."""
    for job in todo.jobs:
        if job.source is None or not os.path.isfile(job.source):
            raise click.UsageError(f"--preserve: the input {job.name} is not a file")
        if job.target is None or not has_times(job.target):
            raise click.UsageError(f"--preserve: the output {job.target or STREAM} is not a file")


def run(
    todo: Plan,
    work: Callable[[Job], Done],
    *,
    workers: int,
    threads: int | None = None,
    quiet: bool = False,
) -> bool:
    """Do all jobs, `workers` at a time, and report on stderr; whether everything went well.

    There is a line for every note and every input that failed, a progress bar in bytes of input if
    there are several jobs and stderr is a terminal, and a summary at the end; if `quiet`, only what
    failed.
    There are `threads` for a job, by default all cores or a worker's share of them.

    Raises:
        click.UsageError: bytes that are no text would go to a terminal's screen.
    """
    if any(job.target is None for job in todo.jobs) and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: redirect it, or name a file with -o")
    from tqdm import tqdm  # takes longer to import than `vqcodec info` to run

    begin = time.perf_counter()
    done: list[Done] = []
    failed = len(todo.problems)

    def say(name: str, text: str) -> None:
        tqdm.write(remark(name, text), file=sys.stderr)

    for name, problem in todo.problems:
        say(name, problem)
    with ExitStack() as stack:
        outcomes: Iterable[Done | str] = map(partial(_outcome, work), todo.jobs)
        if workers > 1:
            share = threads or max(1, (os.cpu_count() or 1) // workers)
            pool = ThreadPoolExecutor(workers, initializer=use, initargs=(share,))
            stack.callback(pool.shutdown, cancel_futures=True)
            outcomes = pool.map(partial(_outcome, work), todo.jobs)
        elif threads:
            use(threads)
            stack.callback(use, None)
        sizes = [job.size() for job in todo.jobs]
        bar = stack.enter_context(progress(sizes, quiet=quiet))
        for job, size, outcome in zip(todo.jobs, sizes, outcomes, strict=True):
            bar.update(size)
            if isinstance(outcome, str):
                failed += 1
                say(job.name, outcome)
                continue
            done.append(outcome)
            for note in () if quiet else outcome.notes:
                say(job.name, note)
    if not quiet:
        seconds = time.perf_counter() - begin
        click.echo(_summary(done, failed, todo.skipped, seconds), err=True)
    return not failed


def describe(error: Exception) -> str:
    """One line for the user."""
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        return "standard input or output is closed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = " ".join(str(error).split())
    if isinstance(error, (VqcError, OSError)):
        return message
    return f"{type(error).__name__}: {message}"


def _outcome(work: Callable[[Job], Done], job: Job) -> Done | str:
    """What the work gave, or in one line why it failed."""
    try:
        return work(job)
    except BrokenPipeError:
        raise  # nobody reads any more: the end of the program, not a fault of this file
    except Exception as error:
        # Pillow and torch raise nearly anything on a bad file or a lack of memory; whatever it
        # is, the other files must not suffer.
        return describe(error)


def _summary(done: Sequence[Done], failed: int, skipped: int, seconds: float) -> str:
    pixels = sum(job.pixels for job in done)
    rate = f"{sum(job.bits for job in done) / pixels:.3f} bpp, " if pixels else ""
    files = f"{len(done)} file{'' if len(done) == 1 else 's'}"
    fault = f", {failed} failed" if failed else ""
    fault += f", {skipped} skipped" if skipped else ""
    return (
        f"{files}{fault}: {sum(job.bytes_in for job in done):,} bytes in, "
        f"{sum(job.bytes_out for job in done):,} bytes out, {rate}{seconds:.2f} s"
    )
