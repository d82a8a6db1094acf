"""What a cut costs against a lower quality of as many bytes: python -m benchmarks.truncation IMAGES

An image is coded at a quality and at lower ones; the file of the first is cut to a share of its
bytes, and its picture is compared with what the others, between which is interpolated, give in as
many bytes. `vqcodec.rate_control` cuts what is a little too long, where that costs no more than the
bytes that a lower quality leaves unused.
"""

import math
import statistics
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import metrics, tables
from benchmarks.images import find_images
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.truncate import truncate

LOWER = (3, 6)  # by how much the qualities compared with are
HEADER = ("quality", "share kept", "median dB", "least", "most")


def gains(codec: Codec, image: Image.Image, quality: int, shares: tuple[float, ...]) -> list[float]:
    """Return what a file cut to each share has in dB above a lower quality of as many bytes."""
    whole = codec.encode(image, quality=quality)
    lower = [codec.encode(image, quality=quality - step) for step in LOWER]
    points = sorted((math.log(len(data)), _psnr(codec, image, data)) for data in [whole, *lower])
    sizes, decibels = zip(*points, strict=True)
    truncated = [truncate(whole, int(share * len(whole)))[0] for share in shares]
    return [
        _psnr(codec, image, data) - float(np.interp(math.log(len(data)), sizes, decibels))
        for data in truncated
    ]


def _psnr(codec: Codec, image: Image.Image, data: bytes) -> float:
    return metrics.psnr(image, codec.decode(data))


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default=weights.DEFAULT, show_default=True)
@click.option("--quality", "qualities", multiple=True, type=int, default=(25, 50, 75))
@click.option("--share", "shares", multiple=True, type=float, default=(0.985, 0.96, 0.93, 0.9))
def main(source: Path, model: str, qualities: tuple[int, ...], shares: tuple[float, ...]) -> None:
    """Print a Markdown table for the images of SOURCE, a folder or a tar."""
    codec = Codec.load(model)
    images = [ref.load() for ref in find_images(source)]
    rows = []
    for quality in qualities:
        of_images = [gains(codec, image, quality, shares) for image in tqdm(images, leave=False)]
        for share, values in zip(shares, zip(*of_images, strict=True), strict=True):
            figures = (statistics.median(values), min(values), max(values))
            rows.append([str(quality), f"{share:g}", *(f"{value:+.3f}" for value in figures)])
    click.echo(tables.markdown(HEADER, rows))


if __name__ == "__main__":
    main()
