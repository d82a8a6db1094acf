"""Inputs that are looked at one after another, without a file of its own for each: bpd, tokens.

What is wrong with one is said on stderr, and the others are still done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from vqcodec.commands.batch import STREAM, Job, describe
from vqcodec.commands.files import expand
from vqcodec.commands.terminal import progress, remark
from vqcodec.errors import ModelError

if TYPE_CHECKING:
    from vqcodec.fileformat.image import Prepared

_T = TypeVar("_T")
# The name of an input, and it, or why it cannot be one.
Input = tuple[str, Job | OSError]


def inputs_of(names: Sequence[str], suffixes: Collection[str]) -> Iterator[Input]:
    """Yield every input that a command line names; folders are searched for `suffixes`.

    Raises click.UsageError for standard input among others.
    """
    if STREAM in names and len(names) > 1:
        raise click.UsageError("'-' (standard input) must be the only input")
    for name in names:
        if name == STREAM:
            yield name, Job(None, None)
            continue
        try:
            found = expand(Path(name), suffixes)
        except OSError as error:
            yield name, error
            continue
        yield from ((str(folder), error) for folder, error in found.unread)
        yield from ((str(source.path), Job(source.path, None)) for source in found.files)


def outcomes(inputs: Sequence[Input], work: Callable[[Job], _T]) -> Iterator[tuple[str, _T | None]]:
    """Yield what the work gives for each input, None for those that failed.

    With a progress bar, as in `run`. Raises ModelError, which all of them would meet.
    """
    from tqdm import tqdm

    sizes = [job.size() if isinstance(job, Job) else 0 for _, job in inputs]
    with progress(sizes) as bar:
        for (name, job), size in zip(inputs, sizes, strict=True):
            try:
                if not isinstance(job, Job):
                    raise job
                yield name, work(job)
            except (BrokenPipeError, ModelError):
                raise
            except Exception as error:  # as in `run`: the other images must not suffer
                tqdm.write(remark(name, describe(error)), file=sys.stderr)
                yield name, None
            bar.update(size)


def without_alpha(data: bytes) -> Prepared:
    """Return the image in a file's bytes, prepared, with a note if its alpha is left out."""
    from vqcodec.fileformat.image import open_image, prepare

    prepared = prepare(open_image(data))
    if prepared.alpha is not None:
        prepared.notes.append("alpha left out")
    return prepared
