"""Tables of BD-rates, as Markdown or for a page, from the CSV of `summary`."""

from collections.abc import Iterable, Sequence

from benchmarks.tables import (
    METRIC_NAMES,
    Row,
    about_images,
    codec_name,
    is_published,
    markdown,
    with_caption,
)  # fmt: skip
from vqcodec.commands.page import Table

TRAINED = "†"


def bd_rate_table(rows: Sequence[Row]) -> str:
    """Lay out a table a metric, one line a measured codec, from a CSV of `summary`."""
    rows = [row for row in rows if not (is_published(row["codec"]) or is_published(row["anchor"]))]
    names = list(dict.fromkeys(row[key] for row in rows for key in ("anchor", "codec")))
    cells = {(row["metric"], row["anchor"], row["codec"]): row for row in rows}
    sections: list[str] = []
    names_shown: list[str] = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        anchors = list(dict.fromkeys(row["anchor"] for row in rows if row["metric"] == metric))
        body = [
            [
                _marked(name, metric, rows),
                *(_bd_cell(name, anchor, cells.get((metric, anchor, name))) for anchor in anchors),
            ]
            for name in names
        ]
        names_shown += [line[0] for line in body]
        header = [METRIC_NAMES[metric], *(f"against {anchor}" for anchor in anchors)]
        sections += [markdown(header, body), ""]
    caption = f"{_bd_caption(rows[0])} In brackets the worst single image."
    sections.append(f"{caption}{_footnote(names_shown)}")
    refused = [f"- {row['note']}" for row in rows if row["note"]]
    if refused:
        sections += ["No figure where the curves do not allow one:", "", *refused]
    return "\n".join(sections)


def ladder_table(rows: Sequence[Row]) -> str:
    """Lay out the PSNR of all codecs against the one published anchor, most bits first."""
    of_ladder = [row for row in rows if is_published(row["anchor"]) and row["metric"] == "psnr"]
    rungs = [row for row in of_ladder if row["bd_rate"]]
    rungs.sort(key=lambda row: -float(row["bd_rate"]))
    body = [
        [
            _marked(row["codec"], "psnr", rungs),
            _percent(row["bd_rate"]),
            f"{row['low']}–{row['high']} dB",
        ]
        for row in rungs
    ]
    anchor = codec_name(of_ladder[0]["anchor"])
    header = ["PSNR", f"against {anchor}", "overlap"]
    note = _footnote(line[0] for line in body)
    if note:
        note += " Published codecs bear no mark, whatever they were trained for."
    return f"{markdown(header, body)}\n\n{_bd_caption(of_ladder[0])}{note}"


def bd_rate_details(rows: Sequence[Row]) -> str:
    """Lay out one table a metric and anchor, with overlaps and single images."""
    return "\n\n".join(
        f"### {table.title}\n\n{with_caption(table)}" for table in bd_rate_tables(rows)
    )


def bd_rate_tables(rows: Sequence[Row]) -> list[Table]:
    """Make the tables of `bd_rate_details`."""
    result = []
    for metric, anchor in dict.fromkeys((row["metric"], row["anchor"]) for row in rows):
        chosen = [row for row in rows if (row["metric"], row["anchor"]) == (metric, anchor)]
        body = [
            [
                _marked(row["codec"], metric, chosen),
                _percent(row.get("bd_rate")) if row.get("bd_rate") else row["note"],
                f"{row['low']}–{row['high']} {row['unit']}".rstrip() if row.get("low") else "–",
                _percent(row.get("image_mean")),
                _percent(row.get("image_worst")),
                row.get("worst_image", "–"),
                row.get("images_compared", "–"),
            ]
            for row in chosen
        ]
        header = ["codec", "BD-rate", "overlap", "mean of images", "worst", "image", "images"]
        title = f"{METRIC_NAMES[metric]} against {codec_name(anchor)}"
        caption = f"{title}: {_bd_caption(chosen[0])}{_footnote(line[0] for line in body)}"
        result.append(Table(title, header, body, caption))
    return result


def _marked(name: str, metric: str, rows: Sequence[Row]) -> str:
    """Call a codec by its name, with a mark if its network was trained for the metric."""
    # Older CSVs lack the column.
    trained = any(
        row["metric"] == metric and name in row.get("trained", "").split() for row in rows
    )
    return codec_name(name) + TRAINED * trained


def _footnote(names: Iterable[str]) -> str:
    marked = any(name.endswith(TRAINED) for name in names)
    return f" {TRAINED} Trained for this very metric." if marked else ""


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
        f"BD-rate, {about_images(row)}, RGB, bytes of whole files; curves of the means over the "
        "images (MS-SSIM then in dB), PCHIP, the common range within "
        f"{row['min_bpp']}–{row['max_bpp']} bpp, nothing extrapolated. "
        "Negative is fewer bits at equal quality."
    )
