"""What the benchmark of looks measures: texture, grids, and the bytes that a rival needs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks import metrics, natural, texture
from train.export_natural import export
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.codec.looks import FAITHFUL, LOOKS, NATURAL
from vqcodec.model.natural import NaturalBlock

SIZE = 256, 320
Plane = NDArray[np.float64]


def white(seed: int, deviation: float = 20) -> Plane:
    return np.random.default_rng(seed).normal(128, deviation, SIZE)


def wave(period: float) -> Plane:
    """Of rms 1, across."""
    return np.tile(np.sqrt(2) * np.sin(2 * np.pi * np.arange(SIZE[1]) / period), (SIZE[0], 1))


# Bands


def test_white_noise_is_like_other_white_noise() -> None:
    found = texture.compared(white(0), white(1))
    for name in ("energy_1", "energy_2", "kurtosis_1", "kurtosis_2"):
        assert found[name] == pytest.approx(1, abs=0.05)
    # The wavelet is only nearly orthonormal.
    assert texture.bands(white(0)).energy[0] == pytest.approx(400, rel=0.1)
    assert texture.bands(white(0)).kurtosis == pytest.approx(3, rel=0.05)


def test_energy_is_a_square_and_kurtosis_has_no_unit() -> None:
    found = texture.compared(white(0, 10), white(0, 20))
    assert found["energy_1"] == pytest.approx(1 / 4)
    assert found["kurtosis_1"] == pytest.approx(1)


def test_a_blurred_picture_has_less_and_the_less_the_finer() -> None:
    image = Image.fromarray(white(0).clip(0, 255).astype(np.uint8)).convert("RGB")
    blurred = image.filter(ImageFilter.GaussianBlur(1))
    found = texture.compared(texture.luma(blurred), texture.luma(image))
    assert found["energy_1"] < 0.1
    assert found["energy_1"] < found["energy_2"] < 0.6


def test_octaves_are_told_apart() -> None:
    found = texture.compared(white(0) + 10 * wave(5), white(0))
    assert found["energy_2"] > 1.5
    assert found["energy_1"] == pytest.approx(1, abs=0.1)


def test_few_large_values_have_a_higher_kurtosis() -> None:
    sparse = white(0)
    sparse[np.random.default_rng(2).random(SIZE) < 0.9] = 128
    assert texture.compared(sparse, white(0))["kurtosis_1"] > 1.3


def test_what_is_flat_has_no_figures() -> None:
    found = texture.compared(white(0), np.full(SIZE, 128.0))
    assert not np.isfinite(found["energy_1"])
    assert not np.isfinite(found["kurtosis_1"])


# Grids


@pytest.mark.parametrize("period", texture.PERIODS)
def test_a_pattern_is_found_and_measured(period: int) -> None:
    y, x = np.indices(SIZE)
    lines = np.where((x % period == 0) ^ (y % period == 0), 3.0, 0)
    plain = texture.grid(white(0, 5), period)
    found = texture.grid(white(0, 5) + lines, period)
    assert plain.pattern < 0.25
    assert found.pattern == pytest.approx(lines[:8, :8].std(), abs=0.1)


def test_other_periods_and_what_is_smooth_are_no_pattern() -> None:
    for period in (7, 10):  # not quite nothing: the picture ends somewhere
        assert texture.grid(wave(period), 8).pattern < 0.1
    assert texture.grid(np.linspace(0, 255, SIZE[1]) + np.zeros(SIZE), 8).pattern < 1e-9


def test_blocks_ripple_though_they_have_no_pattern() -> None:
    noise = np.random.default_rng(3).normal(128, 5, (SIZE[0] // 8, SIZE[1] // 8))
    blocks = np.kron(noise, np.ones((8, 8))) + white(0, 1) - 128
    assert texture.grid(blocks, 8).ripple > 0.5
    assert texture.grid(blocks, 8).pattern < 0.1
    assert texture.grid(white(0, 5), 8).ripple < 0.02


def test_noise_of_two_amplitudes_in_turn_ripples() -> None:
    noise = white(0, 5)
    noise[:, ::2] = 128 + 2 * (noise[:, ::2] - 128)
    assert texture.grid(noise, 2).ripple > 0.1


def test_a_flat_picture_has_no_grid() -> None:
    found = texture.grid(np.full(SIZE, 7.0), 8)
    assert [found.pattern, found.ripple] == pytest.approx([0, 0])


# The rival's bytes


CURVE = [(4000, 0.2), (1000, 0.8), (2000, 0.4)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(0.8, 1000), (0.6, 1000 * 2**0.5), (0.4, 2000), (0.25, 2000 * 2**0.75), (0.2, 4000)],
)
def test_log_bytes_are_interpolated(wanted: float, expected: float) -> None:
    assert natural.bytes_for(wanted, CURVE) == pytest.approx(expected)


@pytest.mark.parametrize("wanted", [0.81, 0.19])
def test_nothing_is_extrapolated(wanted: float) -> None:
    assert natural.bytes_for(wanted, CURVE) is None


def test_where_distances_rise_the_fewest_bytes_count() -> None:
    curve = [(100, 0.6), (200, 0.4), (300, 0.7), (400, 0.1)]
    assert natural.bytes_for(0.5, curve) == pytest.approx(100 * 2**0.5)


# The whole


@pytest.fixture
def model(tiny_weights: Path, tmp_path: Path) -> Path:
    """The small network with a natural look of random weights, in a folder of its own."""
    path = tmp_path / "tiny.safetensors"
    shutil.copy(tiny_weights, path)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        block = NaturalBlock(Codec.load(path).config, 8)
        torch.nn.init.normal_(block.out.weight, std=0.05)
    export(block.state_dict(), weights.find(path), {})
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(natural.main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_both_looks_are_of_one_file(
    model: Path, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "a.png")
    out = tmp_path / "natural.csv"
    monkeypatch.setattr(natural, "LADDER", (10, 50, 90))
    first = run(tmp_path / "photos", "-o", out, "--model", model, "--bpp", 2)
    assert first.exit_code == 0, first.output
    with out.open(newline="") as stream:
        rows = {row["picture"]: row for row in csv.DictReader(stream)}
    assert list(rows) == [natural.ORIGINAL, *LOOKS, natural.RIVAL]
    codec = Codec.load(model)
    data = codec.encode(photo, bpp=2)
    for look in LOOKS:
        expected = metrics.psnr(photo, codec.decode(data, look=look))
        assert float(rows[look]["psnr"]) == pytest.approx(expected, abs=1e-4)
        assert int(rows[look]["bytes"]) == len(data)
    assert rows[FAITHFUL]["psnr"] != rows[NATURAL]["psnr"]
    assert int(rows[natural.RIVAL]["bytes"]) <= len(data)
    assert rows[natural.ORIGINAL]["energy_1"] == "1.00000"
    again = run(tmp_path / "photos", "-o", out, "--model", model, "--bpp", 2)
    assert again.stdout == first.stdout
    assert len(out.read_text().splitlines()) == 5


def test_a_model_without_a_natural_look_is_one_line(
    tiny_weights: Path, photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "a.png")
    done = run(tmp_path, "-o", tmp_path / "a.csv", "--model", tiny_weights)
    assert done.exit_code == 1
    assert done.stderr == "Error: tiny has no natural look\n"
