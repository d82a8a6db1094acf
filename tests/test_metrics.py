"""Metrics against values that follow from their definitions."""

import math
import sys

import numpy as np
import pytest
import torch
from extras import need
from PIL import Image, ImageEnhance

from benchmarks import metrics, perceptual
from benchmarks.stand_ins import GaussianBlur

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


@pytest.mark.slow
def test_cvvdp_is_10_for_identical_images_and_falls_with_blur() -> None:
    need("cvvdp")
    x = photo(2)
    blurred = [x.resize((side, side)).resize(x.size) for side in (64, 24)]
    scores = [perceptual.cvvdp(x, x_hat) for x_hat in (x, *blurred)]
    assert scores[0] == pytest.approx(10)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 9


@pytest.mark.parametrize("name", ["haarpsi", "vif"])
def test_haarpsi_and_vif_are_1_for_identical_images_and_fall_with_blur(name: str) -> None:
    need(name)
    metric = {"haarpsi": perceptual.haarpsi, "vif": perceptual.vif}[name]
    x = photo(2)
    blurred = [x.resize((side, side)).resize(x.size) for side in (160, 96, 24)]
    scores = [metric(x, x_hat) or 0 for x_hat in (x, *blurred)]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.8


def test_haarpsi_is_never_above_1() -> None:
    need("haarpsi")
    score = perceptual.haarpsi(flat(100), flat(100))
    assert score is not None
    assert score == pytest.approx(1, abs=1e-5)
    assert score <= 1


def test_vif_takes_the_original_first() -> None:
    need("vif")
    flat_one = ImageEnhance.Contrast(photo(3)).enhance(0.5)  # so that nothing is clipped
    strong = ImageEnhance.Contrast(flat_one).enhance(1.5)
    raised, lowered = perceptual.vif(flat_one, strong), perceptual.vif(strong, flat_one)
    assert raised is not None
    assert lowered is not None
    assert raised > 1 > lowered


def test_haarpsi_and_vif_need_room_for_their_scales() -> None:
    small, smaller = flat(1, (60, 40)), flat(1, (15, 60))
    assert perceptual.vif(small, small) is None
    assert perceptual.haarpsi(smaller, smaller) is None


def test_haarpsi_and_vif_of_the_smallest_images() -> None:
    need("vif")
    assert perceptual.vif(flat(1, (60, 41)), flat(1, (60, 41))) is not None
    assert perceptual.haarpsi(flat(1, (16, 60)), flat(1, (16, 60))) is not None


def test_the_blur_that_stands_in_for_torchvisions_is_gaussian() -> None:
    image = torch.zeros(1, 2, 15, 15)
    image[0, 1, 7, 7] = 1
    blurred = GaussianBlur(9, 2)(image)
    assert blurred[0, 0].abs().max() == 0  # planes do not mix
    assert float(blurred[0, 1].sum()) == pytest.approx(1)
    for row, column in ((0, 1), (2, 3), (4, 4)):
        share = float(blurred[0, 1, 7 + row, 7 + column] / blurred[0, 1, 7, 7])
        assert share == pytest.approx(math.exp(-(row**2 + column**2) / 8), rel=1e-5)
    assert GaussianBlur(9, 2)(torch.ones(1, 8, 9)) == pytest.approx(torch.ones(1, 8, 9))


def test_the_stand_in_for_torchvision_is_gone_after_the_import() -> None:
    need("vif")
    module = sys.modules.get("torchvision")
    assert module is None or module.__spec__ is not None  # the real one has a spec


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)  # as Python itself marks what cannot be imported
    with pytest.raises(ImportError, match=r"vif needs the package piq .*vqcodec\[perceptual\]"):
        perceptual.vif(flat(1), flat(1))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.psnr,
        metrics.ms_ssim,
        metrics.ssimulacra2,
        perceptual.cvvdp,
        perceptual.haarpsi,
        perceptual.vif,
    ],
)
def test_images_must_be_rgb_and_of_one_size(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="size"):
        metric(flat(1), flat(1, (192, 256)))
    with pytest.raises(ValueError, match="RGB"):
        metric(flat(1), flat(1).convert("L"))
