"""Tables of times and memory, as Markdown or for a page, from the CSVs of `speed` and `sweep`."""

from collections.abc import Callable, Sequence

from benchmarks.tables import Row, markdown, with_caption
from vqcodec.commands.page import Table

SWEEP_STAGES = (
    "encode: read", "encode: analysis", "encode: code", "encode: write",
    "decode: read", "decode: entropy", "decode: synthesis", "decode: write",
)  # fmt: skip


def speed_table(rows: Sequence[Row]) -> str:
    """Lay out medians in milliseconds, from a CSV of `speed`."""
    return with_caption(speed(rows))


def speed(rows: Sequence[Row]) -> Table:
    """Make the table of `speed_table`."""
    body = [
        [
            row["what"],
            row["codec"],
            f"{1000 * float(row['median_s']):.0f}",
            f"{1000 * float(row['min_s']):.0f}–{1000 * float(row['max_s']):.0f}",
            f"{100 * float(row['share']):.0f} %" if row["share"] else "",
        ]
        for row in rows
    ]
    first = rows[0]
    return Table(
        "Speed",
        ["", "codec", "median (ms)", "range (ms)", "share"],
        body,
        f"{first['width']}×{first['height']} pixels on {first['machine']}, {first['threads']} "
        f"threads, model loaded, {first['rounds']} rounds interleaved; {first['versions']}. "
        "Start-up is a fresh process each time.",
    )


def sweep_tables(rows: Sequence[Row]) -> str:
    """Lay out throughput, memory, stages of vqcodec's time and start-up, from a CSV of `sweep`."""
    measured = [row for row in rows if row["megapixels"]]
    lines = list(dict.fromkeys((row["megapixels"], row["threads"]) for row in measured))
    names = list(dict.fromkeys(row["codec"] for row in measured))
    cells = {tuple(row[key] for key in ("megapixels", "threads", "codec", "what")): row
             for row in measured}  # fmt: skip

    def table(title: str, columns: Sequence[tuple[str, str]], cell: Callable[[Row], str]) -> str:
        header = [title, "threads", *(f"{name} {what}" for name, what in columns)]
        keys = [[(*line, *column) for column in columns] for line in lines]
        body = [
            [*line, *(cell(cells[key]) if key in cells else "–" for key in of_line)]
            for line, of_line in zip(lines, keys, strict=True)
        ]
        return markdown(header, body)

    both = [(name, what) for what in ("encode", "decode") for name in names]
    first = measured[0]
    result = [
        table("Mpixel", both, _throughput),
        f"Mpixel/s, medians of {first['rounds']} rounds in turns; in brackets how many times as "
        "long vqcodec takes. The files are in memory, the models loaded.",
        table("Mpixel", both, _memory),
        "Peak memory of a fresh process for each call, in MB.",
    ]
    starts = [row for row in rows if not row["megapixels"]]
    if starts:
        stages = [("vqcodec", stage) for stage in SWEEP_STAGES]
        result += [
            table("Mpixel", stages, lambda row: f"{1000 * float(row['median_s']):.1f}"),
            "Milliseconds of each part; code is all of the encoder that follows the analysis, "
            "entropy includes the prior, pictures are read and written as PNG.",
            markdown(
                ["command line", "median (ms)"],
                [[row["what"], f"{1000 * float(row['median_s']):.0f}"] for row in starts],
            ),
            "From the start of a fresh process to its end, on an image of 64×64 pixels.",
        ]
    about = (
        f"{first['machine']}; the network of vqcodec on {first['device']}; threads are those of "
        f"vqcodec, AVIF and JPEG XL, JPEG and WebP have one; {first['versions']}."
    )
    return "\n\n".join([*result, about])


def _throughput(row: Row) -> str:
    figure = f"{float(row['mpixel_s']):.2f}"
    return f"{figure} ({float(row['vqcodec_ratio']):.1f}×)" if row["vqcodec_ratio"] else figure


def _memory(row: Row) -> str:
    if not row["peak_mb"]:
        return "–"
    figure = f"{float(row['peak_mb']):.0f}"
    return f"{figure} + {float(row['gpu_mb']):.0f} on the GPU" if row["gpu_mb"] else figure
