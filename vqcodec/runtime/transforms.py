"""The block transforms of `vqcodec.model.transform` as ONNX graphs.

Planes are batches here, `[3, values, H, W]` with the values of a block by rows: what filters across
the borders of blocks does the same in each. At its border a grid is a mirror of itself, which no
filter here changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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
    basis = arrays["basis"].reshape(PLANES, stride**2, -1)[:, order]
    blocks = graph.conv(coefficients, basis.reshape(len(arrays["basis"]), -1))
    blocks = graph.reshaped(blocks, PLANES, stride**2, 0, 0)
    if kind == "wavelet":
        blocks = _lifted(graph, blocks)
    if ratio > 1:
        blocks = graph.depth_to_space(blocks, ratio, PLANES)
    return _filtered(graph, blocks, arrays["boundary"], side) if kind == "lapped" else blocks


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
    if kind == "lapped":
        values = _filtered(graph, values, arrays["boundary"], side)
    # SpaceToDepth puts the place within the smaller block last.
    order = np.arange(stride**2).reshape(ratio, side, ratio, side).transpose(0, 2, 1, 3).ravel()
    blocks = values if ratio == 1 else graph.op("SpaceToDepth", values, blocksize=ratio)
    basis = arrays["basis"].reshape(-1, PLANES, stride**2)[..., order]
    flat = graph.reshaped(blocks, 1, PLANES * stride**2, 0, 0)
    return graph.conv(flat, basis.reshape(len(basis), -1), plus=plus)


def _filtered(graph: Graph, values: str, boundary: Array, side: int) -> str:
    """Filter the values on both sides of every border of blocks, both ways at once.

    `values` are `[3, side^2, H, W]`. Blocks that lie half a block further hold what a border's
    filter sees, so that it is one product for each of them.
    """
    reach = len(boundary) // 2 // side
    ratio = 2 * reach
    kernel = np.kron(boundary, boundary).reshape(ratio, side, ratio, side, ratio, side, ratio, side)
    # [ratio, side] are rows and columns of what comes out, then of what goes in.
    kernel = kernel.transpose(1, 3, 0, 2, 5, 7, 4, 6).reshape(-1, side**2, ratio, ratio)
    mirrored = _mirrored(graph, values, reach, side)
    blocks = graph.conv(mirrored, kernel, stride=ratio)
    values = graph.depth_to_space(blocks, ratio, PLANES)
    for axis in (2, 3):
        values = graph.part(values, axis, reach, -reach)
    return values


def _mirrored(graph: Graph, values: str, reach: int, side: int) -> str:
    """Add `reach` rows and columns of small blocks around, the mirror image of those inside."""
    places = np.arange(side**2).reshape(side, side)
    inside = np.arange(reach)[::-1], -1 - np.arange(reach)
    for axis, flipped in ((3, places[:, ::-1]), (2, places[::-1])):
        order = graph.constant(flipped.ravel(), np.int64)
        ends = (
            graph.op("Gather", values, graph.constant(numbers, np.int64), axis=axis)
            for numbers in inside
        )
        before, after = (graph.op("Gather", end, order, axis=1) for end in ends)
        values = graph.concat(before, values, after, axis=axis)
    return values


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
