"""Small CSV files in, tables out, as Markdown or for a page; shared by all benchmarks.

Every table says underneath what it shows: anchor, average, colour space, processor.
"""

import csv
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vqcodec.commands.page import Table

Row = dict[str, str]
PUBLISHED = "published/"
METRIC_NAMES = {
    "psnr": "PSNR", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2",
    "cvvdp": "ColorVideoVDP", "haarpsi": "HaarPSI", "vif": "VIF",
}  # fmt: skip

GRADIENTS = {"plain": "", "dreg": ", DReG gradient", "resampling": ", gradient of 8 drawn samples"}
# Test NLL of the IWAE paper's table 1 by stochastic layers and k.
PAPER_NLL = {
    ("1", "1"): 86.76, ("1", "5"): 85.54, ("1", "50"): 84.78,
    ("2", "1"): 85.33, ("2", "5"): 83.89, ("2", "50"): 82.90,
}  # fmt: skip

# Test errors of Kingma et al. 2014, table 1, in per cent; their classifier of M1's latents is a
# transductive SVM.
PAPER_SEMI = {
    ("m1", "100"): "11.82 ± 0.25", ("m1", "1000"): "4.24 ± 0.07",
    ("m2", "100"): "3.33 ± 0.14", ("m2", "1000"): "2.40 ± 0.02",
}  # fmt: skip
SEMI_MODELS = {"m1": "M1, labels spread over neighbours", "m2": "M1+M2"}


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


def with_caption(table: Table) -> str:
    """Lay out a table in Markdown with its caption underneath."""
    return f"{markdown(table.header, table.rows)}\n\n{table.caption}"


def about_images(row: Row) -> str:
    """Name the set of images of a row and how many they are."""
    return f"{row['dataset']} ({row['images']} images)"


def codec_name(name: str) -> str:
    """Call a codec by its name, a published curve as published."""
    return f"{name.removeprefix(PUBLISHED)} (published)" if is_published(name) else name


def is_published(name: str) -> bool:
    """Tell a published curve from a measured codec."""
    return name.startswith(PUBLISHED)


def quality_table(rows: Sequence[Row]) -> str:
    """Lay out what each quality of vqcodec gives, from a CSV of curves of `summary`."""
    digits = {"bpp": 3, "psnr": 2, "ms_ssim": 4, "ssimulacra2": 1}
    body = [
        [
            row["setting"],
            *(
                f"{float(row[of]):.{places}f}" if row.get(of) else "–"
                for of, places in digits.items()
            ),
        ]
        for row in rows
        if row["codec"] == "vqcodec"
    ]
    head = ["quality", "bits per pixel", "PSNR (dB)", "MS-SSIM", "SSIMULACRA2"]
    return "\n".join(
        [
            markdown(head, body),
            "",
            f"{about_images(rows[0])}, RGB, bytes of whole files; means over the images.",
        ]
    )


def preview_table(rows: Sequence[Row]) -> str:
    """Lay out one table a metric: a line a codec, a column a budget, from a CSV of means."""
    budgets = sorted({int(row["budget"]) for row in rows if row["budget"]})
    columns = ["", *(str(budget) for budget in budgets)]  # the first for the hashes
    names = list(dict.fromkeys(row["codec"] for row in rows))
    cells = {(row["codec"], row["budget"]): row for row in rows}
    by_metric = []
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
        by_metric.append(markdown(header, body))
    return "\n\n".join(
        [
            *by_metric,
            f"{about_images(rows[0])}, shown at 256 pixels (longer side), RGB, bytes of whole "
            "files; means over the images. Scale and quality are searched for each image and "
            "budget, for the best PSNR. Without a figure where not all images fit: then "
            "the number that do.",
        ]
    )


def density_table(rows: Sequence[Row]) -> str:
    """Lay out mean bits per dimension, from a CSV of `density`."""
    first = rows[0]
    spaces = Counter(row["space"] for row in rows if row["space"] not in ("", "RGB"))
    columns = {
        "png": "PNG (Pillow, optimised)",
        "webp": "WebP lossless (method 6, quality 100)",
        "jxl": "JPEG XL lossless (effort 7)",
        "stored_elbo": "density model, ELBO of the RGB values",
        "recorded_jxl": "JPEG XL lossless of the YCC behind them",
        "elbo": "density model, ELBO",
        "iwae": f"density model, IWAE-{first['samples']}",
    }
    if not spaces:
        del columns["stored_elbo"], columns["recorded_jxl"]
    known = ", ".join(f"{space} ({count} images)" for space, count in spaces.most_common())
    behind = f" The YCC behind RGB values: {known}." if spaces else ""
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
            f"bounds of the density model, means over the images.{behind}",
        ]
    )


def natural_tables(rows: Sequence[Row]) -> str:
    """Lay out means by rate of both looks and a rival, likeness and texture, from `natural`."""
    groups: dict[tuple[float, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((float(row["rate"]), row["picture"]), []).append(row)
    measured = sorted(groups.items(), key=lambda group: group[0][0])
    likeness = {"bpp": 3, "psnr": 2, "ssimulacra2": 1, "cvvdp": 2, "features": 4}
    shown = {name: digits for name, digits in likeness.items() if any(r[name] for r in rows)}
    names = METRIC_NAMES | {"bpp": "bits per pixel", "features": "features"}
    alike = [
        [f"{rate:g}", picture, *(_mean(group, *column) for column in shown.items()), _more(group)]
        for (rate, picture), group in measured
        if any(row["bytes"] for row in group)
    ]
    textures = {
        "energy_1": 3, "energy_2": 3, "kurtosis_1": 2, "kurtosis_2": 2,
        "pattern_8": 2, "ripple_8": 3, "pattern_2": 2, "ripple_2": 3,
    }  # fmt: skip
    drawn = [
        [f"{rate:g}", picture, *(_mean(group, *column) for column in textures.items())]
        for (rate, picture), group in measured
    ]
    images = len({row["image"] for row in rows})
    return "\n".join(
        [
            markdown(["rate", "", *(names[n] for n in shown), "AVIF needs"], alike),
            "",
            markdown(["rate", "", *(name.replace("_", " ") for name in textures)], drawn),
            "",
            f"{rows[0]['dataset']} ({images} images), RGB, bytes of whole files; means over the "
            "images. AVIF needs: how many more bytes than the file for the same distance of "
            "features, geometric mean. Energy and kurtosis of bands of luma, 1 the finest octave, "
            "in the original's; pattern in grey levels and ripple, of 8 and of 2 pixels. Without "
            "a figure where not all images have one: then the number that do.",
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


def semi_table(rows: Sequence[Row]) -> str:
    """Lay out test errors beside those of Kingma et al. 2014, from the CSV of `train.semi`."""
    errors: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        errors.setdefault((row["model"], row["labels"]), []).append(float(row["error"]))
    body = []
    for key in sorted(errors, key=lambda key: (key[0], int(key[1]))):
        model, labels = key
        mean = f"{statistics.mean(errors[key]):.2f}"
        if len(errors[key]) > 1:
            mean += f" ± {statistics.stdev(errors[key]):.2f}"
        draws = str(len(errors[key]))
        body.append([SEMI_MODELS[model], labels, mean, draws, PAPER_SEMI.get(key, "–")])
    header = ["", "labels", "test error (%)", "draws", "paper (%)"]
    return "\n".join(
        [
            markdown(header, body),
            "",
            f"MNIST, gray, {rows[0]['images']} test images; mean and standard deviation over "
            "draws of the labels, as many of each class. Paper: Kingma et al. 2014, where M1's "
            "latents go to a transductive SVM.",
        ]
    )


def _preview_cell(row: Row | None, metric: str, digits: int) -> str:
    if row is None:
        return ""
    if not row[metric]:
        return f"– ({row['images_fitted']})"
    figure = f"{float(row[metric]):.{digits}f}"
    return figure if row["budget"] else f"{figure} ({float(row['bytes']):.0f} bytes)"


def _mean(rows: Sequence[Row], column: str, digits: int) -> str:
    """Return the mean of a column, or how many rows have a figure if not all do."""
    values = [float(row[column]) for row in rows if row[column]]
    if len(values) < len(rows):
        return f"– ({len(values)})"
    return f"{statistics.mean(values):.{digits}f}"


def _more(rows: Sequence[Row]) -> str:
    """Return how many more bytes the rival needs, in per cent, or as `_mean`."""
    values = [float(row["rival_bytes"]) / int(row["bytes"]) for row in rows if row["rival_bytes"]]
    if len(values) < len(rows):
        return f"– ({len(values)})" if values else ""
    return f"{100 * (statistics.geometric_mean(values) - 1):+.0f} %"
