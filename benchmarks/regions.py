"""Whether a part of a picture takes a part of the time: python -m benchmarks.regions IMAGE

An image is coded once; then regions of falling size in its middle are decoded, and the whole of it
at falling scales. Of a large image the entropy decoder reads the coarse grids and the tiles around
a region; of a small one, and of a scale, all up to the last level that is needed.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

from benchmarks import tables
from vqcodec import threads as own_threads
from vqcodec import weights
from vqcodec.codec.codec import SCALES, Codec
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.tiles import Region

DIVISORS = (1, 2, 4, 8)  # of each side
HEADER = ("part", "share of the pixels", "time (s)", "share", "entropy (s)", "synthesis (s)")


def middle(width: int, height: int, divisor: int) -> Region:
    """Return the region in the middle of an image whose sides are so many times smaller."""
    region_width, region_height = width // divisor, height // divisor
    return (width - region_width) // 2, (height - region_height) // 2, region_width, region_height


def timed(codec: Codec, data: bytes, region: Region | None, scale: int) -> Sequence[float]:
    """Return the seconds that decoding took, and those of the entropy decoder and of synthesis."""
    profiler = Profiler()
    start = time.perf_counter()
    codec.decode(data, region=region, scale=scale, profiler=profiler)
    whole = time.perf_counter() - start
    return whole, profiler.seconds["entropy"], profiler.seconds["synthesis"]


@click.command()
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default=weights.DEFAULT, show_default=True)
@click.option("--quality", default=50, show_default=True, type=click.IntRange(1, 100))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def main(photo: Path, model: str, quality: int, rounds: int) -> None:
    """Print a Markdown table of the times of parts of PHOTO, medians over the rounds."""
    own_threads.use(2)
    codec = Codec.load(model)
    image = Image.open(photo).convert("RGB")
    data = codec.encode(image, quality=quality)
    cases: list[tuple[str, float, Region | None, int]] = [
        (f"region, 1/{divisor} of each side", divisor**-2.0, middle(*image.size, divisor), 1)
        for divisor in DIVISORS
    ]
    cases += [(f"scale 1/{scale}", scale**-2.0, None, scale) for scale in SCALES[1:]]
    rows: list[list[str]] = []
    whole = 0.0
    for name, pixels, region, scale in tqdm(cases, leave=False):
        timed(codec, data, region, scale)
        runs = [timed(codec, data, region, scale) for _ in range(rounds)]
        seconds = [statistics.median(values) for values in zip(*runs, strict=True)]
        whole = whole or seconds[0]
        times = [f"{value:.3f}" for value in seconds]
        rows.append([name, f"{pixels:.4f}", times[0], f"{seconds[0] / whole:.3f}", *times[1:]])
    click.echo(tables.markdown(HEADER, rows))


if __name__ == "__main__":
    main()
