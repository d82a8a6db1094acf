"""The density benchmark: CSV in, tables out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import density, tables
from train.nll import FIELDS as NLL_FIELDS
from train.semi import FIELDS as SEMI_FIELDS


@pytest.fixture
def folder(tmp_path: Path, photo: Image.Image) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    photo.save(path / "a.png")
    photo.transpose(Image.Transpose.ROTATE_90).save(path / "b.png")
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(density.main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_images_become_rows_once_and_a_table(
    folder: Path, tmp_path: Path, tiny_density: Path
) -> None:
    out = tmp_path / "out.csv"
    arguments = (folder, "-o", out, "--model", tiny_density, "-k", 2)
    code, said = run(*arguments)
    assert code == 0
    rows = tables.read_csv(out)
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    mean = sum(float(row["elbo"]) for row in rows) / 2
    assert f"| density model, ELBO | {mean:.3f} |" in said
    assert "IWAE-2" in said
    assert float(rows[0]["iwae"]) <= float(rows[0]["elbo"])
    png = float(rows[0]["png"]) * 96 * 64 * 3 / 8
    assert png == pytest.approx(round(png), abs=0.01)
    before = out.read_bytes()
    assert run(*arguments)[0] == 0
    assert out.read_bytes() == before


def test_another_k_or_model_is_refused(folder: Path, tmp_path: Path, tiny_density: Path) -> None:
    out = tmp_path / "out.csv"
    assert run(folder, "-o", out, "--model", tiny_density, "-k", 1)[0] == 0
    code, said = run(folder, "-o", out, "--model", tiny_density, "-k", 2)
    assert (code, "write to another file" in said) == (1, True)
    code, said = run(folder, "-o", out, "--model", "missing")
    assert (code, "no density model called missing" in said) == (1, True)


def test_a_codec_that_is_not_here_has_no_line() -> None:
    row = dict.fromkeys(density.FIELDS, "") | {"dataset": "made", "samples": "4"}
    rows = [
        row | {"elbo": "3", "iwae": "2.9", "png": "4", "webp": "3.5", "jxl": "3"},
        row | {"elbo": "4", "iwae": "3.9", "png": "5", "webp": "4.5"},
    ]
    table = tables.density_table(rows)
    assert "JPEG XL" not in table
    assert "| PNG (Pillow, optimised) | 4.500 | 4.00–5.00 |" in table
    assert "made (2 images)" in table


def test_what_is_behind_rgb_has_lines_of_its_own() -> None:
    row = dict.fromkeys(density.FIELDS, "") | {"dataset": "made", "samples": "1", "space": "JFIF"}
    row |= {"elbo": "2", "iwae": "2", "jxl": "3", "recorded_jxl": "2.5", "stored_elbo": "2.75"}
    table = tables.density_table([row])
    assert "| density model, ELBO of the RGB values | 2.750 | 2.75–2.75 |" in table
    assert "| JPEG XL lossless of the YCC behind them | 2.500 | 2.50–2.50 |" in table
    assert "| density model, ELBO | 2.000 |" in table
    assert table.endswith("The YCC behind RGB values: JFIF (1 images).")


def test_digits_stand_beside_the_paper() -> None:
    row = dict.fromkeys(NLL_FIELDS, "") | {"samples": "5000", "images": "10000", "passes": "100.0"}
    rows = [
        row
        | {"layers": "2", "k": "50", "estimator": "dreg", "nll": "84.1", "standard_error": ".2"}
        | {"after": "40 at k = 5"},
        row
        | {"layers": "1", "k": "5", "estimator": "plain", "nll": "87", "standard_error": "0.21"},
        row
        | {"layers": "1", "k": "7", "estimator": "plain", "nll": "86", "standard_error": "0.21"},
    ]
    lines = tables.digits_table(rows).splitlines()
    assert lines[2:5] == [
        "| 1, k = 5 | 87.00 ± 0.21 | 100 | 85.54 |",
        "| 1, k = 7 | 86.00 ± 0.21 | 100 | – |",
        "| 2, k = 50, DReG gradient | 84.10 ± 0.20 | 100, after 40 at k = 5 | 82.90 |",
    ]
    assert "10000 test images" in lines[-1]


def test_errors_with_few_labels_are_means_over_the_draws() -> None:
    common = {"images": "10000", "passes": "40", "vae_passes": "300"}
    rows = [
        dict(zip(SEMI_FIELDS, map(str, found), strict=False)) | common
        for found in (
            ("m2", 1000, 0, 2.5),
            ("m2", 100, 0, 3.0),
            ("m2", 100, 1, 4.0),
            ("m2", 100, 2, 5.0),
            ("m1", 10, 0, 40.0),
        )
    ]
    lines = tables.semi_table(rows).splitlines()
    assert lines[2:5] == [
        "| M1, labels spread over neighbours | 10 | 40.00 | 1 | – |",
        "| M1+M2 | 100 | 4.00 ± 1.00 | 3 | 3.33 ± 0.14 |",
        "| M1+M2 | 1000 | 2.50 | 1 | 2.40 ± 0.02 |",
    ]
    assert "10000 test images" in lines[-1]
