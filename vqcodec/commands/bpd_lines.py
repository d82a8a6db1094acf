"""What `vqcodec bpd` prints of an image or of several: text, CSV, a JSON object a line."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from typing import Any

Facts = dict[str, Any]


def text_lines(facts: Facts) -> list[str]:
    """Return the lines about an image."""
    head = f"{facts['file']}  {facts['width']}x{facts['height']}"
    if "levels" in facts:
        levels = facts["levels"]
        rows = [(f"level {number}", f"{rate:.4f}") for number, rate in enumerate(levels)]
        rows += [("all levels", f"{sum(levels):.4f}"), ("the stream", f"{facts['stream']:.4f}")]
        return [f"{head}, quality {facts['quality']}, bits per pixel", *_lines(rows)]
    scales = " + ".join(f"{kl:.3f}" for kl in facts["kl_of_scales"])
    rows = [
        ("ELBO", _with_error(facts["elbo"], facts["elbo_error"])),
        (f"IWAE-{facts['samples']}", _with_error(facts["iwae"], facts["iwae_error"])),
        *((name, f"{rate:.3f}") for name, rate in facts["files"].items() if rate is not None),
        ("pixels", f"{facts['reconstruction']:.3f}"),
        ("KL", f"{scales}, coarse to fine"),
    ]
    if "map" in facts:
        rows.append(("map", f"black {facts['map']['low']:.2f}, yellow {facts['map']['high']:.2f}"))
    as_what = "" if facts["space"] == "RGB" else f", as the YCC of {facts['space']}"
    return [f"{head}{as_what}, bits per dimension", *_lines(rows)]


def json_lines(facts: Facts) -> list[str]:
    """Return the line with everything about an image."""
    return [json.dumps(facts)]


class CsvLines:
    """The rows of images, the first under a header: what JSON has, a column for each number."""

    def __init__(self) -> None:
        self._fields: list[str] = []

    def __call__(self, facts: Facts) -> list[str]:
        """Return the row of an image; what it has none of stays empty."""
        row: dict[str, Any] = {}
        for name, value in facts.items():
            if name in ("notes", "kl", "gaps"):  # said on stderr; layers one by one
                continue
            if isinstance(value, dict):
                row |= {f"{name}_{key}": each for key, each in value.items()}
            elif isinstance(value, list):
                row |= {f"{name}_{number}": each for number, each in enumerate(value)}
            else:
                row[name] = value
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self._fields or list(row), lineterminator="\n")
        if not self._fields:
            self._fields = list(row)
            writer.writeheader()
        writer.writerow(row)
        return stream.getvalue().splitlines()


def mean_line(images: Sequence[Facts]) -> str:
    """Return the mean over two images or more, each counting alike, and its standard error."""
    if "levels" in images[0]:
        unit, values = "bits per pixel", {"stream": [facts["stream"] for facts in images]}
    else:
        unit, values = "bits per dimension", {"ELBO": [facts["elbo"] for facts in images]}
        values[f"IWAE-{images[0]['samples']}"] = [facts["iwae"] for facts in images]
        for name in images[0]["files"]:
            values[name] = [facts["files"][name] for facts in images]
    parts = []
    for name, numbers in values.items():
        if None not in numbers:  # a mean over some of the images is none to compare
            error = statistics.stdev(numbers) / len(numbers) ** 0.5
            parts.append(f"{name} {_with_error(statistics.mean(numbers), error)}")
    return f"mean of {len(images)} images, {unit}: {', '.join(parts)}"


def _lines(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"  {label:<10} {value}" for label, value in rows]


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
