"""`vqcodec truncate`: .vqc files to smaller ones, without a model."""

from __future__ import annotations

import sys

import click

from vqcodec.commands.batch import Done, Job, plan, run
from vqcodec.commands.files import VQC_SUFFIX, cut_name
from vqcodec.commands.options import (
    MAX_BYTES,
    force_option,
    inputs_argument,
    output_option,
    quiet_option,
)
from vqcodec.fileformat import truncate as truncation
from vqcodec.fileformat.container import read_header


@click.command()
@inputs_argument
@click.option(
    "--max-bytes", type=click.IntRange(1, MAX_BYTES), required=True, metavar="N",
    help="Bytes that a file may have.",
)  # fmt: skip
@output_option(
    "File or folder to write, or - for stdout; photo.cut.vqc beside photo.vqc if not given."
)
@force_option
@quiet_option
def truncate(
    inputs: tuple[str, ...], output: str | None, max_bytes: int, force: bool, quiet: bool
) -> None:
    """Make .vqc files smaller by leaving out detail, without decoding them; - is stdin."""
    todo = plan(inputs, output, suffixes=(VQC_SUFFIX,), rename=cut_name, force=force)

    def work(job: Job) -> Done:
        data = job.read()
        header, _ = read_header(data)
        smaller, notes = truncation.truncate(data, max_bytes)
        job.write(smaller, force=force)
        pixels = header.width * header.height
        return Done(len(data), len(smaller), pixels, 8 * len(smaller), notes)

    sys.exit(0 if run(todo, work, workers=1, quiet=quiet) else 1)
