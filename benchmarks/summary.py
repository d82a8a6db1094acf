"""BD-rates of every codec against an anchor, from a CSV of `benchmarks.rd` and published curves.

    python -m benchmarks.summary rd.csv --anchor jpeg --anchor webp [--published kodak-rd.json]

The average is taken over the curves: for each setting the mean bits per pixel and the mean of the
metric over the images make one point. The worst single image is compared by its own curves.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import codecs, plots, rate_tables, tables
from benchmarks.curves import METRICS, Curve, CurveError, bd_rate, read_published
from benchmarks.measurements import CodecPoints, Measurement, group, read_measurements

SUMMARY_FIELDS = (
    "dataset", "images", "metric", "anchor", "codec", "bd_rate", "image_mean", "image_worst",
    "worst_image", "images_compared", "low", "high", "unit", "min_bpp", "max_bpp", "trained",
    "note",
)  # fmt: skip
CURVE_FIELDS = ("dataset", "images", "codec", "setting", "bpp", *METRICS)


def curves(
    metric: str,
    measured: Mapping[str, CodecPoints],
    published: Mapping[str, Mapping[str, Curve]],
) -> dict[str, Curve]:
    """Return the curves that have the metric: means over the images, and published ones."""
    found = {name: points.mean(metric) for name, points in measured.items() if points.has(metric)}
    return found | {name: of[metric] for name, of in published.items() if metric in of}


def all_curves(
    measured: Mapping[str, CodecPoints], published: Mapping[str, Mapping[str, Curve]]
) -> dict[str, dict[str, Curve]]:
    """Return the curves of each metric that was measured."""
    return {
        metric: curves(metric, measured, published)
        for metric in METRICS
        if any(points.has(metric) for points in measured.values())
    }


def compare_all(
    measured: Mapping[str, CodecPoints],
    published: Mapping[str, Mapping[str, Curve]],
    anchors: Sequence[str],
    *,
    min_bpp: float,
    max_bpp: float,
) -> list[tables.Row]:
    """Compare by every metric that was measured and with every anchor that has it."""
    result: list[tables.Row] = []
    for metric in all_curves(measured, published):
        for anchor in anchors:
            try:
                compared = list(
                    compare(anchor, metric, measured, published, min_bpp=min_bpp, max_bpp=max_bpp)
                )
            except KeyError:
                click.echo(f"no curve of {anchor} in {metric}: not compared", err=True)
                continue
            result += compared
    return result


def compare(
    anchor: str,
    metric: str,
    measured: Mapping[str, CodecPoints],
    published: Mapping[str, Mapping[str, Curve]],
    *,
    min_bpp: float,
    max_bpp: float,
) -> Iterator[tables.Row]:
    """Yield one row a codec: its BD-rate against the anchor, or a note that says why there is none.

    Raises:
        KeyError: no curve has the anchor's name, or it lacks the metric.
    """
    of_all = curves(metric, measured, published)
    reference = of_all[anchor]
    for name, test in of_all.items():
        if name == anchor:
            continue
        row = {"metric": metric, "anchor": anchor, "codec": name, "unit": METRICS[metric]}
        row |= {"min_bpp": f"{min_bpp:g}", "max_bpp": f"{max_bpp:g}"}
        row["trained"] = " ".join(
            codec
            for codec in (anchor, name)
            if codec in measured and metric in codecs.trained_for(measured[codec].version)
        )
        try:
            average = bd_rate(reference, test, min_bpp=min_bpp, max_bpp=max_bpp)
        except CurveError as error:
            row["note"] = str(error)
        else:
            row["bd_rate"] = f"{average.percent:.2f}"
            row |= {"low": f"{average.low:.3f}", "high": f"{average.high:.3f}"}
        if anchor in measured and name in measured:
            row |= _single_images(
                measured[anchor], measured[name], metric, min_bpp=min_bpp, max_bpp=max_bpp
            )
        yield row


def _single_images(
    anchor: CodecPoints, test: CodecPoints, metric: str, *, min_bpp: float, max_bpp: float
) -> tables.Row:
    """Compare image by image; an image without an honest figure is left out of the count."""
    percents: dict[str, float] = {}
    for image in anchor.images:
        try:
            percents[image] = bd_rate(
                anchor.of_image(metric, image),
                test.of_image(metric, image),
                min_bpp=min_bpp,
                max_bpp=max_bpp,
            ).percent
        except CurveError as error:
            click.echo(f"left out: {metric}, {error}", err=True)
    row = {"images_compared": str(len(percents))}
    if percents:
        worst = max(percents, key=percents.__getitem__)
        row["image_mean"] = f"{np.mean(list(percents.values())):.2f}"
        row |= {"image_worst": f"{percents[worst]:.2f}", "worst_image": worst}
    return row


def mean_curves(measured: Mapping[str, CodecPoints]) -> Iterator[tables.Row]:
    """Yield one row a codec and setting: the means over the images."""
    for name, points in measured.items():
        for setting, (bpp, values) in points.means().items():
            row = {"codec": name, "setting": f"{setting:g}", "bpp": f"{bpp:.5f}"}
            yield row | {metric: f"{value:.5f}" for metric, value in values.items()}


def monotonicity(measured: Mapping[str, CodecPoints]) -> Iterator[str]:
    """Yield a sentence a codec: the rates its settings span, and whether more always gave more."""
    for name, points in measured.items():
        rates = [bpp for bpp, _ in points.means().values()]
        falls = points.falls()
        verdict = "never loses PSNR" if not falls else f"loses PSNR {len(falls)} times: "
        yield (
            f"{name}: settings span {min(rates):.3f}–{max(rates):.3f} bpp; "
            f"a larger one {verdict}{'; '.join(falls)}"
        )


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--anchor", "anchors", multiple=True, default=("jpeg", "webp"), show_default=True)
@click.option("--min-bpp", default=0.1, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--max-bpp", default=0.8, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option(
    "--published", type=click.Path(exists=True, path_type=Path),
    help="JSON of published curves of the same images.",
)  # fmt: skip
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Write the BD-rates.")
@click.option("--curves", "curves_path", type=click.Path(path_type=Path), help="Write the curves.")
@click.option(
    "--plots", "prefix", metavar="PREFIX", help="Write PREFIX-METRIC.svg for each metric."
)
def main(
    source: Path,
    anchors: Sequence[str],
    min_bpp: float,
    max_bpp: float,
    published: Path | None,
    csv_path: Path | None,
    curves_path: Path | None,
    prefix: str | None,
) -> None:
    """Print a Markdown table of BD-rates for each metric and anchor in SOURCE."""
    try:
        rows = read_measurements(source)
        measured = group(rows)
        public = read_published(published) if published else {}
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    named = about(rows)
    compared = compare_all(measured, public, anchors, min_bpp=min_bpp, max_bpp=max_bpp)
    result = [named | row for row in compared]
    for line in monotonicity(measured):
        click.echo(f"- {line}")
    click.echo("\n" + rate_tables.bd_rate_details(result))
    if csv_path:
        tables.write_csv(csv_path, SUMMARY_FIELDS, result)
    if curves_path:
        tables.write_csv(curves_path, CURVE_FIELDS, [named | row for row in mean_curves(measured)])
    if prefix:
        drawn = all_curves(measured, public)
        look = plots.looks([name for of in drawn.values() for name in of])
        for metric, of in drawn.items():
            title = f"{named['dataset']}, {named['images']} images: {plots.axis(metric)}"
            text = plots.rate_plot(title, of, look, min_bpp=min_bpp, max_bpp=max_bpp)
            Path(f"{prefix}-{metric}.svg").write_text(text, encoding="utf-8")


def about(rows: Sequence[Measurement]) -> tables.Row:
    """Return the columns that name the set of images, which must be one."""
    datasets = {row.dataset for row in rows}
    if len(datasets) > 1:
        raise click.ClickException(f"several sets of images in one CSV: {', '.join(datasets)}")
    return {"dataset": rows[0].dataset, "images": str(len({row.image for row in rows}))}


if __name__ == "__main__":
    main()
