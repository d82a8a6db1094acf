"""Rate-distortion curves, and BD-rate over the range that two of them share.

BD-rate is the package bjontegaard with PCHIP interpolation of log-rate over the metric. MS-SSIM
enters as decibels, -10 log10(1 - MS-SSIM), as is usual: on its own scale the best points, which
matter most, would be squeezed into a corner.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bjontegaard
import numpy as np
from scipy.interpolate import PchipInterpolator

METRICS = {  # and the unit of each; shares of one have none
    "psnr": "dB", "ms_ssim": "dB", "ssimulacra2": "points",
    "cvvdp": "JOD", "haarpsi": "", "vif": "",
}  # fmt: skip
MIN_POINTS = 3


class CurveError(ValueError):
    """No honest figure can be computed from this curve; the message says why."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one codec, rising in bits per pixel; `value` is the metric in its METRICS unit."""

    name: str
    bpp: tuple[float, ...]
    value: tuple[float, ...]
    source: str = ""
    """Where a published curve comes from."""

    def clip(self, min_bpp: float, max_bpp: float) -> "Curve":
        """Cut the curve to a range of rates, with interpolated points at its ends.

        Raises:
            CurveError: the metric does not rise with the rate, or too few points lie in the range.
        """
        inside = [(b, v) for b, v in self.points if min_bpp <= b <= max_bpp]
        if len(inside) < MIN_POINTS:
            raise CurveError(
                f"{self.name}: {len(inside)} points in {min_bpp:g}–{max_bpp:g} bpp, "
                f"{MIN_POINTS} are needed"
            )
        below = [point for point in self.points if 0 < point[0] < min_bpp][-1:]
        above = [point for point in self.points if point[0] > max_bpp][:1]
        bpp, value = np.array(below + inside + above).T
        if not np.all(np.isfinite(value)):
            raise CurveError(f"{self.name}: a point is not finite")
        if np.any(np.diff(bpp) <= 0) or np.any(np.diff(value) <= 0):
            raise CurveError(f"{self.name}: the metric does not rise with the rate")
        value_at = PchipInterpolator(np.log(bpp), value)
        limits = [min_bpp] * len(below) + [max_bpp] * len(above)
        ends = [(bpp, float(value_at(math.log(bpp)))) for bpp in limits]
        # A point that lies on a limit would stand there twice.
        return curve(self.name, list(dict(ends + inside).items()))

    @property
    def points(self) -> list[tuple[float, float]]:
        """Pairs of bits per pixel and metric."""
        return list(zip(self.bpp, self.value, strict=True))


def curve(name: str, points: Sequence[tuple[float, float]], source: str = "") -> Curve:
    """Make a curve of points (bits per pixel, metric) in any order."""
    bpp, value = zip(*sorted(points), strict=True)
    return Curve(name, tuple(bpp), tuple(value), source)


@dataclass(frozen=True, slots=True)
class BdRate:
    """How many percent more bits a codec needs than the anchor, and over which range."""

    percent: float
    low: float
    """The worst quality that both curves reach, in the metric's unit."""
    high: float
    """The best quality that both curves reach."""


def bd_rate(anchor: Curve, test: Curve, *, min_bpp: float, max_bpp: float) -> BdRate:
    """Average difference in rate at equal quality, over the qualities both reach in the range.

    Raises:
        CurveError: a curve is unfit (see `Curve.clip`), or the two share no quality.
    """
    a, t = anchor.clip(min_bpp, max_bpp), test.clip(min_bpp, max_bpp)
    low, high = max(a.value[0], t.value[0]), min(a.value[-1], t.value[-1])
    if low >= high:
        raise CurveError(
            f"{t.name} spans {t.value[0]:.2f}–{t.value[-1]:.2f}, {a.name} "
            f"{a.value[0]:.2f}–{a.value[-1]:.2f}: no overlap, and nothing is extrapolated"
        )
    percent = bjontegaard.bd_rate(
        a.bpp, a.value, t.bpp, t.value, method="pchip", require_matching_points=False, min_overlap=0
    )
    return BdRate(float(percent), low, high)


def to_unit(metric: str, raw: float) -> float:
    """Convert a raw metric to the unit of a curve: MS-SSIM to decibels, the others unchanged."""
    if metric != "ms_ssim":
        return raw
    return math.inf if raw >= 1 else -10 * math.log10(1 - raw)


def read_published(path: Path) -> dict[str, dict[str, Curve]]:
    """Read published curves: name -> metric -> curve; the names get the prefix `published/`.

    The JSON holds name -> {"source": text, "bpp": [...], "psnr": [...], "ms_ssim": [...]}, either
    metric may be missing; names that begin with an underscore are comments.

    Raises:
        ValueError: not such a JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            f"published/{name}": {
                metric: curve(
                    f"published/{name}",
                    [
                        (float(bpp), to_unit(metric, float(raw)))
                        for bpp, raw in zip(entry["bpp"], entry[metric], strict=True)
                    ],
                    str(entry.get("source", "")),
                )
                for metric in METRICS
                if entry.get(metric)
            }
            for name, entry in content.items()
            if not name.startswith("_")
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a file of published curves: {error}") from error
