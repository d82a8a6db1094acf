"""Charts as SVG, within a page or as files: rate-distortion curves, and bars of times.

Curves differ by colour and by the shape of their points, and published ones are dashed as well, so
that nothing hangs on colour alone. Within a page ink, lines and paper are the page's, light or
dark.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from benchmarks.curves import METRICS, Curve
from benchmarks.tables import METRIC_NAMES, PUBLISHED, Row, codec_name, is_published

STYLE = """
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.plots figure { flex: 1 1 20rem; max-width: 40rem; margin: 0; }
figure > .chart { display: block; width: 100%; max-width: 40rem; height: auto; }
.chart text { fill: var(--ink); font-size: 14px; }
.grid { stroke: var(--line); }
.range { fill: var(--line); opacity: 0.3; }
.curve { fill: none; stroke-width: 2; }
.published { stroke-dasharray: 6 4; }
.bar { fill: var(--accent); }
.spread { stroke: var(--ink); stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1.5rem; padding: 0; list-style: none; }
.legend svg { width: 36px; height: 16px; margin-right: 0.5rem; }
"""
_FILE_STYLE = """
svg { --paper: #fff; --ink: #1c1c1c; --line: #c4c4c4; font-family: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #16181b; --ink: #e8e8e8; --line: #4a4d52; }
}
.paper { fill: var(--paper); }
.chart .entry { font-size: 11px; }
"""
# Each is clear enough on white and on near black.
_COLOURS = ("#0b79d0", "#d55e00", "#0f9168", "#c2569a", "#a17a00", "#7a6ff0", "#5f8a8b", "#b0413e")
_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",  # circle
    "M-4-4h8v8h-8z",  # square
    "M0-5l5 9h-10z",  # triangle
    "M0-5l5 5-5 5-5-5z",  # diamond
    "M0 5l5-9h-10z",  # triangle on its head
)
_WIDTH, _HEIGHT = 420, 270  # of the area that curves are drawn in
_LEFT, _TOP, _BELOW = 50, 10, 46
_TITLE, _ENTRY, _COLUMNS = 30, 18, 2  # of a file: height of title and legend entry
_ROW, _LABELS, _BARS, _VALUES = 26, 200, 225, 80


def looks(names: Sequence[str]) -> dict[str, int]:
    """Number the curves of a report: the number decides colour and shape in all of its plots."""
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def axis(metric: str) -> str:
    """Name a metric with its unit."""
    return f"{METRIC_NAMES[metric]} ({METRICS[metric]})"


def rate_plot(
    title: str,
    curves: Mapping[str, Curve],
    look: Mapping[str, int],
    *,
    min_bpp: float,
    max_bpp: float,
) -> str:
    """Draw curves for a page, over bits per pixel up to half as far again as `max_bpp`.

    The range that BD-rates are taken in is shaded. Points that are not finite are left out.
    """
    parts = _rate_parts(curves, look, min_bpp, max_bpp)
    size = f"{-_LEFT} {-_TOP} {_LEFT + _WIDTH + 14} {_TOP + _HEIGHT + _BELOW}"
    return (
        f"<figure>{_svg(f'{title} over bits per pixel', size, parts)}"
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def rate_file(
    title: str,
    curves: Mapping[str, Curve],
    look: Mapping[str, int],
    *,
    min_bpp: float,
    max_bpp: float,
) -> str:
    """Draw the same as the text of an SVG file, with its title above and its legend below.

    That the dashed curves are published is said in the title.
    """
    if any(map(is_published, curves)):
        title += "; dashed: published"
    parts = _rate_parts(curves, look, min_bpp, max_bpp)
    parts.append(f'<text x="0" y="{-_TITLE / 2}">{escape(title)}</text>')
    width, below = _LEFT + _WIDTH + 14, _HEIGHT + _BELOW
    for place, name in enumerate(curves):
        row, column = divmod(place, _COLUMNS)
        x, y = column * _WIDTH // _COLUMNS, below + _ENTRY * row + _ENTRY // 2
        parts += [
            _line(name, look[name], f"{x},{y} {x + 36},{y}"),
            _mark(look[name], x + 18, y),
            f'<text class="entry" x="{x + 42}" y="{y + 4}">'
            f"{escape(name.removeprefix(PUBLISHED))}</text>",
        ]
    height = _TITLE + below + _ENTRY * math.ceil(len(curves) / _COLUMNS)
    content = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.5 * width}" height="{1.5 * height}" '
        f'viewBox="{-_LEFT} {-_TITLE} {width} {height}" role="img" class="chart">\n'
        f"<style>{STYLE}{_FILE_STYLE}</style>\n"
        f'<rect class="paper" x="{-_LEFT}" y="{-_TITLE}" width="{width}" height="{height}"/>\n'
        f"{content}\n</svg>\n"
    )


def _rate_parts(
    curves: Mapping[str, Curve], look: Mapping[str, int], min_bpp: float, max_bpp: float
) -> list[str]:
    end = 1.5 * max_bpp
    points = {
        name: [(bpp, value) for bpp, value in each.points if math.isfinite(value)]
        for name, each in curves.items()
    }
    seen = [value for each in points.values() for bpp, value in each if bpp <= end]
    levels = _ticks(min(seen), max(seen)) if seen else [0.0, 1.0]
    x = _scale(0, end, _WIDTH)
    y = _scale(levels[-1], levels[0], _HEIGHT)
    parts = [
        f'<rect class="range" x="{x(min_bpp)}" width="{x(max_bpp - min_bpp)}" height="{_HEIGHT}"/>'
    ]
    for level in levels:
        parts.append(f'<line class="grid" x2="{_WIDTH}" y1="{y(level)}" y2="{y(level)}"/>')
        parts.append(f'<text x="-8" y="{y(level) + 5}" text-anchor="end">{level:g}</text>')
    for bpp in _ticks(0, end):
        if bpp <= end:
            parts.append(
                f'<text x="{x(bpp)}" y="{_HEIGHT + 18}" text-anchor="middle">{bpp:g}</text>'
            )
    middle = f'x="{_WIDTH / 2}" y="{_HEIGHT + 38}" text-anchor="middle"'
    parts.append(f"<text {middle}>bits per pixel</text>")
    # An svg within the svg cuts off what leaves the area.
    parts.append(f'<svg width="{_WIDTH}" height="{_HEIGHT}">')
    for name, each in points.items():
        line = " ".join(f"{x(bpp)},{y(value)}" for bpp, value in each)
        parts.append(_line(name, look[name], line))
        for bpp, value in each:
            label = f"{codec_name(name)}: {bpp:.3f} bpp, {value:.2f}"
            parts.append(_mark(look[name], x(bpp), y(value), label))
    parts.append("</svg>")
    return parts


def legend(look: Mapping[str, int]) -> str:
    """Name the curves, each beside a piece of it."""
    items = [
        f'<li><svg viewBox="0 0 36 16" aria-hidden="true">{_line(name, number, "0,8 36,8")}'
        f"{_mark(number, 18, 8)}</svg>{escape(codec_name(name))}</li>"
        for name, number in look.items()
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def time_bars(rows: Sequence[Row]) -> str:
    """Draw medians and their ranges from a CSV of `speed`, all on one scale from zero."""
    longest = max(float(row["max_s"]) for row in rows)
    x = _scale(0, longest, _BARS)
    parts = []
    for number, row in enumerate(rows):
        top = number * _ROW
        low, median, high = (float(row[name]) for name in ("min_s", "median_s", "max_s"))
        parts += [
            f'<text x="-8" y="{top + 18}" text-anchor="end">'
            f"{escape(row['codec'])}, {escape(row['what'])}</text>",
            f'<rect class="bar" y="{top + 5}" width="{x(median)}" height="{_ROW - 8}"/>',
            f'<line class="spread" x1="{x(low)}" x2="{x(high)}" y1="{top + 14}" y2="{top + 14}"/>',
            f'<text x="{x(high) + 8}" y="{top + 18}">{1000 * median:.0f} ms</text>',
        ]
    return _svg(
        "Times as bars", f"{-_LABELS} 0 {_LABELS + _BARS + _VALUES} {len(rows) * _ROW}", parts
    )


def _svg(label: str, view: str, parts: Sequence[str]) -> str:
    content = "\n".join(parts)
    return (
        f'<svg class="chart" viewBox="{view}" role="img" aria-label="{escape(label)}">\n'
        f"{content}</svg>"
    )


def _line(name: str, number: int, points: str) -> str:
    published = " published" * is_published(name)
    return f'<polyline class="curve{published}" stroke="{_colour(number)}" points="{points}"/>'


def _mark(number: int, x: float, y: float, label: str = "") -> str:
    shape = _SHAPES[number % len(_SHAPES)]
    title = f"<title>{escape(label)}</title>" if label else ""
    return (
        f'<path d="{shape}" fill="{_colour(number)}" transform="translate({x} {y})">{title}</path>'
    )


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _scale(low: float, high: float, length: int) -> Callable[[float], float]:
    """Return the place of a value on an axis from `low` at 0 to `high` at `length`."""
    return lambda value: round((value - low) / (high - low) * length, 1)


def _ticks(low: float, high: float) -> list[float]:
    """Return a few round values, the first not above `low` and the last not below `high`."""
    rough = (high - low) / 7 or 1.0
    power = 10 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(number * step, 10) for number in range(first, last + 1)]
