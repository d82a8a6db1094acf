"""The command line: `vqcodec encode`, `decode`, `truncate`, `compare`, `models`.

`info` and `bpd` have modules of their own.

Everything heavy is imported inside the command that needs it, so that `--help`, `--version`,
`info` and `models` answer at once. Exit codes: 0 all went well, 1 something failed, 2 the
arguments make no sense, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vqcodec import __version__, weights
from vqcodec.commands.batch import Done, Job, describe, plan, run
from vqcodec.commands.bpd import bpd
from vqcodec.commands.files import (
    IMAGE_SUFFIXES,
    VQC_SUFFIX,
    cut_name,
    decoded_name,
    encoded_name,
    page_name,
    spared_name,
)
from vqcodec.commands.info import info
from vqcodec.errors import ImageError, VqcError
from vqcodec.fileformat.container import DEFAULT_QUALITY, read_header

if TYPE_CHECKING:
    from PIL import Image

    from vqcodec.codec.codec import Codec
    from vqcodec.codec.tiles import Region
    from vqcodec.fileformat.image import Prepared

_Command = TypeVar("_Command", bound=Callable[..., Any])
# Pillow's defaults for the formats that lose something throw away more than the codec did.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


class _Commands(click.Group):
    """Turns what a user can run into, wherever it is raised, into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Ends like Ctrl-C: what is being written is removed.
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends the program without a word
        except (VqcError, OSError) as error:
            raise click.ClickException(describe(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vqcodec", message="%(prog)s %(version)s")
def cli() -> None:
    """A learned image codec: photographs to small .vqc files and back."""
    # What Pillow and torch warn of becomes an error or a note, or is not for the user.
    for category in (UserWarning, RuntimeWarning):
        warnings.simplefilter("ignore", category)


def parse_region(_: click.Context, __: click.Parameter, value: str | None) -> Region | None:
    """The four whole numbers of the option --region."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not four numbers such as 0,0,640,480")
    left, upper, width, height = map(int, match.groups())
    return left, upper, width, height


def _batch_options(command: _Command) -> _Command:
    """The arguments that `encode`, `decode` and `compare` have in common."""
    for decorate in (
        click.option(
            "-j", "--jobs", type=click.IntRange(min=1), default=1, metavar="N", show_default=True,
            help="Files to work on at the same time.",
        ),
        click.option("-f", "--force", is_flag=True, help="Overwrite existing files."),
        click.option(
            "--model", metavar="NAME|PATH", help="One of `vqcodec models`, or a .safetensors file."
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
            show_default=True, help="Where the network runs; auto takes a GPU if there is one.",
        ),
        click.argument("inputs", metavar="IN...", nargs=-1, required=True),
    ):  # fmt: skip
        command = decorate(command)
    return command


@cli.command()
@_batch_options
@click.option(
    "-q", "--quality", type=click.IntRange(1, 100), metavar="Q",
    help=f"1 is the smallest file, 100 the best picture.  [default: {DEFAULT_QUALITY}]",
)  # fmt: skip
@click.option(
    "--max-bytes", type=click.IntRange(min=1), metavar="N",
    help="The best picture in a file of at most N bytes.",
)  # fmt: skip
@click.option(
    "--bpp", type=click.FloatRange(0, 24, min_open=True), metavar="X",
    help="The same in bits for each pixel.",
)  # fmt: skip
@click.option(
    "--psnr", type=click.FloatRange(0, 100, min_open=True), metavar="DB",
    help="The smallest file whose picture has at least so many decibels.",
)  # fmt: skip
@click.option(
    "--tune", type=click.Choice(list(weights.TUNED)),
    help="What the picture is made for: the least squared error, or structure as the eye sees it.  "
    f"[default: {next(tune for tune, name in weights.TUNED.items() if name == weights.DEFAULT)}; "
    "psnr with --psnr]",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="OUT",
    help="File or folder to write, or - for stdout; photo.vqc beside photo.png if not given.",
)  # fmt: skip
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quality: int | None,
    max_bytes: int | None,
    bpp: float | None,
    psnr: float | None,
    tune: str | None,
    device: str,
    model: str | None,
    force: bool,
    jobs: int,
) -> None:
    """Encode images, and all images in folders; - is stdin."""
    from vqcodec.fileformat.image import open_image, prepare

    if sum(option is not None for option in (quality, max_bytes, bpp, psnr)) > 1:
        raise click.UsageError("of --quality, --max-bytes, --bpp and --psnr, one at a time")
    if tune and model:
        raise click.UsageError("--tune chooses a model: leave out --model")
    todo = plan(inputs, output, suffixes=IMAGE_SUFFIXES, rename=encoded_name, force=force)
    _refuse_terminal(todo.jobs)
    tune = tune or (None if psnr is None else "psnr")  # which reaches it in fewer bytes
    chosen = weights.find(model).path if model else weights.TUNED.get(tune or "", weights.DEFAULT)
    codecs = _Codecs(device, jobs)

    def work(job: Job) -> Done:
        data = job.read()
        # The image itself, which takes as much memory again, is not kept.
        prepared = prepare(open_image(data))
        pixels = prepared.pixels.shape[0] * prepared.pixels.shape[1]
        allowed = max_bytes if bpp is None else max(1, int(bpp * pixels / 8))
        encoded, notes = _encoded(codecs.get(chosen), prepared, quality, allowed, psnr)
        job.write(encoded, force=force)
        return Done(len(data), len(encoded), pixels, 8 * len(encoded), prepared.notes + notes)

    sys.exit(0 if run(todo, work, workers=jobs) else 1)


@cli.command()
@_batch_options
@click.option(
    "-o", "--output", metavar="OUT",
    help="File, whose suffix says the format, or folder to write PNG to, or - for PNG on stdout; "
    "photo.png beside photo.vqc if not given, or photo.decoded.png if there is a photo.png.",
)  # fmt: skip
@click.option("--partial", is_flag=True, help="Of a truncated file, decode what is there.")
@click.option(
    "--region", metavar="X,Y,W,H", callback=parse_region,
    help="Only this part: left, upper, width, height in pixels.",
)  # fmt: skip
@click.option(
    "--scale", type=click.Choice([f"1/{2**n}" for n in range(1, 7)]),
    help="A smaller picture, in less time.",
)  # fmt: skip
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    partial: bool,
    region: Region | None,
    scale: str | None,
    device: str,
    model: str | None,
    force: bool,
    jobs: int,
) -> None:
    """Decode .vqc files, and all of them in folders; - is stdin."""
    if region and scale:
        raise click.UsageError("a region is decoded at full size: leave out --scale")
    factor = int(scale.removeprefix("1/")) if scale else 1
    rename = spared_name if output is None else decoded_name
    todo = plan(inputs, output, suffixes=(VQC_SUFFIX,), rename=rename, force=force)
    _refuse_terminal(todo.jobs)
    formats = {job: _format_for(job.target) for job in todo.jobs}
    chosen = weights.find(model).path if model else None
    codecs = _Codecs(device, jobs)

    def work(job: Job) -> Done:
        data = job.read()
        named = chosen or weights.find_id(read_header(data)[0].model_id).path
        codec = codecs.get(named)
        image = codec.decode(data, partial=partial, region=region, scale=factor)
        saved = _save(image, formats[job])
        job.write(saved, force=force)
        notes = []
        if output is None and job.source and job.target != decoded_name(job.source):
            notes.append(f"{decoded_name(job.source)} is there already; wrote {job.target}")
        return Done(len(data), len(saved), image.width * image.height, 8 * len(data), notes)

    sys.exit(0 if run(todo, work, workers=jobs) else 1)


@cli.command("truncate")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@click.option(
    "--max-bytes", type=click.IntRange(min=1), required=True, metavar="N",
    help="Bytes that a file may have.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="OUT",
    help="File or folder to write, or - for stdout; photo.cut.vqc beside photo.vqc if not given.",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
def truncate_(inputs: tuple[str, ...], output: str | None, max_bytes: int, force: bool) -> None:
    """Make .vqc files smaller by leaving out detail, without decoding them; - is stdin."""
    from vqcodec.fileformat.truncate import truncate

    todo = plan(inputs, output, suffixes=(VQC_SUFFIX,), rename=cut_name, force=force)
    _refuse_terminal(todo.jobs)

    def work(job: Job) -> Done:
        data = job.read()
        header, _ = read_header(data)
        smaller, notes = truncate(data, max_bytes)
        job.write(smaller, force=force)
        pixels = header.width * header.height
        return Done(len(data), len(smaller), pixels, 8 * len(smaller), notes)

    sys.exit(0 if run(todo, work, workers=1) else 1)


@cli.command()
@_batch_options
@click.option(
    "--bpp", type=click.FloatRange(0, 24, min_open=True), default=0.25, show_default=True,
    help="Bits for each pixel of the photograph, which every codec gets.",
)  # fmt: skip
@click.option(
    "--with", "rivals", default="webp,avif,jpeg", show_default=True, metavar="CODEC,...",
    help="The codecs that vqcodec is compared with.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="OUT",
    help="Page or folder to write, or - for stdout; photo.html beside photo.png if not given.",
)  # fmt: skip
def compare(
    inputs: tuple[str, ...],
    output: str | None,
    rivals: str,
    bpp: float,
    device: str,
    model: str | None,
    force: bool,
    jobs: int,
) -> None:
    """Show images beside what other codecs make of them in as many bytes, as a web page.

    The page is one file with a table and a slider; it needs no network.
    """
    from vqcodec.commands.compare import own_contender, photo_page, pillow_contenders
    from vqcodec.fileformat.image import open_image, prepare

    try:
        others, absent = pillow_contenders([name.strip() for name in rivals.split(",")])
    except KeyError as error:
        raise click.BadParameter(error.args[0], param_hint="--with") from error
    todo = plan(inputs, output, suffixes=IMAGE_SUFFIXES, rename=page_name, force=force)
    _refuse_terminal(todo.jobs)
    chosen = weights.find(model).path if model else weights.DEFAULT
    codecs = _Codecs(device, jobs)

    def work(job: Job) -> Done:
        data = job.read()
        prepared = prepare(open_image(data))
        name = "Photograph" if job.source is None else job.source.name
        contenders = [own_contender(codecs.get(chosen)), *others]
        written, notes = photo_page(name, prepared, contenders, bpp, absent)
        job.write(written, force=force)
        return Done(len(data), len(written), 0, 0, notes)

    sys.exit(0 if run(todo, work, workers=jobs) else 1)


@cli.command()
def models() -> None:
    """List the models that came with this program."""
    for each in (*weights.available(), *weights.densities()):
        size = each.path.stat().st_size / 1e6
        click.echo(f"{each.name}  {each.model_id.hex()}  {size:.1f} MB")
        for key, value in each.card.items():
            if isinstance(value, (str, int, float)):
                click.echo(f"  {key}: {value}")


cli.add_command(info)
cli.add_command(bpd)


class _Codecs(threading.local):
    """The loaded models: every thread has its own, since a codec serves one thread at a time."""

    def __init__(self, device: str, jobs: int) -> None:
        self._device = device
        self._jobs = jobs
        self._loaded: dict[str | Path, Codec] = {}

    def get(self, model: str | Path) -> Codec:
        """The codec for a model's name or path, with its share of the processor's cores."""
        if model not in self._loaded:
            import torch

            from vqcodec.codec.codec import Codec

            if self._jobs > 1:
                torch.set_num_threads(max(1, (os.cpu_count() or 1) // self._jobs))
            self._loaded[model] = Codec.load(model, self._device)
        return self._loaded[model]


def _encoded(
    codec: Codec,
    prepared: Prepared,
    quality: int | None,
    max_bytes: int | None,
    psnr: float | None,
) -> tuple[bytes, list[str]]:
    """The file of an image as the one option that is given asks, and notes in words."""
    from vqcodec.rate_control.targets import to_psnr, to_size

    if psnr is not None:
        return to_psnr(codec, prepared, psnr)
    if max_bytes is not None:
        return to_size(codec, prepared, max_bytes)
    return codec.encode_prepared(prepared, quality or DEFAULT_QUALITY), []


def _save(image: Image.Image, image_format: str) -> bytes:
    """The image as a file of a format that Pillow writes, with its ICC profile and EXIF."""
    metadata = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    out = io.BytesIO()
    try:
        image.save(out, image_format, **metadata, **_SAVE_OPTIONS.get(image_format, {}))
    except (OSError, ValueError) as error:
        raise ImageError(f"{image_format} cannot hold this image: {error}") from error
    return out.getvalue()


def _format_for(path: Path | None) -> str:
    """Pillow's name of the format that the suffix stands for; PNG for standard output."""
    if path is None or path.suffix.lower() == ".png":
        return "PNG"
    from PIL import Image

    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format not in Image.SAVE:
        raise click.UsageError(f"{path}: cannot tell an image format from the suffix of this name")
    return image_format


def _refuse_terminal(jobs: list[Job]) -> None:
    """Keep bytes that are no text from a terminal's screen."""
    if any(job.target is None for job in jobs) and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: redirect it, or name a file with -o")
