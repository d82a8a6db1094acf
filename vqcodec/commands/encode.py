"""`vqcodec encode`: images to .vqc files."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict

import click

from vqcodec import weights
from vqcodec.codec.target import (
    MAX_BPP,
    MAX_PSNR,
    MAX_SSIMULACRA2,
    Target,
    encode_prepared,
)
from vqcodec.commands.batch import Done, Job, plan, refuse_streams, run
from vqcodec.commands.files import IMAGE_SUFFIXES, encoded_name
from vqcodec.commands.options import (
    MAX_BYTES,
    NAME,
    Finite,
    batch_options,
    output_option,
    preserve_option,
    skip_option,
)
from vqcodec.errors import VqcError
from vqcodec.fileformat.container import DEFAULT_QUALITY


@click.command()
@batch_options
@skip_option
@preserve_option
@click.option(
    "-q", "--quality", type=click.IntRange(1, 100), metavar="Q",
    help=f"1 is the smallest file, 100 the best picture.  [default: {DEFAULT_QUALITY}]",
)  # fmt: skip
@click.option(
    "--max-bytes", type=click.IntRange(1, MAX_BYTES), metavar="N",
    help="The best picture in a file of at most N bytes.",
)  # fmt: skip
@click.option(
    "--bpp", type=Finite(0, MAX_BPP, min_open=True), metavar="X",
    help="The same in bits for each pixel.",
)  # fmt: skip
@click.option(
    "--psnr", type=Finite(0, MAX_PSNR, min_open=True), metavar="DB",
    help="The smallest file whose picture has at least so many decibels.",
)  # fmt: skip
@click.option(
    "--ssimulacra2", type=Finite(0, MAX_SSIMULACRA2, min_open=True), metavar="SCORE",
    help="The smallest file whose picture has at least this score: 50 is medium, 70 high, 90 "
    "hardly to be told apart. Takes vqcodec[ssimulacra2].",
)  # fmt: skip
@click.option(
    "--alpha-quality", type=click.IntRange(1, 100), metavar="Q",
    help="Code alpha with loss where that is smaller; without loss if not given.",
)  # fmt: skip
@click.option(
    "--tune", type=click.Choice(list(weights.TUNED)),
    help="What the picture is made for: the least squared error, or structure as the eye sees it.  "
    f"[default: {next(tune for tune, name in weights.TUNED.items() if name == weights.DEFAULT)}; "
    "psnr with --psnr]",
)  # fmt: skip
@click.option(
    "--strip", metavar="WHAT", default="",
    help="Metadata to leave out: exif, xmp, icc, gps (where the picture was taken, in EXIF and "
    "XMP), several with commas between them, or all.",
)  # fmt: skip
@click.option(
    "--keep-profile", is_flag=True,
    help="Leave colours in those of their ICC profile, such as Display P3, and keep it; they "
    "become sRGB if not given.",
)  # fmt: skip
@click.option(
    "--ray", "cluster", type=NAME, metavar="ADDRESS",
    help="Encode on the Ray cluster at this address, auto for the one around, or local for one "
    "that ends with the command: --jobs workers of --threads each. Takes vqcodec[ray].",
)  # fmt: skip
@output_option("File or folder to write, or - for stdout; photo.vqc beside photo.png if not given.")
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quality: int | None,
    max_bytes: int | None,
    bpp: float | None,
    psnr: float | None,
    ssimulacra2: float | None,
    alpha_quality: int | None,
    tune: str | None,
    strip: str,
    keep_profile: bool,
    cluster: str | None,
    device: str,
    model: str | None,
    force: bool,
    quiet: bool,
    skip_existing: bool,
    preserve: bool,
    threads: int | None,
    jobs: int,
) -> None:
    """Encode images, and all images in folders; - is stdin."""
    from vqcodec.api import load_codec
    from vqcodec.fileformat.image import open_image, prepare
    from vqcodec.fileformat.metadata import parse_strip

    try:
        target = Target(quality, max_bytes, bpp, psnr, ssimulacra2, alpha_quality)
        unwanted = parse_strip(strip, keep_profile=keep_profile)
        chosen = weights.choose(tune, model, psnr)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    todo = plan(
        inputs,
        output,
        suffixes=IMAGE_SUFFIXES,
        rename=encoded_name,
        force=force,
        skip_existing=skip_existing,
    )
    if preserve:
        refuse_streams(todo)
    path = weights.find(chosen).path

    def work(job: Job) -> Done:
        times = job.times() if preserve else None
        data = job.read()
        size = len(data)
        # The file and the image itself, which take as much memory again, are not kept.
        prepared = prepare(open_image(data), unwanted, keep_profile=keep_profile)
        del data
        encoded, notes = encode_prepared(load_codec(path, device), prepared, target)
        job.write(encoded, force=force, times=times)
        pixels = prepared.pixels.shape[0] * prepared.pixels.shape[1]
        return Done(size, len(encoded), pixels, 8 * len(encoded), prepared.notes + notes)

    if cluster is None:
        sys.exit(0 if run(todo, work, workers=jobs, threads=threads, quiet=quiet) else 1)
    if importlib.util.find_spec("ray") is None:
        raise click.UsageError("--ray takes a package: pip install 'vqcodec[ray]'")
    from vqcodec.ray import EncoderPool

    options = {
        "model": chosen, "device": device, "strip": strip, "keep_profile": keep_profile,
        **asdict(target),
    }  # fmt: skip
    pool = EncoderPool(cluster, jobs, threads or 1, options)

    def hand_over(job: Job) -> Done:
        times = job.times() if preserve else None
        data = job.read()
        row = pool.row(data)
        if row["error"]:
            raise VqcError(row["error"])
        encoded = row["vqc"]
        job.write(encoded, force=force, times=times)
        return Done(len(data), len(encoded), row["pixels"], 8 * len(encoded), row["notes"])

    try:
        # One image more than there are workers: the next one is at hand when a worker is done.
        sys.exit(0 if run(todo, hand_over, workers=jobs + 1, quiet=quiet) else 1)
    finally:
        pool.close()
