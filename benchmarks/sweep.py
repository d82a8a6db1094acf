"""Measure speed and memory over image sizes and thread counts, against other codecs.

    python -m benchmarks.sweep PHOTO [-c CODEC:SETTING]... [--megapixels 24]... [--threads 2]...

The images are the photo scaled down, or made larger with its mirror images beside and below it.
As in `benchmarks.speed`, whose timing this is, the codecs take turns in every round; a ratio is
taken within each round, and the median of the rounds is given. Peak memory is that of a fresh
process for each call, and the start of the command line stands apart.
"""

import io
import math
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks import codecs, machine, memory, metrics, tables, time_tables
from benchmarks.speed import (
    Seconds,
    codec_option,
    make_ready,
    make_rows,
    photo_argument,
    time_codecs,
    time_starts,
)
from benchmarks.tables import Row

FIELDS = (
    "megapixels", "threads", "device", "what", "codec", "setting", "median_s", "min_s", "max_s",
    "mpixel_s", "vqcodec_ratio", "peak_mb", "loaded_mb", "gpu_mb", "bpp", "rounds",
    "width", "height", "machine", "versions", "commit",
)  # fmt: skip
MEGAPIXELS = (0.1, 0.4, 1.5, 6.0, 24.0)
VQCODEC = "vqcodec"
START_SIZE = (64, 64)  # one block of the network: next to nothing beside the start


@dataclass(frozen=True, slots=True)
class Setup:
    """What the codecs run with."""

    threads: int
    model: str | None
    device: str
    rounds: int

    def build(self, name: str) -> codecs.BenchCodec:
        """Make a codec with these threads; raises as `codecs.build`."""
        return codecs.build_threaded(name, self.threads, model=self.model, device=self.device)


def make_image(photo: Image.Image, megapixels: float) -> Image.Image:
    """Scale the photo down to a size, or repeat it as in two mirrors up to that size.

    Enlarged pixels would be smoother, and so easier to code, than those of a larger photo.
    """
    scale = math.sqrt(1e6 * megapixels / (photo.width * photo.height))
    width, height = (max(1, round(side * scale)) for side in photo.size)
    if scale <= 1:
        return photo.resize((width, height), Image.Resampling.LANCZOS)
    beyond = ((0, height - photo.height), (0, width - photo.width), (0, 0))
    return Image.fromarray(np.pad(np.asarray(photo), beyond, mode="symmetric"))


def time_files(image: Image.Image, photo: Path, encoded: bytes, rounds: int) -> Seconds:
    """Time what the command line does around the codec: reading and writing a PNG and a `.vqc`.

    `photo` is the PNG of the image; the files that are written go beside it.
    """
    from vqcodec.commands.files import atomic_write

    def write_png() -> None:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        atomic_write(photo.with_suffix(".written.png"), stream.getvalue(), force=True)

    vqc = photo.with_suffix(".vqc")
    calls: dict[str, Callable[[], object]] = {
        "encode: read": lambda: Image.open(photo).convert("RGB"),
        "encode: write": lambda: atomic_write(vqc, encoded, force=True),
        "decode: read": vqc.read_bytes,
        "decode: write": write_png,
    }
    seconds: Seconds = defaultdict(list)
    for _ in range(rounds):
        for what, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[what, VQCODEC].append(time.perf_counter() - start)
    return seconds


def with_coding(seconds: Seconds) -> Seconds:
    """Put what follows the analysis into one entry, `encode: code`.

    The closed loop chooses codewords, walks through the prior and codes, level by level: of these
    only the first and the last have entries of their own.
    """
    whole, analysis = seconds["encode", VQCODEC], seconds["encode: analysis", VQCODEC]
    rest = [a - b for a, b in zip(whole, analysis, strict=True)]
    left_out = {"encode: quantize", "encode: entropy"}
    kept = {key: values for key, values in seconds.items() if key[0] not in left_out}
    return kept | {("encode: code", VQCODEC): rest}


def ratio(seconds: Seconds, what: str, codec: str) -> float:
    """How many times as long as the codec vqcodec takes: in each round, then their median."""
    pairs = zip(seconds[what, VQCODEC], seconds[what, codec], strict=True)
    return statistics.median(x / y for x, y in pairs)


def measure(
    image: Image.Image,
    ready: Sequence[tuple[codecs.BenchCodec, float]],
    setup: Setup,
    folder: Path,
) -> Iterator[Row]:
    """Yield the rows of one image size: times, ratios and peaks of memory.

    Raises:
        subprocess.CalledProcessError: a codec failed in the process that measures memory.
    """
    files = {codec.name: codec.encode(image, setting) for codec, setting in ready}
    sizes = {
        codec.name: (setting, metrics.bits_per_pixel(len(files[codec.name]), *image.size))
        for codec, setting in ready
    }
    photo, coded = folder / "photo.png", folder / "coded"
    image.save(photo)
    seconds = time_codecs(image, ready, setup.rounds)
    if VQCODEC in files:
        seconds = with_coding(seconds)
        seconds |= time_files(image, photo, files[VQCODEC], setup.rounds)
    for row in make_rows(seconds, sizes):
        name, what = row["codec"], row["what"]
        row.pop("share", None)  # reading and writing are no part of the call it would be a share of
        if what in ("encode", "decode"):
            row["mpixel_s"] = f"{image.width * image.height / 1e6 / float(row['median_s']):.3f}"
            if VQCODEC in files and name != VQCODEC:
                row["vqcodec_ratio"] = f"{ratio(seconds, what, name):.3f}"
            coded.write_bytes(files[name])
            row |= _peaks(name, sizes[name][0], what, photo if what == "encode" else coded, setup)
        yield row


def _peaks(name: str, setting: float, what: str, file: Path, setup: Setup) -> Row:
    device = setup.device if name == VQCODEC else "cpu"
    peaks = memory.measure(
        f"{name}:{setting:g}", what, file, threads=setup.threads, model=setup.model, device=device
    )
    found = {"peak_mb": peaks["peak"], "loaded_mb": peaks["loaded"], "gpu_mb": peaks["device"]}
    return {column: f"{size / 1e6:.1f}" for column, size in found.items() if size is not None}


def start_rows(model: str | None, device: str, rounds: int) -> list[Row]:
    """Time the command line from its start to its end, on an image that takes no time."""
    with tempfile.TemporaryDirectory() as name:
        photo, coded, decoded = (
            str(Path(name, file)) for file in ("photo.png", "photo.vqc", "decoded.png")
        )
        Image.new("RGB", START_SIZE, (90, 120, 60)).save(photo)
        given = ["--force", "--device", device, *(["--model", model] if model else [])]
        encode, decode = ["encode", photo, "-o", coded], ["decode", coded, "-o", decoded]
        seconds = time_starts([["--version"], [*encode, *given], [*decode, *given]], rounds)
    return make_rows(seconds, {})


@click.command()
@photo_argument
@codec_option
@click.option(
    "--megapixels", "sizes", multiple=True, type=click.FloatRange(0, min_open=True),
    default=MEGAPIXELS, show_default=True,
)  # fmt: skip
@click.option(
    "--threads", "thread_counts", multiple=True, type=click.IntRange(1), default=(1, 2),
    show_default=True,
)  # fmt: skip
@click.option("--model", help="Weights of vqcodec, a name or a path.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
    help="Where vqcodec's network runs.",
)  # fmt: skip
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the figures.")
def main(
    photo: Path,
    chosen: Sequence[str],
    sizes: Sequence[float],
    thread_counts: Sequence[int],
    model: str | None,
    device: str,
    rounds: int,
    csv_path: Path | None,
) -> None:
    """Print Markdown tables of throughput, parts, memory and start-up on images made of PHOTO."""
    original = Image.open(photo).convert("RGB")
    common = {"device": device} | machine.about()
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for threads in thread_counts:
                setup = Setup(threads, model, device, rounds)
                ready = make_ready(chosen, setup.build)
                for megapixels in sizes:
                    click.echo(f"{threads} threads, {megapixels:g} megapixels", err=True)
                    image = make_image(original, megapixels)
                    about = {"megapixels": f"{megapixels:g}", "threads": str(threads)}
                    about |= {"width": str(image.width), "height": str(image.height)}
                    rows += [row | about for row in measure(image, ready, setup, Path(folder))]
        if any(row["codec"] == VQCODEC for row in rows):
            rows += start_rows(model, device, rounds)
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"{error}: {error.stderr.decode()}") from error
    rows = [dict.fromkeys(FIELDS, "") | row | common for row in rows]
    click.echo(time_tables.sweep_tables(rows))
    if csv_path:
        tables.write_csv(csv_path, FIELDS, rows)


if __name__ == "__main__":
    main()
