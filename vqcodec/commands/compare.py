"""`vqcodec compare`: a page that shows images beside what other codecs make of them."""

from __future__ import annotations

import sys

import click

from vqcodec import weights
from vqcodec.codec.target import MAX_BPP
from vqcodec.commands.batch import Done, Job, plan, run
from vqcodec.commands.files import IMAGE_SUFFIXES, page_name
from vqcodec.commands.options import NAME, Finite, output_option, work_options
from vqcodec.commands.terminal import printable


@click.command()
@work_options
@click.argument("inputs", metavar="[IN...]", nargs=-1, type=NAME)
@click.option(
    "--bpp", type=Finite(0, MAX_BPP, min_open=True), default=0.25, show_default=True,
    help="Bits for each pixel of the photograph, which every codec gets.",
)  # fmt: skip
@click.option(
    "--with", "rivals", default="webp,avif,jpeg", show_default=True, metavar="CODEC,...",
    help="The codecs that vqcodec is compared with.",
)  # fmt: skip
@output_option(
    "Page or folder to write, or - for stdout; photo.html beside photo.png if not given."
)
@click.option(
    "--serve", is_flag=True,
    help="Instead of writing pages, show one on this machine that photographs are dropped on.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, metavar="N",
    help="Where --serve listens; 0 is any free port.",
)  # fmt: skip
def compare(
    inputs: tuple[str, ...],
    output: str | None,
    rivals: str,
    bpp: float,
    device: str,
    model: str | None,
    force: bool,
    quiet: bool,
    threads: int | None,
    jobs: int,
    serve: bool,
    port: int,
) -> None:
    """Show images beside what other codecs make of them in as many bytes, as a web page.

    The page is one file with a table and a slider; it needs no network.
    """
    from vqcodec.api import load_codec
    from vqcodec.commands import serve as server
    from vqcodec.commands.comparison import photo_page, pillow_contenders, vqcodec_contender
    from vqcodec.fileformat.image import open_image, prepare

    server.check_options(click.get_current_context())
    try:
        others, absent = pillow_contenders([name.strip() for name in rivals.split(",")])
    except KeyError as error:
        raise click.BadParameter(error.args[0], param_hint="--with") from error
    if serve:
        server.run(weights.choose(model=model), device, others, absent, port)
        return
    todo = plan(inputs, output, suffixes=IMAGE_SUFFIXES, rename=page_name, force=force)
    path = weights.find(weights.choose(model=model)).path

    def work(job: Job) -> Done:
        data = job.read()
        prepared = prepare(open_image(data))
        name = "Photograph" if job.source is None else printable(job.source.name)
        contenders = [vqcodec_contender(load_codec(path, device)), *others]
        written, notes = photo_page(name, prepared, contenders, bpp, absent)
        job.write(written, force=force)
        return Done(len(data), len(written), 0, 0, notes)

    sys.exit(0 if run(todo, work, workers=jobs, threads=threads, quiet=quiet) else 1)
