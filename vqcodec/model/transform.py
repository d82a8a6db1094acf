"""The fixed point the network starts from: block transforms between grids, as trainable layers.

A transform takes planes to coefficients on a grid whose positions cover `stride` x `stride` of
their values, and back. `TRANSFORMS` holds the pairs by the name that a config calls them.

The plain one is a DCT. An 8-point time-domain lapped transform (Tran, Liang & Tu 2003) is a small
filter across every block boundary followed by a block DCT. On an AR(1) source with correlation 0.95
it has a coding gain of 9.62 dB against 8.83 dB for the plain DCT, it shows no block edges, and
because the filter simply stops at the image border it reconstructs perfectly there too.

The 9/7 wavelet (Cohen, Daubechies & Feauveau 1992), in lifting steps (Daubechies & Sweldens 1998),
halves a grid again and again without edges: a coarse scale that is all a low rate can pay for is
then a smooth picture, where means of 2x2 values would be steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.model.config import LIFTING
from vqcodec.model.layers import blocks_of, linear, planes_of

BLOCK = 8  # of the lapped transform

# The 4x4 core of the boundary filter, found by maximising the AR(1) coding gain.
_CORE = (
    (0.9550, 0.7833, 0.3548, 0.2391),
    (-0.5520, 0.9008, 0.6188, 0.2353),
    (0.1124, -0.3647, 1.0916, 0.3904),
    (-0.0295, 0.0082, -0.1196, 1.1879),
)
# Norms of the eight synthesis filters: dividing by them makes one step size right for all.
_SYNTHESIS_NORM = tuple(
    math.sqrt(n) for n in (0.7021, 0.7106, 0.8589, 0.8621, 0.9221, 0.9176, 0.9605, 0.9532)
)

# Of the 9/7 wavelet: the gain makes a constant's low band sqrt(2) times as large.
_LOW_GAIN = 1.149604398
# Norms of the two synthesis filters.
_WAVELET_NORM = tuple(math.sqrt(n) for n in (0.98295, 1.04044))


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II, float32 `[size, size]`, row k holding frequency k."""
    k = torch.arange(size, dtype=torch.float64)[:, None]
    n = torch.arange(size, dtype=torch.float64)[None]
    basis = torch.cos(math.pi * (n + 0.5) * k / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


def boundary_filter() -> Tensor:
    """Return the filter applied to the 8 samples around a block boundary, float32 `[8, 8]`."""
    half = BLOCK // 2
    eye, flip = torch.eye(half), torch.eye(half).flip(0)
    butterfly = torch.cat([torch.cat([eye, flip], 1), torch.cat([flip, -eye], 1)]) / math.sqrt(2)
    core = torch.eye(BLOCK)
    core[half:, half:] = torch.tensor(_CORE)
    return butterfly @ core @ butterfly


def opponent_matrix() -> Tensor:
    """Return an orthonormal RGB -> (luma, blue-yellow, red-green) rotation, float32 `[3, 3]`."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]])
    return functional.normalize(rows, dim=1)


def _filter_rows(x: Tensor, matrix: Tensor) -> Tensor:
    """Apply `matrix` along the rows of `x`, across every boundary between blocks."""
    half = BLOCK // 2
    width = x.shape[-1]
    if width == BLOCK:
        return x
    inner = torch.unflatten(x[..., half:-half], -1, (width // BLOCK - 1, BLOCK))
    filtered = functional.linear(inner, matrix).flatten(-2)
    return torch.cat([x[..., :half], filtered, x[..., -half:]], dim=-1)


def _filter_columns(x: Tensor, matrix: Tensor) -> Tensor:
    """Do the same along the columns."""
    half = BLOCK // 2
    height = x.shape[-2]
    if height == BLOCK:
        return x
    inner = torch.unflatten(x[..., half:-half, :], -2, (height // BLOCK - 1, BLOCK))
    filtered = torch.matmul(matrix, inner).flatten(-3, -2)
    return torch.cat([x[..., :half, :], filtered, x[..., -half:, :]], dim=-2)


def _filter_both_ways(x: Tensor, matrix: Tensor) -> Tensor:
    # Planes whole in memory: interleaved they take twice as long.
    return _filter_columns(_filter_rows(x.contiguous(), matrix), matrix)


class Analysis(nn.Module):
    """Planes -> DCT coefficients of their blocks, one position a block.

    Maps float32 `[B, planes, H, W]` (H and W multiples of `stride`) to
    `[B, planes * stride^2, H/stride, W/stride]`. Channels run frequency-major, plane-minor,
    frequencies from low to high.
    """

    def __init__(self, mix: Tensor, stride: int) -> None:
        """`mix` `[planes, planes]` turns planes into those that are transformed."""
        super().__init__()
        self.stride = stride
        self.basis = nn.Parameter(_block_basis(mix, self.axis(stride)))

    @staticmethod
    def axis(stride: int) -> Tensor:
        """Return what makes coefficients of the values of a block, along one axis."""
        return dct_matrix(stride)

    def forward(self, x: Tensor) -> Tensor:
        return linear(blocks_of(x, self.stride), self.basis)


class Synthesis(nn.Module):
    """The inverse of an analysis, with parameters of its own."""

    analysis: ClassVar[type[Analysis]] = Analysis

    def __init__(self, mix: Tensor, stride: int) -> None:
        super().__init__()
        self.stride = stride
        basis = _block_basis(mix, self.analysis.axis(stride))
        self.basis = nn.Parameter(torch.linalg.inv(basis.double()).float())

    def forward(self, coefficients: Tensor) -> Tensor:
        return planes_of(linear(coefficients, self.basis), self.stride)


class LappedAnalysis(Analysis):
    """The lapped transform of blocks of 8."""

    boundary: Tensor

    def __init__(self, mix: Tensor, stride: int = BLOCK) -> None:
        """Raises ValueError for another stride than 8."""
        if stride != BLOCK:
            raise ValueError(f"the lapped transform has a stride of {BLOCK}, not {stride}")
        super().__init__(mix, stride)
        self.register_buffer("boundary", boundary_filter())

    @staticmethod
    def axis(stride: int) -> Tensor:
        """Return the DCT, each row times the norm of its synthesis filter."""
        return dct_matrix(stride) * torch.tensor(_SYNTHESIS_NORM)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_filter_both_ways(x, self.boundary))


class LappedSynthesis(Synthesis):
    """The inverse of :class:`LappedAnalysis`, with parameters of its own."""

    analysis = LappedAnalysis
    boundary: Tensor

    def __init__(self, mix: Tensor, stride: int = BLOCK) -> None:
        super().__init__(mix, stride)
        self.register_buffer("boundary", torch.linalg.inv(boundary_filter()))

    def forward(self, coefficients: Tensor) -> Tensor:
        return _filter_both_ways(super().forward(coefficients), self.boundary)


def _lifted(x: Tensor, dim: int, steps: Sequence[tuple[int, float]]) -> Tensor:
    """Add to the samples of a parity, 1 or 0, a share of both their neighbours along `dim`.

    The grid goes on beyond its border as a mirror image about the outermost samples.
    """
    parts = list(torch.unflatten(x, dim, (-1, 2)).unbind(dim + 1))
    for parity, share in steps:
        other = parts[1 - parity]
        count = other.shape[dim]
        shifted = (
            [other.narrow(dim, 1, count - 1), other.narrow(dim, count - 1, 1)]
            if parity
            else [other.narrow(dim, 0, 1), other.narrow(dim, 0, count - 1)]
        )
        parts[parity] = parts[parity] + share * (other + torch.cat(shifted, dim))
    return torch.stack(parts, dim + 1).flatten(dim, dim + 1)


class WaveletAnalysis(Analysis):
    """The 9/7 wavelet, of blocks of 2: low band and high band in place of even and odd samples."""

    def __init__(self, mix: Tensor, stride: int = 2) -> None:
        """Raises ValueError for another stride than 2."""
        if stride != 2:
            raise ValueError(f"the wavelet has a stride of 2, not {stride}")
        super().__init__(mix, stride)

    @staticmethod
    def axis(stride: int) -> Tensor:
        """Return the gains of the bands, each times the norm of its synthesis filter."""
        return torch.diag(torch.tensor([_LOW_GAIN, -1 / _LOW_GAIN]) * torch.tensor(_WAVELET_NORM))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_lifted(_lifted(x, 3, LIFTING), 2, LIFTING))


class WaveletSynthesis(Synthesis):
    """The inverse of :class:`WaveletAnalysis`, with parameters of its own."""

    analysis = WaveletAnalysis

    def forward(self, coefficients: Tensor) -> Tensor:
        steps = [(parity, -share) for parity, share in reversed(LIFTING)]
        return _lifted(_lifted(super().forward(coefficients), 2, steps), 3, steps)


TRANSFORMS: dict[str, tuple[type[Analysis], type[Synthesis]]] = {
    "dct": (Analysis, Synthesis),
    "lapped": (LappedAnalysis, LappedSynthesis),
    "wavelet": (WaveletAnalysis, WaveletSynthesis),
}


def _block_basis(mix: Tensor, axis: Tensor) -> Tensor:
    """Return the matrix from unshuffled values to coefficients: `axis` both ways, planes mixed."""
    planes, stride = len(mix), len(axis)
    # [out plane, u, v, in plane, y, x]: pixel_unshuffle orders its channels (plane, y, x)
    basis = torch.einsum("pq,uy,vx->puvqyx", mix, axis, axis)
    basis = basis.reshape(planes, stride**2, planes * stride**2)
    radius = torch.arange(stride)[:, None] ** 2 + torch.arange(stride)[None] ** 2
    order = radius.flatten().argsort(stable=True)
    return basis[:, order].transpose(0, 1).reshape(planes * stride**2, -1).contiguous()
