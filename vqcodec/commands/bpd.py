"""The command `vqcodec bpd`, and the part of `vqcodec info` that asks the density model.

Everything heavy is imported inside the functions, as in `vqcodec.commands.main`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec import collector, weights
from vqcodec.commands.batch import Job
from vqcodec.commands.bpd_lines import CsvLines, Facts, json_lines, mean_line, text_lines
from vqcodec.commands.files import IMAGE_SUFFIXES, atomic_write, check_writable
from vqcodec.commands.inputs import Input, inputs_of, outcomes, without_alpha
from vqcodec.commands.options import NAME, inputs_argument
from vqcodec.commands.terminal import answer, remark
from vqcodec.fileformat.container import read_header

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.tokens import Tokens
    from vqcodec.density.ladder import Ladder

# A pass through the network each, with what it gave kept.
MAX_SAMPLES = 10_000


@click.command()
@inputs_argument
@click.option(
    "-k", "--samples", type=click.IntRange(1, MAX_SAMPLES), metavar="K",
    default=16, show_default=True,
    help="Samples of the latents; the importance-weighted bound is of all of them.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line and image.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a row for each image.")
@click.option(
    "--map", "map_name", type=NAME, metavar="OUT.png|OUT.npy",
    help="Draw where the bits are, pixel by pixel, or write them as numbers; for one image.",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing map.")
@click.option(
    "--codes", is_flag=True,
    help="Instead, what the codec's prior over code indices says, level by level.",
)  # fmt: skip
@click.option(
    "-q", "--quality", type=click.IntRange(1, 100), default=50, show_default=True,
    help="Of the codes.",
)  # fmt: skip
@click.option(
    "--model", type=NAME, metavar="NAME|PATH",
    help="Another density model, or with --codes another model of the codec.",
)  # fmt: skip
def bpd(
    inputs: tuple[str, ...],
    samples: int,
    as_json: bool,
    as_csv: bool,
    map_name: str | None,
    force: bool,
    codes: bool,
    quality: int,
    model: str | None,
) -> None:
    """Tell how many bits a value of an image is worth, and what lossless files take.

    Bounds on -log2 p(image) under the density model, for images, all images in folders, or -,
    beside PNG, WebP and JPEG XL files of the same pixels. Of several images also their mean.
    """
    if as_json and as_csv:
        raise click.UsageError("either --json or --csv")
    jobs = list(inputs_of(inputs, IMAGE_SUFFIXES))
    map_path = None if map_name is None else Path(map_name)
    if map_path is not None:
        if codes or len(jobs) != 1:
            raise click.UsageError("--map takes one image, and no --codes")
        if map_path.suffix.lower() not in (".png", ".npy"):
            raise click.UsageError("--map writes a .png or an .npy file")
        check_writable(map_path, force=force)
    tell = _tell_codes(model, quality) if codes else _tell_density(model, samples, map_path, force)
    lines = json_lines if as_json else CsvLines() if as_csv else text_lines
    told = list(_told(jobs, tell, lines))
    if len(told) > 1:
        mean = mean_line(told)
        if as_json or as_csv:
            click.echo(mean, err=True)  # stdout has a line for each image and nothing else
        else:
            answer(mean)
    sys.exit(0 if len(told) == len(jobs) else 1)


def _told(
    jobs: Sequence[Input],
    tell: Callable[[Job], Facts],
    lines: Callable[[Facts], Sequence[str]],
) -> Iterator[Facts]:
    """Print and yield what there is to tell about each image; failures are named on stderr."""
    from tqdm import tqdm

    for name, found in outcomes(jobs, tell):
        if found is None:
            continue
        facts = {"file": name} | found
        with tqdm.external_write_mode(sys.stdout):
            for note in facts["notes"]:
                click.echo(remark(name, note), err=True)
            answer(*lines(facts))
        yield facts


def _tell_density(
    model: str | None, samples: int, map_path: Path | None, force: bool
) -> Callable[[Job], Facts]:
    from vqcodec.density.lossless import CODECS, file_sizes
    from vqcodec.density.ycc import as_recorded
    from vqcodec.fileformat.image import assemble

    info = weights.find_density(model or weights.DENSITY)
    aside = ThreadPoolExecutor(1)

    def tell(job: Job) -> Facts:
        prepared = without_alpha(job.read())
        # Encoders need no torch, which takes as long to import as they take.
        files = aside.submit(file_sizes, assemble(prepared.pixels, gray=prepared.gray))
        ladder = _loaded(info)
        from vqcodec.density.measure import bit_map, colour_range, draw_map, map_file, measure

        height, width = prepared.pixels.shape[:2]
        dimensions = height * width * (1 if prepared.gray else 3)
        seen = as_recorded(prepared.pixels)
        density = measure(ladder, seen, samples, gray=prepared.gray)
        sizes, absent = files.result()
        facts: Facts = {
            "width": width,
            "height": height,
            "dimensions": dimensions,
            "space": seen.space,
            "samples": samples,
            "elbo": density.elbo,
            "elbo_error": density.elbo_error,
            "iwae": density.iwae,
            "iwae_error": density.iwae_error,
            "reconstruction": density.reconstruction,
            "kl": density.kl,
            "gaps": density.gaps,
            "kl_of_scales": density.kl_of_scales(),
            "files": {
                name: 8 * sizes[name] / dimensions if name in sizes else None for name in CODECS
            },
        }
        if map_path is not None:
            bits = bit_map(ladder, seen, gray=prepared.gray)
            write = map_file if map_path.suffix.lower() == ".npy" else draw_map
            atomic_write(map_path, write(bits), force=force)
            low, high = colour_range(bits)
            facts["map"] = {"low": low, "high": high}
        return facts | {"notes": prepared.notes + absent}

    return tell


def _tell_codes(model: str | None, quality: int) -> Callable[[Job], Facts]:
    from vqcodec.api import load_codec

    codec = load_codec(weights.choose(model=model))

    def tell(job: Job) -> Facts:
        prepared = without_alpha(job.read())
        height, width = prepared.pixels.shape[:2]
        encoded = codec.encode_pixels(prepared.pixels, quality)
        levels = _level_rates(codec, codec.tokens_of(encoded, prepared, quality))
        stream = 8 * len(encoded.stream) / (width * height)
        facts = {"width": width, "height": height, "quality": quality}
        return facts | {"levels": levels, "stream": stream, "notes": prepared.notes}

    return tell


def file_density(data: bytes) -> Facts:
    """Return what a sound .vqc file takes, and what the density model says of its picture.

    "file" is the file's own bits per dimension, "levels" the prior's bits per pixel of each level,
    "elbo" the decoded picture's bound in bits per dimension, None where no density model ships.
    Raises UnknownModelError for a file of weights that are not here.
    """
    from vqcodec.api import codec_of

    header, _ = read_header(data)
    codec = codec_of(header.model_id)
    pixels = header.width * header.height
    facts: Facts = {
        "file": 8 * len(data) / (pixels * (1 if header.gray else 3)),
        "levels": _level_rates(codec, codec.file_tokens(data)),
        "elbo": None,
    }
    if weights.densities():
        from vqcodec.density.measure import measure
        from vqcodec.density.ycc import as_recorded
        from vqcodec.fileformat.image import prepare

        seen = as_recorded(prepare(codec.decode(data)).pixels)
        ladder = _loaded(weights.find_density(weights.DENSITY))
        facts["elbo"] = measure(ladder, seen, 1, gray=header.gray).elbo
    return facts


def _level_rates(codec: Codec, tokens: Tokens) -> list[float]:
    """Return the cross-entropy of tokens, in bits per pixel, level by level."""
    return [bits / (tokens.width * tokens.height) for bits in codec.bits(tokens)]


@functools.cache
def _loaded(info: weights.ModelInfo) -> Ladder:
    with collector.at_rest():
        from vqcodec.density.store import load

    return load(info)


def density_text(facts: Facts) -> str:
    """Return one line of what `file_density` returned."""
    levels = " + ".join(f"{rate:.3f}" for rate in facts["levels"])
    picture = "no density model ships with this version"
    if facts["elbo"] is not None:
        picture = f"the decoded picture, without loss: at most {facts['elbo']:.3f}"
    return f"{facts['file']:.3f}; codes by level {levels} bpp; {picture}"
