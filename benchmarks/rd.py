"""Measure rate and distortion: every image x codec x setting becomes one row of a CSV.

    python -m benchmarks.rd IMAGES -o rd.csv [-c CODEC[:SETTING,...]]... [--jobs N]

Rows that the CSV already holds are not measured again, so a run can be stopped and continued.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from benchmarks import codecs, metrics, perceptual, runs
from benchmarks.images import ImageRef, find_images
from benchmarks.tables import METRIC_NAMES, Row

# Metrics that are measured when asked for, since they are slow or want packages of their own, with
# the digits they are written to.
OPTIONAL: dict[str, tuple[Callable[[Image.Image, Image.Image], float | None], int]] = {
    "ssimulacra2": (metrics.ssimulacra2, 4),
    "cvvdp": (perceptual.cvvdp, 4),
    "haarpsi": (perceptual.haarpsi, 6),
    "vif": (perceptual.vif, 6),
}
FIELDS = (
    "dataset", "image", "width", "height", "codec", "setting", "bytes", "bpp",
    "psnr", "ms_ssim", *OPTIONAL, "encode_s", "decode_s", "jobs",
    "codec_version", "machine", "versions", "commit",
)  # fmt: skip
Key = tuple[str, str, str]  # image, codec, setting


@dataclass(frozen=True, slots=True)
class Task:
    """One image through one codec at the settings that are still to do."""

    ref: ImageRef
    codec: str
    settings: tuple[float, ...]
    model: str | None
    optional: tuple[str, ...]
    """Metrics of OPTIONAL to measure."""

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return f"{self.ref.name}, {self.codec}"

    @property
    def num_rows(self) -> int:
        """One row a setting."""
        return len(self.settings)


def measure(task: Task) -> list[Row]:
    """Encode and decode one image at each setting; the rows lack the columns of the whole run."""
    codec = _built(task.codec, task.model)
    image = task.ref.load()
    return [_measure_one(codec, image, setting, task) for setting in task.settings]


def _measure_one(codec: codecs.BenchCodec, image: Image.Image, setting: float, task: Task) -> Row:
    start = time.perf_counter()
    data = codec.encode(image, setting)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    similarity = metrics.ms_ssim(image, decoded)
    row = {
        "image": task.ref.name,
        "width": str(image.width),
        "height": str(image.height),
        "codec": task.codec,
        "setting": f"{setting:g}",
        "bytes": str(len(data)),
        "bpp": f"{metrics.bits_per_pixel(len(data), *image.size):.6f}",
        "psnr": f"{metrics.psnr(image, decoded):.5f}",
        "ms_ssim": "" if similarity is None else f"{similarity:.7f}",
        "encode_s": f"{encoded - start:.5f}",
        "decode_s": f"{end - encoded:.5f}",
        "codec_version": codec.version,
    }
    for name in task.optional:
        metric, digits = OPTIONAL[name]
        value = metric(image, decoded)
        row[name] = "" if value is None else f"{value:.{digits}f}"
    return row


@functools.cache
def _built(name: str, model: str | None) -> codecs.BenchCodec:
    return codecs.build(name, model=model)  # once a process: weights take time to load


def plan(
    refs: Sequence[ImageRef],
    wanted: dict[str, Sequence[float]],
    done: set[Key],
    *,
    model: str | None,
    optional: tuple[str, ...],
) -> list[Task]:
    """List what is still to measure, one task an image and codec."""
    tasks = []
    for ref in refs:
        for codec, settings in wanted.items():
            left = tuple(s for s in settings if (ref.name, codec, f"{s:g}") not in done)
            if left:
                tasks.append(Task(ref, codec, left, model, optional))
    return tasks


def check_optional(optional: Sequence[str], done: Sequence[Row]) -> None:
    """Refuse metrics that cannot be measured here, or that rows already in the CSV lack.

    Raises:
        click.ClickException: the message says which, and what to do.
    """
    for name in optional:
        if name in perceptual.PACKAGES:
            try:
                perceptual.load(name)
            except ImportError as error:
                raise click.ClickException(str(error)) from error
        least = perceptual.MIN_SIDES.get(name, 1)
        large = [row for row in done if min(int(row["width"]), int(row["height"])) >= least]
        if any(not row[name] for row in large):
            raise click.ClickException(
                f"the CSV holds rows without {METRIC_NAMES[name]}: write to another file"
            )


def parse_codec(text: str) -> tuple[str, tuple[float, ...] | None]:
    """Split `NAME` or `NAME:SETTING,SETTING,...`.

    Raises:
        click.BadParameter: no such codec, or a setting that is not a number.
    """
    name, _, settings = text.partition(":")
    if name not in codecs.NAMES:
        raise click.BadParameter(f"no codec named {name}; there are {', '.join(codecs.NAMES)}")
    try:
        return name, tuple(float(s) for s in settings.split(",")) if settings else None
    except ValueError as error:
        raise click.BadParameter(f"{text}: settings are numbers") from error


def parse_one(text: str) -> tuple[str, float]:
    """Split `NAME:SETTING`.

    Raises:
        click.BadParameter: as `parse_codec`, or not exactly one setting.
    """
    name, settings = parse_codec(text)
    if settings is None or len(settings) != 1:
        raise click.BadParameter(f"{text}: one setting is needed, as in jpeg:66")
    return name, settings[0]


@click.command()
@runs.image_options
@click.option(
    "-c", "--codec", "chosen", multiple=True, metavar="NAME[:SETTING,...]",
    help=f"Codec and settings, of {', '.join(codecs.NAMES)}; default {', '.join(codecs.USUAL)}.",
)  # fmt: skip
@click.option("--model", help="Weights of vqcodec, a name or a path.")
@click.option("--ssimulacra2", is_flag=True, help="Measure SSIMULACRA2 too (slow).")
@click.option("--cvvdp", is_flag=True, help="Measure ColorVideoVDP too (very slow).")
@click.option("--haarpsi", is_flag=True, help="Measure HaarPSI too.")
@click.option("--vif", is_flag=True, help="Measure VIF too.")
def main(
    source: Path,
    out: Path,
    chosen: tuple[str, ...],
    model: str | None,
    dataset: str | None,
    jobs: int,
    **asked: bool,
) -> None:
    """Measure the images of SOURCE, a folder or a tar, and write one CSV row a measurement.

    Encode and decode seconds are wall time of one call; they are only worth comparing from a run
    with --jobs 1 on an idle machine, and `benchmarks.speed` measures them better.
    """
    try:
        refs = find_images(source)
        done = runs.read_done(out, FIELDS, may_lack=OPTIONAL)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    optional = tuple(name for name in OPTIONAL if asked[name])
    check_optional(optional, done)
    settings = dict(parse_codec(text) for text in chosen or codecs.USUAL)
    built = runs.build_all(list(settings), lambda name: _built(name, model), done)
    wanted = {name: settings[name] or codec.settings for name, codec in built.items()}
    keys = {(row["image"], row["codec"], row["setting"]) for row in done}
    tasks = plan(refs, wanted, keys, model=model, optional=optional)
    common = runs.in_common(source, dataset, jobs=str(jobs))
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.account(out, done, tasks, failures)


if __name__ == "__main__":
    main()
