"""Measure how long the decoder of vqcodec/browser takes for a file, in Node and in Chromium.

    python -m benchmarks.browser IMAGE [-q 50] [--rounds 5]

The image is encoded by the default model. In Node the decoder runs on onnxruntime's WebAssembly
with one thread and with two; Chromium, where there is one, opens the page, which has one, and is
timed from the choice of the file to the finished picture. The first round, which loads and
compiles, is a figure of its own; the others give a median.
"""

import json
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image

import vqcodec
from benchmarks import machine, metrics, tables
from benchmarks.chromium import Chromium
from benchmarks.speed import photo_argument
from vqcodec import weights

PACKAGE = Path(__file__).parents[1] / "vqcodec" / "browser"
THREADS = (1, 2)
# Seconds from the choice of a file to what the page says at last, and that.
WATCH = """
window.timed = new Promise((done) => {
  const status = document.querySelector("[role=status]");
  let start;
  document.querySelector("input").addEventListener("change", () => (start = performance.now()));
  new MutationObserver(() => {
    const text = status.textContent;
    if (text.startsWith("Reading") || text.includes("preview")) return;
    done([(performance.now() - start) / 1000, text]);
  }).observe(status, { childList: true });
}), 0
"""

Seconds = dict[str, list[float]]  # what -> one entry a round, the first one cold


def in_node(file: Path, threads: int, rounds: int) -> Seconds:
    """Return the seconds of `decode`, and of `entropy` within it.

    Raises:
        subprocess.CalledProcessError: the decoder failed.
    """
    model = weights.find(weights.DEFAULT).path
    command = ["node", "test/time.mjs", str(threads), str(rounds), str(model), str(file)]
    done = subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {what: [line[what] for line in lines] for what in ("decode", "entropy")}


def in_chromium(file: Path, program: str, rounds: int) -> list[float]:
    """Return the seconds that the page takes to show a file.

    Raises:
        click.ClickException: it does not show it.
    """
    with tempfile.TemporaryDirectory() as profile:
        browser = Chromium(program, Path(profile))
        try:
            browser.open(PACKAGE / "dist" / "page" / "index.html")
            found = []
            for _ in range(rounds):
                browser.evaluate(WATCH)
                browser.evaluate("document.querySelector('input').value = ''")
                browser.choose("input", file)
                seconds, text = browser.evaluate("window.timed")
                if "quality" not in text:
                    raise click.ClickException(f"the page says: {text}")
                found.append(float(seconds))
            return found
        finally:
            browser.close()


def table(seconds: Seconds) -> str:
    """Lay out the first round, and the median and the range of the others, in Markdown."""
    rows = [
        [
            what,
            f"{first:.2f}",
            f"{statistics.median(rest):.2f}",
            f"{min(rest):.2f} to {max(rest):.2f}",
        ]
        for what, (first, *rest) in seconds.items()
    ]
    return tables.markdown(["seconds", "first", "median", "range"], rows)


@click.command()
@photo_argument
@click.option("-q", "--quality", default=50, show_default=True, type=click.IntRange(1, 100))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def main(photo: Path, quality: int, rounds: int) -> None:
    """Print a Markdown table of the times for PHOTO."""
    try:
        image = Image.open(photo).convert("RGB")
    except OSError as error:
        raise click.ClickException(str(error)) from error
    data = vqcodec.encode(image, quality=quality)
    npm = shutil.which("npm")
    if npm is None or not (PACKAGE / "node_modules").is_dir():
        raise click.ClickException(f"it takes Node, and `npm ci` in {PACKAGE}")
    built = subprocess.run([npm, "run", "build"], cwd=PACKAGE, capture_output=True, text=True)
    if built.returncode:
        raise click.ClickException(f"npm run build fails: {built.stdout}{built.stderr}")
    seconds: Seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo.vqc")
        file.write_bytes(data)
        for threads in THREADS:
            try:
                found = in_node(file, threads, 1 + rounds)
            except subprocess.CalledProcessError as error:
                raise click.ClickException(f"node fails: {error.stderr}") from error
            name = f"Node, {threads} thread{'s' * (threads > 1)}"
            seconds |= {f"{name}: {what}": values for what, values in found.items()}
        program = shutil.which("chromium")
        if program is None:
            click.echo("no program called chromium: the page is not timed", err=True)
        else:
            seconds["Chromium: the page"] = in_chromium(file, program, 1 + rounds)
    click.echo(table(seconds))
    bpp = metrics.bits_per_pixel(len(data), *image.size)
    click.echo(
        f"\n{image.width}x{image.height}, quality {quality}, {bpp:.3f} bpp; "
        f"{rounds} rounds after the first; {machine.processor()}; commit {machine.commit()}"
    )


if __name__ == "__main__":
    main()
