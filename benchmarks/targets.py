"""How well files meet a target, and in what time: python -m benchmarks.targets IMAGES

For `--bpp` the share of the allowed bytes that files take, for `--psnr` the decibels above those
asked for, each with the weights that the command line takes then; images whose target lies beyond
both ends of the qualities are left out of these. The time is in terms of a plain encode of the same
image at quality 50, taken just before; with `--commands` also of whole commands, with the start of
the program in both. `--join 4` measures larger photographs, each of 4 x 4 of those given, cut to
the size of the smallest.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import metrics, tables
from benchmarks.images import find_images
from benchmarks.speed import time_command
from train.forecast import joined
from vqcodec import threads as own_threads
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.container import read_header
from vqcodec.fileformat.image import prepare
from vqcodec.rate_control import encode_to_psnr, encode_to_size

HEADER = ("target", "images", "least", "median", "most", "median time", "longest")
OF_COMMANDS = ("median of commands", "longest")
ENDS = (1, 100)  # qualities

Encode = Callable[[Image.Image], bytes]
Met = Callable[[Image.Image, bytes], float]


def size_target(codec: Codec, bpp: float) -> tuple[Encode, Met]:
    """Return how to encode to `bpp` bits for each pixel, and the share of them that a file took."""

    def allowed(image: Image.Image) -> int:
        return int(bpp * image.width * image.height / 8)

    def encode(image: Image.Image) -> bytes:
        return encode_to_size(codec, prepare(image), allowed(image))[0]

    return encode, lambda image, data: len(data) / allowed(image)


def psnr_target(codec: Codec, psnr: float) -> tuple[Encode, Met]:
    """Return how to encode to `psnr` decibels, and how many more a file has."""

    def encode(image: Image.Image) -> bytes:
        return encode_to_psnr(codec, prepare(image), psnr)[0]

    return encode, lambda image, data: metrics.psnr(image, codec.decode(data)) - psnr


def measure(codec: Codec, images: list[Image.Image], encode: Encode, met: Met) -> list[str]:
    """Return the columns of a target after the first; the codec is that of the target."""
    values, times = [], []
    for image in tqdm(images, unit="image", leave=False, disable=None):
        start = time.perf_counter()
        codec.encode(image)
        middle = time.perf_counter()
        data = encode(image)
        times.append((time.perf_counter() - middle) / (middle - start))
        if read_header(data)[0].quality not in ENDS:
            values.append(met(image, data))
    figures = [f"{pick(values):.3f}" for pick in (min, statistics.median, max) if values]
    times_taken = [f"{statistics.median(times):.2f}", f"{max(times):.2f}"]
    return [str(len(values)), *(figures or ["–"] * 3), *times_taken]


def measure_commands(images: list[Image.Image], tune: str, option: str, value: float) -> list[str]:
    """Return columns OF_COMMANDS: how much longer commands take with that option than without."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.png"
        command = [sys.executable, "-m", "vqcodec", "encode", str(file), "--force"]
        for image in tqdm(images, unit="image", leave=False, disable=None):
            image.save(file)
            plain, targeted = (
                time_command([*command, *chosen])
                for chosen in (("--tune", tune), (option, str(value)))
            )
            times.append(targeted / plain)
    return [f"{statistics.median(times):.2f}", f"{max(times):.2f}"]


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--bpp", "sizes", multiple=True, type=float, default=(0.1, 0.25, 0.5))
@click.option("--psnr", "psnrs", multiple=True, type=float, default=(28, 31, 34))
@click.option("--join", "side", default=1, show_default=True, type=click.IntRange(1))
@click.option("--commands", is_flag=True, help="Time whole commands too.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1))
def main(
    source: Path,
    sizes: tuple[float, ...],
    psnrs: tuple[float, ...],
    side: int,
    commands: bool,
    threads: int,
) -> None:
    """Print a Markdown table of targets for the images of SOURCE, a folder or a tar."""
    own_threads.use(threads)
    images = [ref.load() for ref in find_images(source)]
    if side > 1:
        large = joined([np.asarray(image.convert("RGB")) for image in images], side)
        images = [Image.fromarray(pixels) for pixels in large]
    rows = []
    for tune, option, wanted, unit, target in (
        ("ssim", "--bpp", sizes, "bpp, share used", size_target),
        ("psnr", "--psnr", psnrs, "dB, surplus", psnr_target),
    ):
        codec = Codec.load(weights.TUNED[tune])
        codec.encode(images[0])
        rows += [
            [
                f"{value:g} {unit}",
                *measure(codec, images, *target(codec, value)),
                *(measure_commands(images, tune, option, value) if commands else ()),
            ]
            for value in wanted
        ]
    click.echo(tables.markdown((*HEADER, *(OF_COMMANDS if commands else ())), rows))


if __name__ == "__main__":
    main()
