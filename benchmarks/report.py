"""One HTML page of everything measured: curves, BD-rates, times, and pictures at equal bytes.

    python -m benchmarks.report rd.csv... -o report.html [--published kodak-rd.json]
        [--images kodak --image 05.png]...

The page is one file without network, made by the same builder as that of `vqcodec compare`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from benchmarks import codecs, machine, plots, rate_tables, speed, summary, tables, time_tables
from benchmarks.curves import METRICS, Curve, read_published
from benchmarks.images import ImageRef, find_images
from benchmarks.measurements import CodecPoints, Measurement, group, read_measurements
from vqcodec.commands.comparison import Contender, compare
from vqcodec.commands.files import atomic_write, check_writable
from vqcodec.commands.page import Table, folded, heading, listing, page, table

SPEED = Path(__file__).parent / "results" / "speed.csv"
# What can be asked of a codec, finer than the settings that it is measured at.
_QUALITIES = range(1, 101)
_RATES = [hundredths / 100 for hundredths in range(1, 401)]
# The formats that browsers show themselves; a codec's name begins with that of its format.
_MIME = {"jpeg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}


def read_sets(sources: Sequence[Path]) -> dict[str, list[Measurement]]:
    """Read CSVs of `rd`, by set of images.

    Raises:
        ValueError: not such a CSV, or a codec is measured on the same set in two of them.
    """
    sets: dict[str, list[Measurement]] = {}
    homes: dict[tuple[str, str], Path] = {}
    for source in sources:
        for row in read_measurements(source):
            home = homes.setdefault((row.dataset, row.codec), source)
            if home != source:
                raise ValueError(f"{row.codec} on {row.dataset} is in {home} and in {source}")
            sets.setdefault(row.dataset, []).append(row)
    return sets


def rate_sections(
    rows: Sequence[Measurement],
    published: Mapping[str, Mapping[str, Curve]],
    anchors: Sequence[str],
    *,
    min_bpp: float,
    max_bpp: float,
) -> list[str]:
    """Make the plots and tables of one set of images.

    Raises:
        ValueError: a codec was not measured on all images.
    """
    named = summary.about(rows)
    measured = group(rows)
    by_metric = summary.all_curves(measured, published)
    look = plots.looks([name for curves in by_metric.values() for name in curves])
    drawn = []
    for metric, curves in by_metric.items():
        name = plots.axis(metric)
        title = f"{named['dataset']}, {named['images']} images: {name}"
        svg = plots.rate_plot(title, curves, look, min_bpp=min_bpp, max_bpp=max_bpp)
        drawn.append(plots.on_page(svg, f"{name} over bits per pixel"))
    compared = summary.compare_all(measured, published, anchors, min_bpp=min_bpp, max_bpp=max_bpp)
    sources = {of.name: of.source for curves in published.values() for of in curves.values()}
    origins = [f"{tables.codec_name(name)}: {text}" for name, text in sources.items() if text]
    sections = [
        heading(f"{named['dataset']} ({named['images']} images)"),
        f'<div class="plots">{"".join(drawn)}</div>',
        listing(origins),
        folded("Points of the measured curves", table(_points(measured, named))),
    ]
    for content in rate_tables.bd_rate_tables([named | row for row in compared]):
        sections += [heading(content.title, 3), table(content)]
    return sections


def picture_sections(
    refs: Sequence[ImageRef], contenders: Sequence[Contender], bpp: float
) -> list[str]:
    """Make a table and a slider for each image, all codecs within the same bytes.

    Raises:
        OSError, ValueError: an image cannot be read, or no codec can meet the budget.
    """
    sections = []
    for ref in refs:
        made, notes = compare(ref.load(), contenders, bpp)
        for note in notes:
            click.echo(f"{ref.name}: {note}", err=True)
        sections += [heading(f"{ref.name} in {bpp:g} bits per pixel", 3), *made, listing(notes)]
    return sections


def speed_sections(rows: Sequence[tables.Row]) -> list[str]:
    """Make the bars and the table of a CSV of `speed`."""
    content = time_tables.speed(rows)
    bars = plots.on_page(plots.time_bars(rows), "Times as bars", content.caption)
    return [heading("Speed"), bars, folded("Times in figures", table(content))]


def _points(measured: Mapping[str, CodecPoints], named: tables.Row) -> Table:
    metrics = [name for name in METRICS if any(points.has(name) for points in measured.values())]
    return Table(
        "Points of the measured curves",
        ["codec", "setting", "bits per pixel", *(tables.METRIC_NAMES[name] for name in metrics)],
        [
            [row["codec"], row["setting"], row["bpp"], *(row.get(name, "–") for name in metrics)]
            for row in summary.mean_curves(measured)
        ],
        f"{named['dataset']} ({named['images']} images), RGB, bytes of whole files; means over the "
        "images.",
    )


def _contender(codec: codecs.BenchCodec) -> Contender:
    settings = _RATES if codec.name == "jpeg2000" else _QUALITIES
    return Contender(
        codec.name, settings, codec.encode, codec.decode, _MIME.get(codec.name.partition("-")[0])
    )


def _build(names: Sequence[str], model: str | None) -> tuple[list[Contender], list[str]]:
    """Build the codecs, and say what they are or why one is left out; vqcodec comes first."""
    contenders, notes = [], []
    for name in sorted(dict.fromkeys(names), key=lambda name: name != "vqcodec"):
        try:
            codec = codecs.build(name, model=model)
        except codecs.CodecUnavailableError as error:
            notes.append(f"{name} left out: {error}")
        except KeyError:
            notes.append(f"{name} left out: no codec has this name here")
        else:
            contenders.append(_contender(codec))
            notes.append(f"{name}: {codec.version}")
    return contenders, notes


def _read_speed(path: Path) -> list[tables.Row]:
    rows = tables.read_csv(path)
    if not rows or tuple(rows[0]) != speed.FIELDS:
        raise ValueError(f"{path}: not a CSV of benchmarks.speed")
    return rows


def _choose(source: Path | None, names: Sequence[str]) -> list[ImageRef]:
    """Return the images of those names."""
    if not names:
        return []
    if source is None:
        raise click.UsageError("--image needs --images, the folder or tar that it is in")
    refs = {ref.name: ref for ref in find_images(source)}
    for name in names:
        if name not in refs:
            raise click.UsageError(f"no image {name} in {source}")
    return [refs[name] for name in names]


@click.command()
@click.argument(
    "sources", metavar="CSV...", nargs=-1, required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Page to write.")
@click.option(
    "--published", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of published curves of the same images, which must then be one set.",
)  # fmt: skip
@click.option("--anchor", "anchors", multiple=True, default=("jpeg", "webp"), show_default=True)
@click.option("--min-bpp", default=0.1, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--max-bpp", default=0.8, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option(
    "--speed", "speed_csv", default=SPEED, show_default="benchmarks/results/speed.csv",
    type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CSV of benchmarks.speed.",
)  # fmt: skip
@click.option(
    "--images", type=click.Path(exists=True, path_type=Path), help="Folder or tar of the images."
)
@click.option("--image", "names", multiple=True, help="Name of an image to show in a slider.")
@click.option(
    "--bpp", default=0.25, show_default=True, type=click.FloatRange(0, 24, min_open=True),
    help="Bits per pixel that codecs get in the sliders.",
)  # fmt: skip
@click.option("--model", help="Weights of vqcodec for the sliders, a name or a path.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing page.")
def main(
    sources: Sequence[Path],
    out: Path,
    published: Path | None,
    anchors: Sequence[str],
    min_bpp: float,
    max_bpp: float,
    speed_csv: Path,
    images: Path | None,
    names: Sequence[str],
    bpp: float,
    model: str | None,
    force: bool,
) -> None:
    """Make a page from CSVs of `benchmarks.rd`, with curves, tables, times and pictures."""
    if out.resolve() in [source.resolve() for source in sources]:
        raise click.UsageError(f"the page would replace {out}")
    try:
        check_writable(out, force=force)
        sets = read_sets(sources)
        if published and len(sets) > 1:
            raise click.UsageError(f"--published is for one set of images: {', '.join(sets)}")
        public = read_published(published) if published else {}
        times = _read_speed(speed_csv)
        sections = []
        for rows in sets.values():
            sections += rate_sections(rows, public, anchors, min_bpp=min_bpp, max_bpp=max_bpp)
        sections += speed_sections(times)
        if refs := _choose(images, names):
            measured = [row.codec for rows in sets.values() for row in rows]
            contenders, notes = _build(measured, model)
            click.echo("\n".join(notes), err=True)
            pictures = picture_sections(refs, contenders, bpp)
            sections += [heading("Pictures at equal bytes"), listing(notes), *pictures]
        lead = (
            f"Made by benchmarks.report at commit {machine.commit()} from "
            f"{', '.join(source.name for source in sources)}."
        )
        text = page("vqcodec measured", lead, sections, style=plots.STYLE)
        atomic_write(out, text.encode(), force=force)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
