"""Small CSV files in, tables out, as Markdown or for a page; shared by all benchmarks.

Every table says underneath what it shows: anchor, average, colour space, processor.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from vqcodec.commands.page import Table

Row = dict[str, str]
PUBLISHED = "published/"
METRIC_NAMES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}

GRADIENTS = {"plain": "", "dreg": ", DReG gradient", "resampling": ", gradient of 8 drawn samples"}
# Test NLL of the IWAE paper's table 1 by stochastic layers and k.
PAPER_NLL = {
    ("1", "1"): 86.76, ("1", "5"): 85.54, ("1", "50"): 84.78,
    ("2", "1"): 85.33, ("2", "5"): 83.89, ("2", "50"): 82.90,
}  # fmt: skip
SWEEP_PARTS = (
    "encode: read", "encode: analysis", "encode: code", "encode: write",
    "decode: read", "decode: entropy", "decode: synthesis", "decode: write",
)  # fmt: skip


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
    """Lay out a table a metric, one line a measured codec, from a CSV of `summary`."""
    own = [row for row in rows if not (is_published(row["codec"]) or is_published(row["anchor"]))]
    names = list(dict.fromkeys(row[key] for row in own for key in ("anchor", "codec")))
    cells = {(row["metric"], row["anchor"], row["codec"]): row for row in own}
    parts = []
    for metric in dict.fromkeys(row["metric"] for row in own):
        anchors = list(dict.fromkeys(row["anchor"] for row in own if row["metric"] == metric))
        body = [
            [
                name,
                *(_bd_cell(name, anchor, cells.get((metric, anchor, name))) for anchor in anchors),
            ]
            for name in names
        ]
        header = [METRIC_NAMES[metric], *(f"against {anchor}" for anchor in anchors)]
        parts += [markdown(header, body), ""]
    parts.append(f"{_bd_caption(own[0])} In brackets the worst single image.")
    refused = [f"- {row['note']}" for row in own if row["note"]]
    if refused:
        parts += ["No figure where the curves do not allow one:", "", *refused]
    return "\n".join(parts)


def ladder_table(rows: Sequence[Row]) -> str:
    """Lay out the PSNR of all codecs against the one published anchor, most bits first."""
    of_ladder = [row for row in rows if is_published(row["anchor"]) and row["metric"] == "psnr"]
    rungs = [row for row in of_ladder if row["bd_rate"]]
    rungs.sort(key=lambda row: -float(row["bd_rate"]))
    body = [
        [codec_name(row["codec"]), _percent(row["bd_rate"]), f"{row['low']}–{row['high']} dB"]
        for row in rungs
    ]
    anchor = codec_name(of_ladder[0]["anchor"])
    header = ["PSNR", f"against {anchor}", "overlap"]
    return f"{markdown(header, body)}\n\n{_bd_caption(of_ladder[0])}"


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


def preview_table(rows: Sequence[Row]) -> str:
    """Lay out one table a metric: a line a codec, a column a budget, from a CSV of means."""
    budgets = sorted({int(row["budget"]) for row in rows if row["budget"]})
    columns = ["", *(str(budget) for budget in budgets)]  # the first for the hashes
    names = list(dict.fromkeys(row["codec"] for row in rows))
    cells = {(row["codec"], row["budget"]): row for row in rows}
    parts = []
    for metric, digits in (("psnr", 2), ("ms_ssim", 3)):
        if not any(row[metric] for row in rows):
            continue
        body = [
            [
                name,
                *(_preview_cell(cells.get((name, column)), metric, digits) for column in columns),
            ]
            for name in names
        ]
        header = [METRIC_NAMES[metric], "own size", *(f"{budget} bytes" for budget in budgets)]
        parts.append(markdown(header, body))
    return "\n\n".join(
        [
            *parts,
            f"{_dataset(rows[0])}, shown at 256 pixels (longer side), RGB, bytes of whole files; "
            "means over the images. Scale and quality are searched for each image and budget, for "
            "the best PSNR. Without a figure where not all images fit: then the number that do.",
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


def sweep_tables(rows: Sequence[Row]) -> str:
    """Lay out throughput, memory, parts of vqcodec's time and start-up, from a CSV of `sweep`."""
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
        parts = [("vqcodec", part) for part in SWEEP_PARTS]
        result += [
            table("Mpixel", parts, lambda row: f"{1000 * float(row['median_s']):.1f}"),
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


def density_table(rows: Sequence[Row]) -> str:
    """Lay out mean bits per dimension, from a CSV of `density`."""
    first = rows[0]
    columns = {
        "png": "PNG (Pillow, optimised)",
        "webp": "WebP lossless (method 6, quality 100)",
        "jxl": "JPEG XL lossless (effort 7)",
        "elbo": "density model, ELBO",
        "iwae": f"density model, IWAE-{first['samples']}",
    }
    body = []
    for column, name in columns.items():
        values = [float(row[column]) for row in rows if row[column]]
        if len(values) == len(rows):
            worst = f"{min(values):.2f}–{max(values):.2f}"
            body.append([name, f"{sum(values) / len(values):.3f}", worst])
    return "\n".join(
        [
            markdown(["", "bits per dimension", "single images"], body),
            "",
            f"{first['dataset']} ({len(rows)} images), RGB, whole images; bytes of whole files, "
            "bounds of the density model, means over the images.",
        ]
    )


def digits_table(rows: Sequence[Row]) -> str:
    """Lay out test NLL beside the IWAE paper's, from the CSV that `train.nll` writes."""
    body = []
    for row in sorted(rows, key=lambda row: (row["layers"], int(row["k"]), row["estimator"])):
        paper = PAPER_NLL.get((row["layers"], row["k"]))
        body.append(
            [
                f"{row['layers']}, k = {row['k']}{GRADIENTS[row['estimator']]}",
                f"{float(row['nll']):.2f} ± {float(row['standard_error']):.2f}",
                f"{float(row['passes']):g}" + (f", after {row['after']}" if row["after"] else ""),
                f"{paper:.2f}" if paper else "–",
            ]
        )
    first = rows[0]
    header = ["stochastic layers", "test NLL (nats)", "passes", "paper, 3280 passes"]
    return "\n".join(
        [
            markdown(header, body),
            "",
            f"MNIST, stochastic binarisation; −L_k with k = {first['samples']}, {first['images']} "
            "test images, ± their standard error. Paper: Burda, Grosse & Salakhutdinov 2016.",
        ]
    )


def _throughput(row: Row) -> str:
    figure = f"{float(row['mpixel_s']):.2f}"
    return f"{figure} ({float(row['vqcodec_ratio']):.1f}×)" if row["vqcodec_ratio"] else figure


def _memory(row: Row) -> str:
    if not row["peak_mb"]:
        return "–"
    figure = f"{float(row['peak_mb']):.0f}"
    return f"{figure} + {float(row['gpu_mb']):.0f} on the GPU" if row["gpu_mb"] else figure


def codec_name(name: str) -> str:
    """Call a codec by its name, a published curve as published."""
    return f"{name.removeprefix(PUBLISHED)} (published)" if is_published(name) else name


def is_published(name: str) -> bool:
    """Tell a published curve from a measured codec."""
    return name.startswith(PUBLISHED)


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


def _preview_cell(row: Row | None, metric: str, digits: int) -> str:
    if row is None:
        return ""
    if not row[metric]:
        return f"– ({row['images_fitted']})"
    figure = f"{float(row[metric]):.{digits}f}"
    return figure if row["budget"] else f"{figure} ({float(row['bytes']):.0f} bytes)"


def _bd_caption(row: Row) -> str:
    return (
        f"BD-rate, {_dataset(row)}, RGB, bytes of whole files; curves of the means over the images "
        f"(MS-SSIM then in dB), PCHIP, the common range within {row['min_bpp']}–{row['max_bpp']} "
        "bpp, nothing extrapolated. Negative is fewer bits at equal quality."
    )


def _dataset(row: Row) -> str:
    return f"{row['dataset']} ({row['images']} images)"
