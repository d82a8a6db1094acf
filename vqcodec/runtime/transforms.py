"""The block transforms of `vqcodec.model.transform` as ONNX graphs.

Planes are batches here, `[3, values, H, W]` with the values of a block by rows: what filters across
the borders of blocks does the same in each. At its border a grid is a mirror of itself, which no
filter here changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vqcodec.model.config import LIFTING, PLANES
from vqcodec.runtime.graph import Array, Graph


def synthesis(
    graph: Graph, coefficients: str, kind: str, stride: int, arrays: Mapping[str, Array], side: int
) -> str:
    """Add a synthesis of `[1, planes * stride^2, H, W]` to blocks of `side` x `side` values.

    They are `[3, side^2, H * stride / side, W * stride / side]`. `arrays` holds the transform's
    parameters: `basis`, and `boundary` of the lapped one.
    """
    ratio = stride // side
    # DepthToSpace wants the place within the smaller block first.
    order = np.arange(stride**2).reshape(ratio, side, ratio, side).transpose(1, 3, 0, 2).ravel()
    basis = arrays["basis"].reshape(PLANES, stride**2, -1)
    basis = basis if kind == "lapped" else basis[:, order]
    blocks = graph.conv(coefficients, basis.reshape(len(arrays["basis"]), -1))
    blocks = graph.reshaped(blocks, PLANES, stride**2, 0, 0)
    if kind == "lapped":
        mirrored = _mirrored(graph, blocks, np.arange(stride**2))
        blocks = graph.conv(mirrored, _boundary_kernel(arrays["boundary"])[order], padded=False)
    elif kind == "wavelet":
        blocks = _lifted(graph, blocks)
    if ratio == 1:
        return blocks
    return graph.op("DepthToSpace", blocks, blocksize=ratio, mode="CRD")


def analysis(
    graph: Graph,
    values: str,
    kind: str,
    stride: int,
    arrays: Mapping[str, Array],
    side: int,
    plus: str,
) -> str:
    """Add the other way, of the plain transform or the lapped one, `plus` coefficients."""
    ratio = stride // side
    # SpaceToDepth puts the place within the smaller block last.
    order = np.arange(stride**2).reshape(ratio, side, ratio, side).transpose(0, 2, 1, 3).ravel()
    blocks = values if ratio == 1 else graph.op("SpaceToDepth", values, blocksize=ratio)
    basis = arrays["basis"].reshape(-1, PLANES, stride**2)
    if kind == "lapped":
        kernel = _boundary_kernel(arrays["boundary"])[:, order]
        blocks = graph.conv(_mirrored(graph, blocks, order), kernel, padded=False)
    else:
        basis = basis[..., order]
    flat = graph.reshaped(blocks, 1, PLANES * stride**2, 0, 0)
    return graph.conv(flat, basis.reshape(len(basis), -1), plus=plus)


def _boundary_kernel(boundary: Array) -> Array:
    """Return what filters the values on both sides of every border of blocks, both ways at once."""
    half = len(boundary) // 2
    taps = np.zeros((3, 2 * half, 2 * half), np.float32)  # block before, itself, after: [out, in]
    taps[0, :half, half:] = boundary[half:, :half]
    taps[1, :half, :half] = boundary[half:, half:]
    taps[1, half:, half:] = boundary[:half, :half]
    taps[2, half:, :half] = boundary[:half, half:]
    kernel: Array = np.einsum("iab,jcd->acbdij", taps, taps)
    return kernel.reshape((2 * half) ** 2, -1, 3, 3)


def _mirrored(graph: Graph, blocks: str, order: NDArray[np.int64]) -> str:
    """Add a block on every side of a grid, the mirror image of the one beside it.

    `order` says where in a block each of its values is.
    """
    where, side = np.argsort(order), math.isqrt(len(order))
    row, column = np.divmod(order, side)
    last = side - 1
    for axis, flipped in ((3, row * side + last - column), (2, (last - row) * side + column)):
        places = graph.constant(where[flipped], np.int64)
        ends = graph.part(blocks, axis, 0, 1), graph.part(blocks, axis, -1)
        before, after = (graph.op("Gather", end, places, axis=1) for end in ends)
        blocks = graph.concat(before, blocks, after, axis=axis)
    return blocks


def _lifted(graph: Graph, blocks: str) -> str:
    """Undo the lifting steps of the wavelet, `[3, 4, H, W]`, down and then across."""
    pairs = [graph.part(blocks, 1, 0, 2), graph.part(blocks, 1, 2)]  # rows above and below
    blocks = graph.concat(*_unlifted(graph, pairs, 2), axis=1)
    rows = [graph.part(blocks, 1, place, place + 1) for place in range(4)]
    across = [_unlifted(graph, rows[first : first + 2], 3) for first in (0, 2)]
    return graph.concat(*across[0], *across[1], axis=1)


def _unlifted(graph: Graph, parts: list[str], axis: int) -> list[str]:
    for parity, share in reversed(LIFTING):
        other = parts[1 - parity]
        shifted = (
            [graph.part(other, axis, 1), graph.part(other, axis, -1)]
            if parity
            else [graph.part(other, axis, 0, 1), graph.part(other, axis, 0, -1)]
        )
        both = graph.op("Add", other, graph.concat(*shifted, axis=axis))
        parts[parity] = graph.op("Sub", parts[parity], graph.times(both, share))
    return parts
