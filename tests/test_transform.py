"""The lapped transform and the wavelet: exact inverse, coding gain, unit steps, smoothness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqcodec.model.transform import (
    BLOCK,
    LappedAnalysis,
    LappedSynthesis,
    WaveletAnalysis,
    WaveletSynthesis,
    dct_matrix,
    opponent_matrix,
)

SIDE = 3 * BLOCK  # the middle one of three blocks sees no image border


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 64), (72, 128), (8, 64)])
@torch.no_grad()
def test_reconstruction_is_perfect(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    coefficients = LappedAnalysis(opponent_matrix())(x)
    assert coefficients.shape == (2, 192, height // 8, width // 8)
    x_hat = LappedSynthesis(opponent_matrix())(coefficients)
    torch.testing.assert_close(x_hat, x, rtol=0, atol=1e-5)


@torch.no_grad()
def analysis_filters() -> Tensor:
    """The filters of the middle block's coefficients, float64 `[64, SIDE * SIDE]`."""
    impulses = torch.eye(SIDE * SIDE).view(-1, 1, SIDE, SIDE)
    coefficients: Tensor = LappedAnalysis(torch.eye(1))(impulses)
    return coefficients[:, :, 1, 1].T.double()


@torch.no_grad()
def synthesis_filters() -> Tensor:
    """What a unit of each coefficient of the middle block adds to the image, like the analysis."""
    coefficients = torch.zeros(64, 64, 3, 3)
    coefficients[torch.arange(64), torch.arange(64), 1, 1] = 1
    x: Tensor = LappedSynthesis(torch.eye(1))(coefficients)
    return x.flatten(1).double()


def coding_gain(variances: Tensor) -> float:
    """Decibels per axis that separable coefficients of unit synthesis norm gain over samples."""
    return float(-10 * variances.log10().mean()) / 2


def test_coding_gain_on_a_correlated_source_is_above_that_of_the_dct() -> None:
    place = torch.arange(SIDE, dtype=torch.float64)
    covariance = 0.95 ** (place[:, None] - place).abs()
    filters = analysis_filters()
    lapped = ((filters @ torch.kron(covariance, covariance)) * filters).sum(1)
    assert coding_gain(lapped) == pytest.approx(9.6, abs=0.05)
    rows = torch.kron(dct_matrix(BLOCK), dct_matrix(BLOCK)).double()
    covariance = covariance[:BLOCK, :BLOCK]
    dct = ((rows @ torch.kron(covariance, covariance)) * rows).sum(1)
    assert coding_gain(dct) == pytest.approx(8.8, abs=0.05)


def test_synthesis_filters_have_unit_norm() -> None:
    norms = synthesis_filters().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(64, dtype=torch.float64), rtol=0, atol=5e-4)


def test_analysis_and_synthesis_filters_are_biorthogonal() -> None:
    products = analysis_filters() @ synthesis_filters().T
    torch.testing.assert_close(products, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-5)


def test_first_channels_are_the_means_of_the_planes_and_frequencies_rise() -> None:
    flat = torch.tensor([0.5, -0.25, 1.0])[:, None, None].expand(3, SIDE, SIDE)
    with torch.no_grad():
        coefficients = LappedAnalysis(torch.eye(3))(flat[None])[0, :, 1, 1]
    ratio = coefficients[:3] / torch.tensor([0.5, -0.25, 1.0])
    torch.testing.assert_close(ratio, ratio[:1].expand(3))
    assert float(coefficients[3:].abs().max()) < 1e-5
    image = analysis_filters().view(64, SIDE, SIDE)
    steps = image.diff(dim=1).square().sum((1, 2)) + image.diff(dim=2).square().sum((1, 2))
    roughness = steps / image.square().sum((1, 2))
    assert float(roughness[:8].max()) < float(roughness[-8:].min())


def test_opponent_rotation_is_orthonormal_with_luma_first() -> None:
    matrix = opponent_matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3))
    torch.testing.assert_close(matrix @ torch.ones(3), torch.tensor([3**0.5, 0.0, 0.0]))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 16), (4, 6), (32, 20)])
@torch.no_grad()
def test_wavelet_reconstruction_is_perfect(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    coefficients = WaveletAnalysis(torch.eye(3))(x)
    assert coefficients.shape == (2, 12, height // 2, width // 2)
    x_hat = WaveletSynthesis(torch.eye(3), 2)(coefficients)
    torch.testing.assert_close(x_hat, x, rtol=0, atol=1e-5)


@torch.no_grad()
def test_wavelet_synthesis_filters_have_unit_norm() -> None:
    coefficients = torch.zeros(4, 4, 8, 8)
    coefficients[torch.arange(4), torch.arange(4), 4, 4] = 1
    norms = WaveletSynthesis(torch.eye(1), 2)(coefficients).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4), rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_low_band_alone_gives_a_smooth_slope_without_steps() -> None:
    slope = torch.arange(32.0).expand(1, 1, 32, 32)
    coefficients = WaveletAnalysis(torch.eye(1))(slope)
    coefficients[:, 1:] = 0
    picture = WaveletSynthesis(torch.eye(1), 2)(coefficients)[0, 0, 16]
    inner = picture.diff()[8:-8]  # beyond the mirror image at the border
    torch.testing.assert_close(inner, torch.ones_like(inner), rtol=0, atol=1e-4)


def test_wavelet_coding_gain_of_one_level_is_above_that_of_means_and_differences() -> None:
    place = torch.arange(16, dtype=torch.float64)
    covariance = 0.95 ** (place[:, None] - place).abs()
    with torch.no_grad():
        impulses = torch.eye(16 * 16).view(-1, 1, 16, 16)
        filters = WaveletAnalysis(torch.eye(1))(impulses)[:, :, 4, 4].T.double()
    wavelet = ((filters @ torch.kron(covariance, covariance)) * filters).sum(1)
    haar = torch.kron(dct_matrix(2), dct_matrix(2)).double()
    pair = torch.kron(covariance[:2, :2], covariance[:2, :2])
    assert coding_gain(wavelet) > coding_gain(((haar @ pair) * haar).sum(1)) + 0.4
