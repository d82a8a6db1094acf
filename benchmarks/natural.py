"""Both looks of a file beside AVIF in as many bytes, into a CSV: what each keeps of a photograph.

    python -m benchmarks.natural IMAGES -o natural.csv [--model FILE] [--bpp RATE]... [--jobs N]

vqcodec meets the rate as `--bpp` of its command does, AVIF has the best of its settings whose file
is no larger than that one. The distance of features is of a classifier that nothing here
was trained with, and the wavelet of `benchmarks.texture` of no training either. Rows that the CSV
already holds are not measured again, so a run can be stopped and continued.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from PIL import Image

from benchmarks import codecs, metrics, perceptual, runs, tables, texture
from benchmarks.images import ImageRef, find_images
from benchmarks.tables import Row
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.codec.looks import FAITHFUL, LOOKS, NATURAL
from vqcodec.commands.comparison import (
    Contender,
    Squeezed,
    squeeze,
    squeezed,
    vqcodec_contender,
)
from vqcodec.fileformat.container import read_header

RIVAL = "avif-speed4"
RATES = (0.06, 0.1, 0.15, 0.25)
SETTINGS = range(1, 101)
# Of the rival: those between which its bytes for a distance of features are interpolated.
LADDER = (1, 4, 8, 12, 16, 20, 25, 30, 36, 42, 48, 56, 64, 72)
# Not the one that the codec and its looks were trained with.
CLASSIFIER = "lite2"
ORIGINAL = "original"
MIN_SIDE = 64
FIELDS = (
    "dataset", "image", "width", "height", "rate", "picture", "setting", "bytes", "bpp",
    "psnr", "ssimulacra2", "cvvdp", "features", "rival_bytes", *texture.NAMES,
    "model_id", "natural_id", "rival_version", "machine", "versions", "commit",
)  # fmt: skip

Point = tuple[int, float]  # bytes, distance


@dataclass(frozen=True, slots=True)
class Task:
    """One image, and the rates that are still to do."""

    ref: ImageRef
    rates: tuple[float, ...]
    model: str
    cvvdp: bool

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return self.ref.name

    @property
    def num_rows(self) -> int:
        """Of every rate the original, both looks and the rival."""
        return len(self.rates) * (2 + len(LOOKS))


def distance(x: Image.Image, x_hat: Image.Image) -> float:
    """Return the distance of the classifier's features, 0 for equal images of mode RGB."""
    import torch

    from train import features

    metrics.check(x, x_hat)
    one, other = (metrics.tensor(image) / 255 for image in (x, x_hat))
    with torch.inference_mode():
        return float(features.distance(one, other, CLASSIFIER))


def bytes_for(wanted: float, curve: Sequence[Point]) -> float | None:
    """Return the fewest bytes for a distance of `wanted` or less, log bytes between two points.

    None where the curve does not begin above it, or never comes down to it.
    """
    points = sorted(curve)
    if not points or points[0][1] < wanted:
        return None
    for (fewer, far), (more, near) in itertools.pairwise(points):
        if near <= wanted:
            share = (far - wanted) / (far - near) if far > near else 0.0
            return math.exp((1 - share) * math.log(fewer) + share * math.log(more))
    return None


def measure(task: Task) -> list[Row]:
    """Measure one image at each rate; the rows lack the columns of the whole run.

    Without figures is the rival where it has no file so small.

    Raises:
        ValueError: the image is small, or vqcodec has no file so small.
    """
    image = task.ref.load()
    if min(image.size) < MIN_SIDE:
        raise ValueError(f"smaller than {MIN_SIDE}x{MIN_SIDE}")
    rival = _remembering(codecs.build(RIVAL), image)
    curve = []
    for setting in LADDER:
        data = rival.encode(image, setting)
        curve.append((len(data), distance(image, rival.decode(data))))
    rows = []
    for rate in task.rates:
        looks = _looks(loaded(task.model), image, rate)
        other = squeeze(rival, image, len(looks[0].data))
        made = {ORIGINAL: _texture(image, image)}
        made |= {look.codec.name: _figures(image, look, curve, cvvdp=task.cvvdp) for look in looks}
        made[RIVAL] = _figures(image, other, (), cvvdp=task.cvvdp) if other else {}
        common = {"image": task.ref.name, "rate": f"{rate:g}"}
        common |= {"width": str(image.width), "height": str(image.height)}
        rows += [common | {"picture": name} | figures for name, figures in made.items()]
    return rows


def _looks(codec: Codec, image: Image.Image, rate: float) -> list[Squeezed]:
    """Return both looks of one file within so many bits for each pixel."""
    data = codec.encode(image, bpp=rate)
    quality = read_header(data)[0].quality
    own = vqcodec_contender(codec)
    natural = replace(own, name=NATURAL, decode=functools.partial(codec.decode, look=NATURAL))
    return [squeezed(look, image, quality, data) for look in (replace(own, name=FAITHFUL), natural)]


def _figures(image: Image.Image, made: Squeezed, curve: Sequence[Point], *, cvvdp: bool) -> Row:
    """Return what is measured of a picture; with a curve, bytes of the rival for its distance."""
    size, away = len(made.data), distance(image, made.image)
    row = {
        "setting": f"{made.setting:g}",
        "bytes": str(size),
        "bpp": f"{metrics.bits_per_pixel(size, *image.size):.6f}",
        "psnr": f"{made.psnr:.4f}",
        "ssimulacra2": f"{metrics.ssimulacra2(image, made.image):.4f}",
        "features": f"{away:.7f}",
    }
    if cvvdp:
        row["cvvdp"] = f"{perceptual.cvvdp(image, made.image):.4f}"
    needed = bytes_for(away, curve)
    if needed is not None:
        row["rival_bytes"] = f"{needed:.1f}"
    return row | _texture(image, made.image)


def _texture(image: Image.Image, picture: Image.Image) -> Row:
    values = texture.compared(texture.luma(picture), texture.luma(image))
    return {name: f"{value:.5f}" for name, value in values.items() if math.isfinite(value)}


def _remembering(codec: codecs.BenchCodec, image: Image.Image) -> Contender:
    """Return a codec of that one image, which it encodes once at each setting."""
    encode = functools.cache(lambda setting: codec.encode(image, setting))
    return Contender(codec.name, SETTINGS, lambda _, setting: encode(setting), codec.decode)


@functools.cache
def loaded(model: str) -> Codec:
    """Return a codec of a name or a file, loaded once a process."""
    return Codec.load(model)


@click.command()
@runs.image_options
@click.option("--model", default=weights.DEFAULT, help="Weights of vqcodec, a name or a path.")
@click.option(
    "--bpp", "rates", multiple=True, default=RATES, show_default=True,
    type=click.FloatRange(0, min_open=True), help="Bits for each pixel that files are within.",
)  # fmt: skip
@click.option("--images", "count", type=click.IntRange(1), help="Only the first so many.")
def main(
    source: Path,
    out: Path,
    model: str,
    rates: Sequence[float],
    count: int | None,
    dataset: str | None,
    jobs: int,
) -> None:
    """Measure the images of SOURCE, a folder or a tar, and print tables of their means by rate."""
    try:
        refs = find_images(source)[:count]
        done = runs.read_done(out, FIELDS)
        about = _about(model)
        runs.check_options(done, about, other="other weights or another AVIF")
    except (ValueError, codecs.CodecUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    try:
        perceptual.load("cvvdp")
        cvvdp = True
    except ImportError as error:
        click.echo(f"without ColorVideoVDP: {error}", err=True)
        cvvdp = False
    keys = {(row["image"], row["rate"]) for row in done}
    left = {ref: tuple(r for r in rates if (ref.name, f"{r:g}") not in keys) for ref in refs}
    tasks = [Task(ref, todo, model, cvvdp) for ref, todo in left.items() if todo]
    common = runs.in_common(source, dataset, **about)
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.tell(out, tables.natural_tables, failures)


def _about(model: str) -> Row:
    """Return columns that say what was measured.

    Raises:
        CodecUnavailableError: this Pillow has no AVIF.
        VqcError: no such model, or it has no natural look.
    """
    codec = loaded(model)
    codec.decode(codec.encode(Image.new("RGB", (16, 16))), look=NATURAL)
    natural = weights.find(model).natural
    return {
        "model_id": codec.model_id.hex(),
        "natural_id": natural.model_id.hex(),
        "rival_version": codecs.build(RIVAL).version,
    }


if __name__ == "__main__":
    main()
