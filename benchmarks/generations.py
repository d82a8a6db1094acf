"""What a picture loses when it is coded again and again: python -m benchmarks.generations IMAGE

Every generation is the decoded picture of the one before it, coded at the same setting. vqcodec
is measured at each quality and for both tunes; AVIF and WebP at the setting whose first file is the
nearest to vqcodec's in bytes, below or above.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import PIL
from PIL import Image

import vqcodec
from benchmarks import codecs, metrics, tables
from benchmarks.codecs import BenchCodec
from vqcodec.commands.comparison import Contender, squeeze

OWN = ("vqcodec-psnr", "vqcodec")
OTHERS = ("avif", "webp")
SETTINGS = range(1, 101)
SHOWN = (1, 2, 5, 10, 20)


def generations(
    codec: BenchCodec, setting: float, image: Image.Image, count: int
) -> tuple[int, list[float]]:
    """Return the bytes of the first generation, and each one's PSNR against `image` in dB."""
    size, decibels, picture = 0, [], image
    for number in range(count):
        data = codec.encode(picture, setting)
        picture = codec.decode(data)
        size = size if number else len(data)
        decibels.append(metrics.psnr(image, picture))
    return size, decibels


def nearest_setting(codec: BenchCodec, image: Image.Image, size: int) -> int:
    """Return the setting, 1 to 100, whose file is the nearest to `size` bytes."""
    contender = Contender(codec.name, SETTINGS, codec.encode, codec.decode)
    found = squeeze(contender, image, size)
    if found is None:
        return SETTINGS[0]
    below = int(found.setting)
    above = min(below + 1, SETTINGS[-1])
    return min(below, above, key=lambda setting: abs(len(codec.encode(image, setting)) - size))


def rows(image: Image.Image, quality: int, shown: Sequence[int]) -> list[list[str]]:
    """Return a line a codec, both tunes of vqcodec and for each the others at its bytes.

    Raises CodecUnavailableError if a codec is not installed.
    """
    lines = []
    for name in OWN:
        codec = codecs.build(name)
        own_size, decibels = generations(codec, quality, image, max(shown))
        lines.append(_line(name, quality, own_size, decibels, shown))
        for other in map(codecs.build, OTHERS):
            setting = nearest_setting(other, image, own_size)
            size, decibels = generations(other, setting, image, max(shown))
            lines.append(_line(other.name, setting, size, decibels, shown))
    return lines


def _line(
    name: str, setting: int, size: int, decibels: Sequence[float], shown: Sequence[int]
) -> list[str]:
    figures = [f"{decibels[number - 1]:.2f}" for number in shown]
    return [name, str(setting), str(size), *figures]


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--quality", "qualities", multiple=True, type=click.IntRange(1, 100), default=(50, 90),
    show_default=True,
)  # fmt: skip
@click.option(
    "--generation", "shown", multiple=True, type=click.IntRange(min=1), default=SHOWN,
    show_default=True, help="Which to print; the last says how many are made.",
)  # fmt: skip
def main(source: Path, qualities: Sequence[int], shown: Sequence[int]) -> None:
    """Print a Markdown table of PSNR after so many generations of SOURCE."""
    try:
        image = Image.open(source).convert("RGB")
        lines = [line for quality in qualities for line in rows(image, quality, shown)]
    except (OSError, codecs.CodecUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    header = ["codec", "setting", "bytes", *(f"after {number}" for number in shown)]
    click.echo(tables.markdown(header, lines))
    click.echo(
        f"\n{source.name}, {image.width}×{image.height}; PSNR in dB against the original, RGB; "
        f"vqcodec {vqcodec.__version__}, Pillow {PIL.__version__}."
    )


if __name__ == "__main__":
    main()
