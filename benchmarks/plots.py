"""Charts as SVG: rate-distortion curves, and bars of times.

Curves differ by colour and by the shape of their points, and published ones are dashed as well, so
that nothing hangs on colour alone. Ink, lines and paper follow the reader's theme, light or dark.
The same input gives the same bytes.
"""

import io
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

from benchmarks.curves import METRICS, Curve
from benchmarks.tables import METRIC_NAMES, Row, codec_name, is_published

STYLE = """
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure.plot { flex: 1 1 20rem; max-width: 45rem; margin: 0; }
figure.plot img { display: block; width: 100%; height: auto; }
"""
# Each is clear enough on white and on near black.
_COLOURS = ("#0b79d0", "#d55e00", "#0f9168", "#c2569a", "#a17a00", "#7a6ff0", "#5f8a8b", "#b0413e")
_MARKERS = "os^Dv"
_INK, _LINE, _PAPER = "#1c1c1c", "#c4c4c4", "#ffffff"
_DARK = {_INK: "#e8e8e8", _LINE: "#4a4d52", _PAPER: "#16181b"}
_in_style = matplotlib.rc_context(
    {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "vqcodec",  # else names of clip paths are random
        "figure.constrained_layout.use": True,
        "figure.facecolor": _PAPER,
        "axes.facecolor": _PAPER,
        "axes.edgecolor": _LINE,
        "axes.axisbelow": True,
        "axes.labelcolor": _INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "grid.color": _LINE,
        "lines.markersize": 4,
        "legend.fontsize": "x-small",
        "legend.frameon": False,
        "legend.handlelength": 4,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
)


def looks(names: Sequence[str]) -> dict[str, int]:
    """Number the curves of a report: the number decides colour and shape in all of its plots."""
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def axis(metric: str) -> str:
    """Name a metric with its unit, if it has one."""
    return f"{METRIC_NAMES[metric]} ({METRICS[metric]})".removesuffix(" ()")


@_in_style
def rate_plot(
    title: str,
    curves: Mapping[str, Curve],
    look: Mapping[str, int],
    *,
    min_bpp: float,
    max_bpp: float,
) -> str:
    """Draw curves over bits per pixel up to half as far again as `max_bpp`, as text of an SVG file.

    The range that BD-rates are taken in is shaded. Points that are not finite are left out. The
    element that holds a curve has the curve's name as its id.
    """
    figure = Figure(figsize=(7, 5 + 0.075 * len(curves)))
    axes = figure.add_subplot(title=title, xlabel="bits per pixel", xlim=(0, 1.5 * max_bpp))
    axes.grid(axis="y")
    axes.axvspan(min_bpp, max_bpp, color=_LINE, alpha=0.3, linewidth=0)
    seen = []
    for name, curve in curves.items():
        points = [(bpp, value) for bpp, value in curve.points if math.isfinite(value)]
        seen += [value for bpp, value in points if bpp <= 1.5 * max_bpp]
        axes.plot(
            [bpp for bpp, _ in points],
            [value for _, value in points],
            color=_COLOURS[look[name] % len(_COLOURS)],
            marker=_MARKERS[look[name] % len(_MARKERS)],
            linestyle="--" if is_published(name) else "-",
            label=codec_name(name),
            gid=name,
        )
    if seen:  # what lies beyond the rates shown would stretch the axis
        margin = min(1, 0.1 * (max(seen) - min(seen))) or 1
        axes.set_ylim(min(seen) - margin, max(seen) + margin)
    figure.legend(loc="outside lower center", ncols=3)
    return _svg(figure)


@_in_style
def time_bars(rows: Sequence[Row]) -> str:
    """Draw medians and their ranges from a CSV of `speed`, all on one scale from zero.

    The element that holds the bar of row i has the id `bar-i`.
    """
    low, median, high = (
        [1000 * float(row[name]) for row in rows] for name in ("min_s", "median_s", "max_s")
    )
    figure = Figure(figsize=(7, 0.5 + 0.25 * len(rows)))
    axes = figure.add_subplot(xlabel="ms")
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.01)
    bars = axes.barh(range(len(rows)), median, color=_COLOURS[0])
    axes.hlines(range(len(rows)), low, high, color=_INK)
    axes.set_yticks(range(len(rows)), [f"{row['codec']}, {row['what']}" for row in rows])
    for number, bar in enumerate(bars):
        bar.set_gid(f"bar-{number}")
        axes.annotate(
            f"{median[number]:.0f}",
            (high[number], number),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    return _svg(figure)


def on_page(svg: str, label: str, caption: str = "") -> str:
    """Put a chart into a page, as an image that has its ids and its style to itself."""
    source = b64encode(svg.encode()).decode()
    return (
        f'<figure class="plot"><img alt="{escape(label)}" src="data:image/svg+xml;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    light = dark = ""
    for number, (colour, other) in enumerate(_DARK.items()):
        text = text.replace(colour, f"var(--c{number})")
        light += f"--c{number}: {colour}; "
        dark += f"--c{number}: {other}; "
    style = f"svg {{ {light}}} @media (prefers-color-scheme: dark) {{ svg {{ {dark}}} }}"
    return text.replace("<defs>", f"<style>{style}</style>\n <defs>", 1)
