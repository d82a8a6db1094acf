"""What bits per dimension are good for: corruptions, their ranking, and bytes foretold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import anomaly, compressibility, tables
from benchmarks.compressibility import LEVELS, above_levels, foretold
from benchmarks.corruptions import CORRUPTIONS, NOISE
from benchmarks.images import find_images, middle


@pytest.fixture
def folder(tmp_path: Path, photo: Image.Image) -> Path:
    """Nine pictures of 96x64, the later the finer their grain."""
    path = tmp_path / "photos"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number in range(9):
        grain = rng.normal(0, 2.0 * number, (64, 96, 3))
        pixels = (np.array(photo) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    return path


def run(module: object, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(module.main, [str(each) for each in arguments])  # type: ignore[attr-defined]
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def pictures(folder: Path, number: int, seed: int) -> dict[str, Image.Image]:
    refs = find_images(folder)
    return anomaly.pictures(anomaly.Task(refs[number], refs[0], 64, seed, 1, Path()))


def test_corruptions_do_what_they_are_called(folder: Path) -> None:
    found = {name: np.array(image, float) for name, image in pictures(folder, 1, 0).items()}
    assert found.keys() == {anomaly.UNTOUCHED, *CORRUPTIONS}
    untouched = found.pop(anomaly.UNTOUCHED)
    changes = {name: pixels - untouched for name, pixels in found.items()}
    assert 0 < changes["tampered"].any(2).sum() <= 16 * 16
    assert changes["noisy"].std() == pytest.approx(NOISE, abs=0.5)
    fine = {name: np.diff(pixels, axis=1).std() for name, pixels in found.items()}
    assert fine["upscaled"] < np.diff(untouched, axis=1).std() < fine["noisy"]
    assert 0 < np.abs(changes["recompressed"]).mean() < 10
    assert found["synthetic"].mean((0, 1)) == pytest.approx(untouched.mean((0, 1)), abs=4)
    assert abs(np.corrcoef(found["synthetic"].ravel(), untouched.ravel())[0, 1]) < 0.9


def test_corruptions_are_a_function_of_the_seed(folder: Path) -> None:
    first, again, other = (pictures(folder, 1, seed) for seed in (0, 0, 1))
    assert {name: image.tobytes() for name, image in first.items()} == {
        name: image.tobytes() for name, image in again.items()
    }
    differ = {name for name in first if first[name].tobytes() != other[name].tobytes()}
    assert differ == {"tampered", "noisy", "synthetic"}


def test_auroc_counts_pairs() -> None:
    assert anomaly.auroc([1, 2, 3], [4, 5]) == 1
    assert anomaly.auroc([4, 5], [1, 2, 3]) == 0
    assert anomaly.auroc([1, 3], [2, 3]) == pytest.approx(2.5 / 4)


def test_without_jpeg_xl_webp_ranks(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    assert anomaly.lossless(photo)[0] == "webp"


def test_noise_is_told_and_rows_are_measured_once(
    folder: Path, tmp_path: Path, tiny_density: Path
) -> None:
    out = tmp_path / "out.csv"
    arguments = (folder, "-o", out, "--model", tiny_density, "--side", 32, "--most", 3)
    code, said = run(anomaly, *arguments)
    assert code == 0, said
    rows = tables.read_csv(out)
    assert len(rows) == 3 * (1 + len(CORRUPTIONS))
    bits = {(row["image"], row["picture"]): float(row["bits"]) for row in rows}
    for name in ("0.png", "1.png", "2.png"):
        assert bits[name, "upscaled"] < bits[name, "noisy"]
        assert bits[name, "untouched"] < bits[name, "noisy"]
    assert "| tampered |" in said
    assert "the middle 32x32 of 3 images, k = 1" in said
    before = out.read_bytes()
    assert run(anomaly, *arguments) == (0, said)
    assert out.read_bytes() == before
    code, said = run(anomaly, *arguments, "--seed", 1)
    assert (code, "write to another file" in said) == (1, True)


def test_a_picture_too_small_is_named(folder: Path, tmp_path: Path, tiny_density: Path) -> None:
    with pytest.raises(ValueError, match="smaller than 65x65"):
        middle(Image.new("RGB", (96, 64)), 65)
    out = tmp_path / "out.csv"
    code, said = run(anomaly, folder, "-o", out, "--model", tiny_density, "--most", 2)
    assert code == 1
    assert "0.png: smaller than 256x256" in said


def test_levels_are_taken_off_block_by_block() -> None:
    bits = np.zeros((16, 17), np.float32)
    bits[:8, :8] = 3
    expected = np.maximum(3 - LEVELS, 0) / 4
    np.testing.assert_allclose(above_levels(bits), expected)


def test_a_file_is_foretold_from_the_others_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 9, (12, 3))
    sizes = 70 * x[:, 1] ** 1.5
    np.testing.assert_allclose(foretold(x, sizes), sizes)
    # Its own size has no part in what is foretold of a file.
    wrong = sizes.copy()
    wrong[4] *= 10
    assert foretold(x, wrong)[4] == pytest.approx(sizes[4])


def test_bytes_of_a_collection_are_foretold(
    folder: Path, tmp_path: Path, tiny_density: Path, tiny_weights: Path
) -> None:
    out = tmp_path / "out.csv"
    models = ("--model", tiny_density, "--codec", tiny_weights)
    code, said = run(compressibility, folder, "-o", out, "--side", 48, *models)
    assert code == 0, said
    rows = tables.read_csv(out)
    assert len(rows) == 9
    assert float(rows[8]["above_0"]) > float(rows[0]["above_0"])
    assert float(rows[8]["above_4"]) <= float(rows[8]["above_2"]) <= float(rows[8]["above_0"])
    assert "| density map |" in said
    assert "Bytes at quality 50" in said
    code, said = run(compressibility, folder, "-o", out, "--side", 48, *models, "-q", 60)
    assert (code, "write to another file" in said) == (1, True)
