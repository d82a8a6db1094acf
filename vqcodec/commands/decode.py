"""`vqcodec decode`: .vqc files to images of other formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec import weights
from vqcodec.codec.looks import FAITHFUL, LOOKS, is_natural
from vqcodec.commands.batch import Done, Job, plan, refuse_streams, run
from vqcodec.commands.files import VQC_SUFFIX, decoded_name, descriptor_of, spared_name
from vqcodec.commands.options import (
    batch_options,
    output_option,
    parse_region,
    preserve_option,
    skip_option,
)
from vqcodec.fileformat.container import read_header

if TYPE_CHECKING:
    from vqcodec.codec.tiles import Region


@click.command()
@batch_options
@skip_option
@preserve_option
@output_option(
    "File, whose suffix says the format, or folder to write PNG to, or - for PNG on stdout; "
    "photo.png beside photo.vqc if not given, or photo.decoded.png if there is a photo.png."
)
@click.option("--partial", is_flag=True, help="Of a truncated file, decode what is there.")
@click.option(
    "--region", metavar="X,Y,W,H", callback=parse_region,
    help="Only this part: left, upper, width, height in pixels.",
)  # fmt: skip
@click.option(
    "--scale", type=click.Choice([f"1/{2**n}" for n in range(1, 7)]),
    help="A smaller picture, in less time.",
)  # fmt: skip
@click.option(
    "--look", type=click.Choice(LOOKS), default=FAITHFUL, show_default=True,
    help="Natural draws texture where few bits leave a blur: like the original, not the same.",
)  # fmt: skip
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    partial: bool,
    region: Region | None,
    scale: str | None,
    look: str,
    device: str,
    model: str | None,
    force: bool,
    quiet: bool,
    skip_existing: bool,
    preserve: bool,
    threads: int | None,
    jobs: int,
) -> None:
    """Decode .vqc files, and all of them in folders; - is stdin."""
    from vqcodec.api import codec_of, load_codec
    from vqcodec.fileformat.export import save
    from vqcodec.fileformat.fidelity import check

    if region and scale:
        raise click.UsageError("a region is decoded at full size: leave out --scale")
    if scale and is_natural(look):
        raise click.UsageError("a smaller picture is faithful: leave out --look or --scale")
    factor = int(scale.removeprefix("1/")) if scale else 1
    todo = plan(
        inputs,
        output,
        suffixes=(VQC_SUFFIX,),
        # What is passed over needs no sparing, and would be decoded twice under two names.
        rename=decoded_name if output or skip_existing else spared_name,
        force=force,
        skip_existing=skip_existing,
    )
    if preserve:
        refuse_streams(todo)
    formats = {job: _format_for(job.target) for job in todo.jobs}
    path = weights.find(model).path if model else None

    def work(job: Job) -> Done:
        times = job.times() if preserve else None
        data = job.read()
        named = read_header(data)[0].model_id
        codec = load_codec(path, device) if path else codec_of(named, device)
        image = codec.decode(data, partial=partial, region=region, scale=factor, look=look)
        saved, notes = save(image, formats[job])
        notes += check(image, saved, formats[job])
        job.write(saved, force=force, times=times)
        if output is None and job.source and job.target != decoded_name(job.source):
            notes.append(f"{decoded_name(job.source)} is there already; wrote {job.target}")
        return Done(len(data), len(saved), image.width * image.height, 8 * len(data), notes)

    sys.exit(0 if run(todo, work, workers=jobs, threads=threads, quiet=quiet) else 1)


def _format_for(path: Path | None) -> str:
    """Pillow's name of the format that the suffix stands for; PNG for an open descriptor."""
    if path is None or path.suffix.lower() == ".png" or descriptor_of(path) is not None:
        return "PNG"
    from PIL import Image

    from vqcodec.fileformat import plugins
    from vqcodec.fileformat.fidelity import writable

    plugins.register()
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or not writable(image_format):
        raise click.UsageError(
            f"{path}: the suffix stands for no format that pictures are saved in"
        )
    return image_format
