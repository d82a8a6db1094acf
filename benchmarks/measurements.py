"""Reading the CSV of `benchmarks.rd`: checks, grouping by codec, means over the images."""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.curves import METRICS, Curve, curve, to_unit
from benchmarks.tables import METRIC_NAMES

# What a metric can be at all.
_POSSIBLE = {"ms_ssim": (0, 1), "cvvdp": (-math.inf, 10), "haarpsi": (0, 1), "vif": (0, math.inf)}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What `summary` needs of one row of `benchmarks.rd`."""

    dataset: str
    image: str
    codec: str
    version: str
    setting: float
    bpp: float
    metrics: dict[str, float]
    """Raw values of the metrics that were measured; MS-SSIM on its own scale of 0 to 1."""


def read_measurements(path: Path) -> list[Measurement]:
    """Read a CSV of `benchmarks.rd`, checking that its columns mean what they say.

    Raises:
        ValueError: a value is impossible, a row is there twice, or versions of a codec are mixed.
    """
    versions: dict[str, str] = {}
    seen: set[tuple[str, str, str]] = set()
    result = []
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            where = f"{path}, line {number}"
            try:
                measured = _measurement(row)
                key = (row["image"], row["codec"], row["setting"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{where}: {error}") from error
            if key in seen:
                raise ValueError(f"{where}: measured twice")
            if versions.setdefault(measured.codec, measured.version) != measured.version:
                raise ValueError(f"{where}: another version of {measured.codec}")
            seen.add(key)
            result.append(measured)
    if not result:
        raise ValueError(f"{path}: no measurements")
    return result


def _measurement(row: dict[str, str]) -> Measurement:
    bpp = float(row["bpp"])
    exact = 8 * int(row["bytes"]) / (int(row["width"]) * int(row["height"]))
    if abs(bpp - exact) > 1e-5:
        raise ValueError(f"bpp is {bpp}, but the bytes say {exact:.6f}")
    # Files from before a metric was known lack its column.
    values = {metric: float(row[metric]) for metric in METRICS if row.get(metric)}
    for metric, (low, high) in _POSSIBLE.items():
        if metric in values and not low <= values[metric] <= high:
            raise ValueError(f"{METRIC_NAMES[metric]} is {values[metric]}")
    if values["psnr"] < 3:
        raise ValueError(f"PSNR is {values['psnr']}")
    return Measurement(
        row["dataset"], row["image"], row["codec"], row["codec_version"], float(row["setting"]),
        bpp, values,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CodecPoints:
    """All that was measured of one codec."""

    codec: str
    by_setting: dict[float, dict[str, Measurement]]
    """setting -> image -> measurement, settings rising."""

    @property
    def images(self) -> list[str]:
        """Names of the images, sorted; the same at every setting."""
        return sorted(next(iter(self.by_setting.values())))

    @property
    def version(self) -> str:
        """The version that was measured."""
        return next(m.version for images in self.by_setting.values() for m in images.values())

    def has(self, metric: str) -> bool:
        """Whether that metric was measured on every image at every setting."""
        return all(
            metric in m.metrics for images in self.by_setting.values() for m in images.values()
        )

    def of_image(self, metric: str, image: str) -> Curve:
        """The curve of a single image."""
        rows = [images[image] for images in self.by_setting.values()]
        name = f"{self.codec} on {image}"
        return curve(name, [(m.bpp, to_unit(metric, m.metrics[metric])) for m in rows])

    def mean(self, metric: str) -> Curve:
        """The curve of the means over images, at each setting, of bits per pixel and metric."""
        return curve(
            self.codec,
            [(bpp, to_unit(metric, values[metric])) for bpp, values in self.means().values()],
        )

    def means(self) -> dict[float, tuple[float, dict[str, float]]]:
        """Means for each setting: bits per pixel, and each raw metric over the images."""
        result = {}
        for setting, images in self.by_setting.items():
            rows = list(images.values())
            values = {
                metric: float(np.mean([m.metrics[metric] for m in rows]))
                for metric in METRICS
                if self.has(metric)
            }
            result[setting] = (float(np.mean([m.bpp for m in rows])), values)
        return result

    def falls(self) -> list[str]:
        """Where a larger setting lowers the PSNR of an image, in words; empty if it never does."""
        found = []
        for image in self.images:
            rows = [(s, images[image].metrics["psnr"]) for s, images in self.by_setting.items()]
            for (s, before), (s_next, after) in itertools.pairwise(rows):
                if after < before:
                    found.append(f"{image}: {s:g} → {s_next:g} loses {before - after:.3f} dB")
        return found


def group(measurements: Sequence[Measurement]) -> dict[str, CodecPoints]:
    """Collect measurements by codec.

    Raises:
        ValueError: a codec was not measured on the same images at every setting.
    """
    tree: dict[str, dict[float, dict[str, Measurement]]] = defaultdict(lambda: defaultdict(dict))
    for m in measurements:
        tree[m.codec][m.setting][m.image] = m
    images = {m.image for m in measurements}
    for codec, settings in tree.items():
        for setting, rows in settings.items():
            if rows.keys() != images:
                raise ValueError(
                    f"{codec} at {setting:g} was measured on {len(rows)} of {len(images)} images: "
                    "finish the run first"
                )
    return {codec: CodecPoints(codec, dict(sorted(tree[codec].items()))) for codec in tree}
