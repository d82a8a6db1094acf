"""Made-up curves and measurements, whose BD-rates are known."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks import rd, tables
from benchmarks.curves import Curve, curve

RATES = (0.08, 0.12, 0.2, 0.35, 0.6, 1.0)


def line(name: str, db_per_decade: float, rate_factor: float = 1.0) -> Curve:
    """PSNR = 30 dB + slope * log10(bpp / 0.1), at rates times a factor."""
    points = [(r * rate_factor, 30 + db_per_decade * math.log10(r / 0.1)) for r in RATES]
    return curve(name, points)


def save_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    tables.write_csv(path, rd.FIELDS, rows)
    return path


def rows_of(
    codec: str, factors: dict[str, float], *, dataset: str = "made", ms_ssim: bool = False
) -> list[dict[str, str]]:
    """Rows of a codec on images 1000 x 1000 whose rates are those of `line` times a factor."""
    rows = []
    for image, factor in factors.items():
        for setting, (bpp, psnr) in enumerate(line(codec, 10, factor).points):
            size = round(bpp * 125_000)
            rows.append(
                dict.fromkeys(rd.FIELDS, "")
                | {"dataset": dataset, "image": image, "width": "1000", "height": "1000"}
                | {"codec": codec, "setting": str(setting), "bytes": str(size)}
                | {"bpp": f"{size / 125_000:.6f}", "psnr": f"{psnr:.6f}", "codec_version": "1"}
                | ({"ms_ssim": f"{1 - 0.02 / (1 + setting):.6f}"} if ms_ssim else {})
            )
    return rows
