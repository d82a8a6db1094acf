"""`vqcodec tokens`: the code indices of images and .vqc files in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec import weights
from vqcodec.commands.batch import Job
from vqcodec.commands.files import IMAGE_SUFFIXES, VQC_SUFFIX, check_writable
from vqcodec.commands.inputs import inputs_of, outcomes, without_alpha
from vqcodec.commands.options import (
    NAME,
    device_option,
    force_option,
    inputs_argument,
    model_option,
)
from vqcodec.commands.terminal import remark
from vqcodec.fileformat.container import DEFAULT_QUALITY, MAGIC

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.tokens import Tokens


@click.command()
@inputs_argument
@click.option(
    "-o", "--output", type=NAME, metavar="OUT", required=True,
    help="Table to write: .parquet (takes vqcodec[tokens]) or .npz.",
)  # fmt: skip
@click.option(
    "-q", "--quality", type=click.IntRange(1, 100), metavar="Q",
    default=DEFAULT_QUALITY, show_default=True, help="Of images; .vqc files have theirs.",
)  # fmt: skip
@click.option(
    "--tune", type=click.Choice(list(weights.TUNED)),
    help="Of images, as for encode.",
)  # fmt: skip
@model_option
@device_option
@force_option
def tokens(
    inputs: tuple[str, ...],
    output: str,
    quality: int,
    tune: str | None,
    model: str | None,
    device: str,
    force: bool,
) -> None:
    """Write the code indices of images and .vqc files, and of those in folders, to a table.

    A row for each; Python's vqcodec.token_files.read gives them back. Alpha and metadata are left
    out. - is stdin.
    """
    from vqcodec import token_files
    from vqcodec.api import codec_of, load_codec
    from vqcodec.fileformat.container import ALPHA_TAGS, unpack

    path = Path(output)
    try:
        token_files.check_format(path)
        chosen = weights.choose(tune, model)
    except (ValueError, ImportError) as error:
        raise click.UsageError(str(error)) from error
    check_writable(path, force=force)

    def file_codec(model_id: bytes) -> Codec:
        return codec_of(model_id, device) if model is None else load_codec(model, device)

    def work(job: Job) -> tuple[Tokens, list[str]]:
        data = job.read()
        if data.startswith(MAGIC):
            container = unpack(data)
            found = file_codec(container.header.model_id).file_tokens(data)
            notes: list[str] = []
            if not ALPHA_TAGS.isdisjoint(container.chunks):
                notes.append("the alpha of the file left out")
            return found, notes
        prepared = without_alpha(data)
        codec = load_codec(chosen, device)
        encoded = codec.encode_pixels(prepared.pixels, quality)
        return codec.tokens_of(encoded, prepared, quality), prepared.notes

    failed = 0
    rows: list[tuple[str, Tokens]] = []
    jobs = list(inputs_of(inputs, (*IMAGE_SUFFIXES, VQC_SUFFIX)))
    for name, outcome in outcomes(jobs, work):
        if outcome is None:
            failed += 1
            continue
        rows.append((name, outcome[0]))
        for note in outcome[1]:
            click.echo(remark(name, note), err=True)
    if rows:
        token_files.write(path, rows, force=force)
    size = sum(shape.size for _, row in rows for shape in row.shapes)
    fault = f", {failed} failed" if failed else ""
    images = f"{len(rows)} image{'' if len(rows) == 1 else 's'}"
    click.echo(f"{images}{fault}: {size:,} tokens", err=True)
    sys.exit(1 if failed else 0)
