"""A part of an image as several codecs show it in the same number of bytes, side by side.

    python -m benchmarks.crops IMAGE -o crops.png --box 48,140,96,96 [--bpp 0.25] [-c CODEC]...

Every codec searches its settings for the best file of the whole image within the budget, as in
`vqcodec compare`; what is drawn is that part of the picture, enlarged without smoothing.
"""

from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image, ImageDraw

from benchmarks import codecs, metrics
from vqcodec.codec.tiles import Region
from vqcodec.commands.comparison import Contender, squeeze
from vqcodec.commands.options import parse_region

SETTINGS = range(1, 101)
CAPTION = 16  # pixels under a crop
GAP = 4


def shown(image: Image.Image, name: str, bpp: float) -> tuple[str, Image.Image]:
    """Return a caption, and what the codec makes of the image within the budget.

    Raises:
        CodecUnavailableError, KeyError: as `codecs.build`.
        ValueError: the codec has no file so small.
    """
    codec = codecs.build(name)
    contender = Contender(name, SETTINGS, codec.encode, codec.decode)
    found = squeeze(contender, image, int(bpp * image.width * image.height / 8))
    if found is None:
        raise ValueError(f"{name} cannot go down to {bpp:g} bits per pixel")
    score = metrics.ssimulacra2(image, found.image)
    caption = f"{name}: {len(found.data)} bytes, {found.psnr:.1f} dB, SSIMULACRA2 {score:.0f}"
    return caption, found.image


def side_by_side(
    pictures: Sequence[tuple[str, Image.Image]], box: Region, zoom: int
) -> Image.Image:
    """Draw the part `box` (left, upper, width, height) of captioned pictures in one row."""
    left, upper, width, height = box
    size = width * zoom, height * zoom
    sheet = Image.new("RGB", (len(pictures) * (size[0] + GAP) - GAP, size[1] + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, picture) in enumerate(pictures):
        crop = picture.crop((left, upper, left + width, upper + height))
        at = number * (size[0] + GAP)
        sheet.paste(crop.resize(size, Image.Resampling.NEAREST), (at, 0))
        draw.text((at, size[1] + 2), caption, "black")
    return sheet


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--box", required=True, callback=parse_region, help="Left, upper, width, height.")
@click.option("--bpp", default=0.25, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--zoom", default=3, show_default=True, type=click.IntRange(min=1))
@click.option(
    "-c", "--codec", "names", multiple=True, type=click.Choice(codecs.NAMES),
    default=("vqcodec-psnr", "vqcodec", "avif-speed4"), show_default=True,
)  # fmt: skip
def main(
    source: Path,
    output: Path,
    box: Region,
    bpp: float,
    zoom: int,
    names: Sequence[str],
) -> None:
    """Write a PNG of a part of SOURCE, first as it is, then as each codec shows it."""
    image = Image.open(source).convert("RGB")
    try:
        pictures = [("original", image), *(shown(image, name, bpp) for name in names)]
    except (codecs.CodecUnavailableError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    side_by_side(pictures, box, zoom).save(output, optimize=True)
    for caption, _ in pictures[1:]:
        click.echo(caption)


if __name__ == "__main__":
    main()
