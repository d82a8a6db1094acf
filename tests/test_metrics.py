"""Metrics against values that follow from their definitions."""

import math

import numpy as np
import pytest
from PIL import Image

from benchmarks import metrics

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # the constants of SSIM


def flat(value: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def checkerboard(amplitude: int, side: int = 256) -> Image.Image:
    rows, columns = np.indices((side, side))
    pixels = 128 + amplitude * (1 - 2 * ((rows + columns) % 2))
    return Image.fromarray(np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=2))


def photo(seed: int, side: int = 192) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def test_bits_per_pixel_counts_every_byte() -> None:
    assert metrics.bits_per_pixel(49152, 768, 512) == 1.0


@pytest.mark.parametrize(("a", "b"), [(100, 101), (0, 255), (200, 50)])
def test_psnr_of_a_constant_difference(a: int, b: int) -> None:
    expected = 20 * math.log10(255 / abs(a - b))
    assert metrics.psnr(flat(a), flat(b)) == pytest.approx(expected, abs=1e-9)


def test_psnr_pools_the_three_channels() -> None:
    x, x_hat = Image.new("RGB", (8, 8), (10, 20, 30)), Image.new("RGB", (8, 8), (10, 20, 36))
    assert metrics.psnr(x, x_hat) == pytest.approx(10 * math.log10(255**2 / 12), abs=1e-9)


def test_psnr_of_identical_images_is_infinite() -> None:
    assert metrics.psnr(flat(7), flat(7)) == math.inf


def test_ms_ssim_of_identical_images_is_one() -> None:
    assert metrics.ms_ssim(photo(1), photo(1)) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_of_flat_images_is_the_luminance_term_of_the_coarsest_scale() -> None:
    luminance = (2 * 100 * 150 + C1) / (100**2 + 150**2 + C1)
    measured = metrics.ms_ssim(flat(100), flat(150))
    assert measured == pytest.approx(luminance**0.1333, abs=1e-4)


def test_ms_ssim_of_finest_detail_is_the_contrast_term_of_the_finest_scale() -> None:
    contrast = (2 * 60 * 10 + C2) / (60**2 + 10**2 + C2)
    measured = metrics.ms_ssim(checkerboard(60), checkerboard(10))
    assert measured == pytest.approx(contrast**0.0448, abs=1e-4)


def test_ms_ssim_needs_room_for_five_scales() -> None:
    assert metrics.ms_ssim(flat(1, (400, 160)), flat(1, (400, 160))) is None
    assert metrics.ms_ssim(flat(1, (400, 161)), flat(1, (400, 161))) is not None


def test_ssimulacra2_is_100_for_identical_images_and_falls_with_blur() -> None:
    x = photo(2)
    blurred = [x.resize((side, side)).resize(x.size) for side in (160, 96, 24)]
    scores = [metrics.ssimulacra2(x, x_hat) for x_hat in (x, *blurred)]
    assert scores[0] == pytest.approx(100)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 80


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ms_ssim, metrics.ssimulacra2])
def test_images_must_be_rgb_and_of_one_size(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="size"):
        metric(flat(1), flat(1, (192, 256)))
    with pytest.raises(ValueError, match="RGB"):
        metric(flat(1), flat(1).convert("L"))
