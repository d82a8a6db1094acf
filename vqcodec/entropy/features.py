"""What the prior knows at the positions of a grid: the quality, and what indices look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.layer import ACTIVATION_MAX, Activations, Grid
from vqcodec.entropy.schedule import phase_positions
from vqcodec.entropy.threads import in_strips

Tables = Sequence[NDArray[Any]]  # [codebooks, codewords, dim], one array a group of codebooks
Indices = Sequence[NDArray[Any]]  # [codebooks, N], likewise


def beside(state: Grid, tables: Tables, indices: Indices) -> Grid:
    """Return a state, uint8 `[H, W, channels]`, with what a level's indices look like beside it."""
    height, width, entered = state.shape
    known = _room(state, tables)

    def enter_rows(rows: slice) -> None:
        known[rows, :, :entered] = state[rows]
        looked_up = look_up(tables, _of_rows(indices, rows, width))
        known[rows, :, entered:] = looked_up.reshape(-1, width, looked_up.shape[-1])

    in_strips(enter_rows, height, width)
    return known


def around(
    positions: NDArray[np.int64],
    state: Grid,
    tables: Tables,
    indices: Indices,
    phases: int,
    phase: int,
) -> tuple[Grid, int]:
    """Return what is known around some positions of a phase, and the position it begins with.

    It is the same for whole rows, with zeros for all indices but those of the phases before.
    """
    height, width, entered = state.shape
    # An even row, for the order of phases is one of pairs of rows.
    top = max(int(positions[0]) // width - 1, 0) // 2 * 2
    rows = slice(top, min(int(positions[-1]) // width + 2, height))
    known = _room(state[rows], tables)
    known[:, :, :entered] = state[rows]
    columns, part = known.reshape(-1, known.shape[-1]), _of_rows(indices, rows, width)
    for earlier in range(phase):
        places = phase_positions(phases, earlier, *known.shape[:2])
        columns[places, entered:] = look_up(tables, [group[:, places] for group in part])
    return known, top * width


def look_up(tables: Tables, indices: Indices) -> Grid:
    """Return table entries of all codebooks of a level, `[N, channels]`; N may be 0."""
    groups = [
        table[np.arange(len(table))[:, None], index]
        .transpose(1, 0, 2)
        .reshape(index.shape[1], len(table) * table.shape[-1])
        for table, index in zip(tables, indices, strict=True)
    ]
    return np.concatenate(groups, -1)


def quality_planes(quality: int) -> Activations:
    """Return the three hat functions over quality 1..100, integers 0..127."""
    position = 2 * (quality - 1)  # in units of 1/99
    hats = [max(0, 99 - abs(position - 99 * knot)) for knot in range(3)]
    return np.array([(hat * ACTIVATION_MAX * 2 + 99) // 198 for hat in hats], np.float32)


def _room(state: Grid, tables: Tables) -> Grid:
    """Return zeros for a state and, beside it, what indices look like."""
    channels = sum(len(table) * table.shape[-1] for table in tables)
    height, width, entered = state.shape
    return np.zeros((height, width, entered + channels), np.uint8)


def _of_rows(indices: Indices, rows: slice, width: int) -> Indices:
    """Return the indices of some rows of a grid."""
    return [group[:, rows.start * width : rows.stop * width] for group in indices]
