"""Peak memory of one call of a codec: in a process of its own, which does nothing else.

    python -m benchmarks.memory CODEC:SETTING encode|decode FILE [--threads 2] [--device cuda]

It prints one JSON object: `loaded`, the most bytes in memory before the call, when the codec was
ready and the input read; `peak`, the most until its end; `device`, the most on the GPU, if on one.
"""

import json
import subprocess
import sys
from pathlib import Path

import click
from PIL import Image

from benchmarks import codecs, machine
from benchmarks.rd import parse_one

Peaks = dict[str, int | None]


def measure(
    codec: str, what: str, file: Path, *, threads: int, model: str | None, device: str
) -> Peaks:
    """Return what a fresh process says of encoding the image, or decoding the file of the codec.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.memory", codec, what, str(file.resolve())]
    command += ["--threads", str(threads), "--device", device]
    if model is not None:
        command += ["--model", str(Path(model).resolve()) if Path(model).exists() else model]
    done = subprocess.run(command, check=True, capture_output=True, cwd=machine.ROOT)
    peaks: Peaks = json.loads(done.stdout)
    return peaks


@click.command()
@click.argument("chosen", metavar="CODEC:SETTING")
@click.argument("what", type=click.Choice(["encode", "decode"]))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Weights of vqcodec, a name or a path.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--device", default="cpu", type=click.Choice(["cpu", "cuda"]))
def main(chosen: str, what: str, file: Path, model: str | None, threads: int, device: str) -> None:
    """Encode the image FILE once, or decode it, and print the peaks of memory."""
    name, setting = parse_one(chosen)
    try:
        codec = codecs.build_threaded(name, threads, model=model, device=device)
    except codecs.CodecUnavailableError as error:
        raise click.ClickException(str(error)) from error
    if what == "encode":
        image = Image.open(file).convert("RGB")
        loaded = machine.peak_memory()
        codec.encode(image, setting)
    else:
        data = file.read_bytes()
        loaded = machine.peak_memory()
        codec.decode(data)
    peaks: Peaks = {"loaded": loaded, "peak": machine.peak_memory(), "device": None}
    if device == "cuda":
        import torch

        peaks["device"] = torch.cuda.max_memory_allocated()
    click.echo(json.dumps(peaks))


if __name__ == "__main__":
    main()
