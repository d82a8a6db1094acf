"""Measure how long one image takes, model loaded, and how long the command line takes to start.

    python -m benchmarks.speed IMAGE [-c CODEC:SETTING]... [--threads 2] [--csv speed.csv]

The codecs take turns in every round, so that a busy moment of the machine hits all of them; the
figure is the median over the rounds, after one round that does not count.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

from benchmarks import codecs, machine, metrics, runs, tables, time_tables
from benchmarks.rd import parse_one
from vqcodec import threads as own_threads

FIELDS = (
    "what", "codec", "setting", "median_s", "min_s", "max_s", "share", "bpp", "rounds",
    "width", "height", "threads", "machine", "versions", "commit",
)  # fmt: skip
DEFAULT_CODECS = ("vqcodec:50", "jpeg:66", "webp:56", "avif:48")
START = "from vqcodec.commands.main import cli; cli(prog_name='vqcodec')"

Seconds = dict[tuple[str, str], list[float]]  # (what, codec) -> one entry a round


def make_ready(
    chosen: Sequence[str], build: Callable[[str], codecs.BenchCodec]
) -> list[tuple[codecs.BenchCodec, float]]:
    """Build the codecs of `NAME:SETTING`, naming those that cannot run here.

    Raises:
        click.ClickException: none can; BadParameter where it is not such a text.
    """
    settings = dict(parse_one(text) for text in chosen)
    built = runs.build_all(list(settings), build)
    if not built:
        raise click.ClickException("none of these codecs can run here")
    return [(codec, settings[name]) for name, codec in built.items()]


def time_codecs(
    image: Image.Image, chosen: Sequence[tuple[codecs.BenchCodec, float]], rounds: int
) -> Seconds:
    """Encode and decode the image `rounds` times with each codec, in turns.

    Codecs that time their stages add entries such as `decode: entropy`.
    """
    seconds: Seconds = defaultdict(list)
    for number in tqdm(range(-1, rounds), unit="round", disable=None):
        for codec, setting in chosen:
            one_round = _time_once(codec, setting, image)
            if number >= 0:  # the first one warms caches and allocators
                for what, duration in one_round.items():
                    seconds[what, codec.name].append(duration)
    return seconds


def _time_once(codec: codecs.BenchCodec, setting: float, image: Image.Image) -> dict[str, float]:
    encoded: list[bytes] = []
    result = {}
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: encoded.append(codec.encode(image, setting)),
        "decode": lambda: codec.decode(encoded[0]),
    }
    for what, call in calls.items():
        start = time.perf_counter()
        call()
        result[what] = time.perf_counter() - start
        if codec.timings is not None:
            result |= {f"{what}: {stage}": took for stage, took in codec.timings().items()}
    return result


def time_starts(arguments: Sequence[Sequence[str]], rounds: int) -> Seconds:
    """Run the command line in fresh processes: once for each list of arguments in every round.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    seconds: Seconds = defaultdict(list)
    for _ in tqdm(range(rounds), unit="round", disable=None):
        for given in arguments:
            took = time_command([sys.executable, "-c", START, *given])
            seconds[f"start: {given[0]}", "vqcodec"].append(took)
    return seconds


def time_command(command: Sequence[str]) -> float:
    """Return the seconds that a command took; raises subprocess.CalledProcessError if it failed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def make_rows(seconds: Seconds, sizes: dict[str, tuple[float, float]]) -> list[tables.Row]:
    """Lay out medians and ranges; `sizes` holds setting and bits per pixel of each codec.

    A stage such as `decode: entropy` gets its share of the whole, median by median.
    """
    rows = []
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    for (what, codec), values in seconds.items():
        row = {
            "what": what,
            "codec": codec,
            "median_s": f"{medians[what, codec]:.5f}",
            "min_s": f"{min(values):.5f}",
            "max_s": f"{max(values):.5f}",
            "rounds": str(len(values)),
        }
        whole, _, stage = what.partition(": ")
        if (whole, codec) in medians and stage:
            row["share"] = f"{medians[what, codec] / medians[whole, codec]:.4f}"
        if whole in ("encode", "decode"):
            setting, bpp = sizes[codec]
            row |= {"setting": f"{setting:g}", "bpp": f"{bpp:.4f}"}
        rows.append(row)
    return rows


photo_argument = click.argument(
    "photo", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
codec_option = click.option(
    "-c", "--codec", "chosen", multiple=True, default=DEFAULT_CODECS, show_default=True,
    metavar="NAME:SETTING",
)  # fmt: skip


@click.command()
@photo_argument
@codec_option
@click.option("--model", help="Weights of vqcodec, a name or a path.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the figures.")
def main(
    photo: Path,
    chosen: Sequence[str],
    model: str | None,
    threads: int,
    rounds: int,
    csv_path: Path | None,
) -> None:
    """Print a Markdown table of times for PHOTO; the other codecs use one thread."""
    own_threads.use(threads)
    image = Image.open(photo).convert("RGB")
    ready = make_ready(chosen, lambda name: codecs.build(name, model=model))
    files = {codec.name: (setting, codec.encode(image, setting)) for codec, setting in ready}
    seconds = time_codecs(image, ready, rounds)
    if "vqcodec" in files:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "photo.vqc")
            file.write_bytes(files["vqcodec"][1])
            try:
                seconds |= time_starts([["--help"], ["--version"], ["info", str(file)]], rounds)
            except subprocess.CalledProcessError as error:
                raise click.ClickException(f"vqcodec fails: {error.stderr.decode()}") from error
    sizes = {
        name: (setting, metrics.bits_per_pixel(len(data), *image.size))
        for name, (setting, data) in files.items()
    }
    about = {
        "width": str(image.width),
        "height": str(image.height),
        "threads": str(threads),
    } | machine.about()
    rows = [dict.fromkeys(FIELDS, "") | row | about for row in make_rows(seconds, sizes)]
    click.echo(time_tables.speed_table(rows))
    if csv_path:
        tables.write_csv(csv_path, FIELDS, rows)


if __name__ == "__main__":
    main()
