"""Small CSV files in, tables out, as Markdown or for a page; shared by all benchmarks.

Every table says underneath what it shows: anchor, average, colour space, processor.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from vqcodec.page import Table

Row = dict[str, str]
METRIC_NAMES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}


def read_csv(path: Path) -> list[Row]:
    """Read the rows of a CSV with a header line."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, fields: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows under a header line; columns that a row lacks stay empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table: first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bd_rate_table(rows: Sequence[Row]) -> str:
    """Lay out one line a codec, one column a metric and anchor, from a CSV of `summary`."""
    columns = list(dict.fromkeys((row["metric"], row["anchor"]) for row in rows))
    names = list(dict.fromkeys(row[key] for row in rows for key in ("anchor", "codec")))
    cells = {(row["codec"], row["metric"], row["anchor"]): row for row in rows}
    body = [
        [codec_name(name), *(_bd_cell(name, anchor, cells.get((name, metric, anchor)))
                             for metric, anchor in columns)]
        for name in names
    ]  # fmt: skip
    header = ["codec", *(f"{METRIC_NAMES[m]} against {codec_name(a)}" for m, a in columns)]
    refused = [f"- {row['note']}" for row in rows if row["note"]]
    return "\n".join(
        [
            markdown(header, body),
            "",
            f"{_bd_caption(rows[0])} In brackets the worst single image.",
            *(["No figure where the curves do not allow one:", "", *refused] if refused else []),
        ]
    )


def bd_rate_details(rows: Sequence[Row]) -> str:
    """Lay out one table a metric and anchor, with overlaps and single images."""
    return "\n\n".join(
        f"### {each.title}\n\n{_with_caption(each)}" for each in bd_rate_tables(rows)
    )


def bd_rate_tables(rows: Sequence[Row]) -> list[Table]:
    """Make the tables of `bd_rate_details`."""
    result = []
    for metric, anchor in dict.fromkeys((row["metric"], row["anchor"]) for row in rows):
        chosen = [row for row in rows if (row["metric"], row["anchor"]) == (metric, anchor)]
        body = [
            [
                codec_name(row["codec"]),
                _percent(row.get("bd_rate")) if row.get("bd_rate") else row["note"],
                f"{row['low']}–{row['high']} {row['unit']}" if row.get("low") else "–",
                _percent(row.get("image_mean")),
                _percent(row.get("image_worst")),
                row.get("worst_image", "–"),
                row.get("images_compared", "–"),
            ]
            for row in chosen
        ]
        header = ["codec", "BD-rate", "overlap", "mean of images", "worst", "image", "images"]
        title = f"{METRIC_NAMES[metric]} against {codec_name(anchor)}"
        result.append(Table(title, header, body, f"{title}: {_bd_caption(chosen[0])}"))
    return result


def quality_table(rows: Sequence[Row]) -> str:
    """Lay out what each quality of vqcodec gives, from a CSV of curves of `summary`."""
    own = [row for row in rows if row["codec"] == "vqcodec"]
    body = [
        [
            row["setting"],
            f"{float(row['bpp']):.3f}",
            f"{float(row['psnr']):.2f}",
            f"{float(row['ms_ssim']):.4f}" if row["ms_ssim"] else "–",
        ]
        for row in own
    ]
    return "\n".join(
        [
            markdown(["quality", "bits per pixel", "PSNR (dB)", "MS-SSIM"], body),
            "",
            f"{_dataset(rows[0])}, RGB, bytes of whole files; means over the images.",
        ]
    )


def speed_table(rows: Sequence[Row]) -> str:
    """Lay out medians in milliseconds, from a CSV of `speed`."""
    return _with_caption(speed(rows))


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


def codec_name(name: str) -> str:
    """Call a codec by its name, a published curve as published."""
    published = name.removeprefix("published/")
    return name if published == name else f"{published} (published)"


def _with_caption(table: Table) -> str:
    return f"{markdown(table.header, table.rows)}\n\n{table.caption}"


def _percent(text: str | None) -> str:
    if not text:
        return "–"
    return f"{float(text):+.1f} %".replace("-", "−")


def _bd_cell(codec: str, anchor: str, row: Row | None) -> str:
    if codec == anchor:
        return "0"
    if row is None or not row["bd_rate"]:
        return "–"
    if not row["image_worst"]:
        return _percent(row["bd_rate"])
    count, images = row["images_compared"], row["images"]
    fewer = f", {count} of {images} images" if count != images else ""
    return f"{_percent(row['bd_rate'])} ({_percent(row['image_worst'])}{fewer})"


def _bd_caption(row: Row) -> str:
    return (
        f"BD-rate, {_dataset(row)}, RGB, bytes of whole files; curves of the means over the images "
        f"(MS-SSIM then in dB), PCHIP, the common range within {row['min_bpp']}–{row['max_bpp']} "
        "bpp, nothing extrapolated. Negative is fewer bits at equal quality."
    )


def _dataset(row: Row) -> str:
    return f"{row['dataset']} ({row['images']} images)"
