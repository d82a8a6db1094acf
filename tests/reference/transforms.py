"""From planes to coefficients on a coarser grid and back: "Transforms", "Space to depth"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import Array

_LIFTING = ((1, -1.586134342), (0, -0.05298011854), (1, 0.8829110762), (0, 0.4435068522))
_UNLIFTING = tuple((parity, -share) for parity, share in reversed(_LIFTING))


def synthesis(kind: str, t: Array, stride: int, basis: Array, boundary: Array | None) -> Array:
    """Return the three planes of coefficients, on a grid `stride` times finer."""
    x = spread(t @ basis.T, stride)
    if kind == "lapped":
        assert boundary is not None
        return _filtered(x, boundary)
    if kind == "wavelet":
        return _turned(_lifted(_turned(_lifted(x, _UNLIFTING)), _UNLIFTING))
    assert kind == "dct"
    return x


def analysis(kind: str, x: Array, stride: int, basis: Array, boundary: Array | None) -> Array:
    """Return the coefficients of three planes, on a grid `stride` times coarser."""
    if kind == "lapped":
        assert boundary is not None
        x = _filtered(x, boundary)
    elif kind == "wavelet":
        x = _lifted(_turned(_lifted(_turned(x), _LIFTING)), _LIFTING)
    else:
        assert kind == "dct"
    result: Array = gathered(x, stride) @ basis.T
    return result


def spread(planes: Array, side: int) -> Array:
    """Turn channel `side^2 c + side i + j` into channel c at row i, column j of a position."""
    height, width = planes.shape[:2]
    cells = planes.reshape(height, width, -1, side, side).transpose(0, 3, 1, 4, 2)
    result: Array = cells.reshape(height * side, width * side, -1)
    return result


def gathered(planes: Array, side: int) -> Array:
    """Undo `spread`."""
    height, width = planes.shape[0] // side, planes.shape[1] // side
    cells = planes.reshape(height, side, width, side, -1).transpose(0, 2, 4, 1, 3)
    result: Array = cells.reshape(height, width, -1)
    return result


def _turned(x: Array) -> Array:
    return np.swapaxes(x, 0, 1)


def _filtered(x: Array, boundary: Array) -> Array:
    """Apply the boundary filter along one side, then along the other."""
    for _ in range(2):
        x = _turned(x).copy()
        for start in range(4, len(x) - 8, 8):
            x[start : start + 8] = np.einsum("ij,jck->ick", boundary, x[start : start + 8])
    return x


def _lifted(x: Array, steps: Sequence[tuple[int, float]]) -> Array:
    """Take lifting steps along every column."""
    x = x.copy()
    for parity, share in steps:
        mirrored = np.pad(x, ((1, 1), (0, 0), (0, 0)), "reflect")
        around = mirrored[:-2] + mirrored[2:]
        x[parity::2] += np.float32(share) * around[parity::2]
    return x
