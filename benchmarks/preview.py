"""Measure previews: how well 50 to 1,000 bytes show a photograph at 256 pixels.

    python -m benchmarks.preview IMAGES -o preview.csv [-c CODEC]... [--budget 200]... [--jobs N]

The photograph is scaled to 256 pixels on its longer side; that is what is to be shown. For every
budget each codec codes it at many scales, at each with the highest qualities whose files still
fit, and the file that shows it best after scaling up again, by PSNR, is the codec's. BlurHash and
ThumbHash are what they are: one file an image, whatever the budget.

Rows that the CSV already holds are not measured again, so a run can be stopped and continued.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from benchmarks import codecs, hashes, metrics, runs
from benchmarks.images import ImageRef, find_images
from benchmarks.tables import Row

SHOWN_SIDE = 256  # longer side, in pixels
BUDGETS = (50, 75, 100, 150, 200, 300, 500, 700, 1000)  # bytes
QUALITIES = 100
# Tried below the highest quality that fits: in a picture of a few blocks a higher quality is not
# always a better one.
STEPS_DOWN = (0, 1, 2, 4, 8)
SCALES = tuple(
    side / SHOWN_SIDE  # mostly whole blocks of a transform
    for side in (256, 192, 160, 128, 96, 80, 64, 48, 40, 32, 24, 20, 16, 12, 10, 8)
)
# What pays in small files, beside the choices of `codecs`: a progressive JPEG repeats its headers,
# and the slower encoders are quick enough at this size.
SQUEEZED: dict[str, codecs.Options] = {
    "jpeg": {"progressive": False},
    "avif": {"speed": 4},
    "jxl": {"effort": 9},
}
SEARCHED = ("vqcodec", "vqcodec-psnr", "jpeg", "webp", "avif", "jxl")
NAMES = SEARCHED + hashes.NAMES

FIELDS = (
    "dataset", "image", "width", "height", "codec", "budget", "bytes", "psnr", "ms_ssim",
    "scale", "quality", "codec_version", "machine", "versions", "commit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Preview:
    """One file, and the picture that it shows."""

    num_bytes: int
    picture: Image.Image
    psnr: float
    scale: float
    quality: int


@dataclass(frozen=True, slots=True)
class Task:
    """One image through one codec within the budgets that are still to do; a hash has none."""

    ref: ImageRef
    codec: str
    budgets: tuple[int, ...]
    model: str | None

    @property
    def label(self) -> str:
        """What is measured, in words."""
        return f"{self.ref.name}, {self.codec}"

    @property
    def num_rows(self) -> int:
        """One row a budget, or the one row of a hash."""
        return max(1, len(self.budgets))


def shown(photo: Image.Image) -> Image.Image:
    """Scale a photograph down to the size of a preview; a smaller one stays as it is."""
    return _scaled(photo, min(1, SHOWN_SIDE / max(photo.size)))


def search(
    codec: codecs.BenchCodec, image: Image.Image, budgets: Sequence[int]
) -> dict[int, Preview | None]:
    """Return for each budget, in bytes, the file that shows `image` best; None where none fits.

    What is found within a smaller budget counts for the larger ones too.
    """
    found = [preview for scale in SCALES for preview in _at_scale(codec, image, scale, budgets)]
    return {
        budget: max(
            (preview for preview in found if preview.num_bytes <= budget),
            key=lambda preview: preview.psnr,
            default=None,
        )
        for budget in budgets
    }


def _at_scale(
    codec: codecs.BenchCodec, image: Image.Image, scale: float, budgets: Sequence[int]
) -> Iterator[Preview]:
    small = _scaled(image, scale)
    encoded = functools.cache(lambda quality: codec.encode(small, quality))
    highest = {highest_quality(encoded, budget) for budget in budgets}
    for quality in sorted({top - step for top in highest for step in STEPS_DOWN if top > step}):
        data = encoded(quality)
        picture = codec.decode(data).resize(image.size, Image.Resampling.LANCZOS)
        yield Preview(len(data), picture, metrics.psnr(image, picture), scale, quality)


def highest_quality(encoded: Callable[[int], bytes], budget: int) -> int:
    """Return the highest quality whose file fits into the budget; 0 if that of quality 1 does not.

    Takes for granted that a higher quality needs more bytes, which holds but for a few bytes.
    """
    if len(encoded(1)) > budget:
        return 0
    fits, too_large = 1, QUALITIES + 1
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if len(encoded(middle)) <= budget:
            fits = middle
        else:
            too_large = middle
    return fits


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def measure(task: Task) -> list[Row]:
    """Preview one image within each budget; the rows lack the columns of the whole run."""
    image = shown(task.ref.load())
    codec = _built(task.codec, task.model)
    about = {
        "image": task.ref.name,
        "width": str(image.width),
        "height": str(image.height),
        "codec": task.codec,
        "codec_version": codec.version,
    }
    if isinstance(codec, hashes.Hash):
        data = codec.encode(image)
        return [about | _scores(image, codec.render(data, image.size), len(data))]
    rows = []
    for budget, preview in search(codec, image, task.budgets).items():
        row = about | {"budget": str(budget)}
        if preview:
            row |= _scores(image, preview.picture, preview.num_bytes)
            row |= {"scale": f"{preview.scale:g}", "quality": str(preview.quality)}
        rows.append(row)
    return rows


def _scores(image: Image.Image, picture: Image.Image, num_bytes: int) -> Row:
    similarity = metrics.ms_ssim(image, picture)
    return {
        "bytes": str(num_bytes),
        "psnr": f"{metrics.psnr(image, picture):.5f}",
        "ms_ssim": "" if similarity is None else f"{similarity:.7f}",
    }


@functools.cache
def _built(name: str, model: str | None) -> codecs.BenchCodec | hashes.Hash:
    if name in hashes.NAMES:
        return hashes.build(name)
    return codecs.build(name, model=model, **SQUEEZED.get(name, {}))


def plan(
    refs: Sequence[ImageRef],
    names: Sequence[str],
    budgets: Sequence[int],
    done: Sequence[Row],
    *,
    model: str | None,
) -> list[Task]:
    """List what is still to measure, one task an image and codec."""
    keys = {(row["image"], row["codec"], row["budget"]) for row in done}
    tasks = []
    for ref in refs:
        for name in names:
            wanted = ("",) if name in hashes.NAMES else tuple(str(budget) for budget in budgets)
            left = [budget for budget in wanted if (ref.name, name, budget) not in keys]
            if left:
                tasks.append(Task(ref, name, tuple(int(b) for b in left if b), model))
    return tasks


@click.command()
@runs.image_options
@click.option(
    "-c", "--codec", "chosen", multiple=True, type=click.Choice(NAMES), default=NAMES,
    show_default=True,
)  # fmt: skip
@click.option(
    "-b", "--budget", "budgets", multiple=True, type=click.IntRange(1), default=BUDGETS,
    show_default=True, help="Bytes of the whole file.",
)  # fmt: skip
@click.option("--model", help="Weights of vqcodec, a name or a path.")
def main(
    source: Path,
    out: Path,
    chosen: Sequence[str],
    budgets: Sequence[int],
    model: str | None,
    dataset: str | None,
    jobs: int,
) -> None:
    """Preview the images of SOURCE, a folder or a tar, and write one CSV row a codec and budget.

    A row without bytes says that no file of the codec is so small.
    """
    try:
        refs = find_images(source)
        done = runs.read_done(out, FIELDS)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    built = runs.build_all(chosen, lambda name: _built(name, model), done)
    tasks = plan(refs, list(built), budgets, done, model=model)
    common = runs.in_common(source, dataset)
    failures = runs.extend(out, FIELDS, tasks, measure, jobs=jobs, common=common)
    runs.account(out, done, tasks, failures)


if __name__ == "__main__":
    main()
