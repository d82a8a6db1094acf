"""What the prior knows at the positions of a grid: the quality, and what indices look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.layer import ACTIVATION_MAX, Activations, Grid
from vqcodec.entropy.threads import in_strips


def enter(
    columns: Grid,
    positions: NDArray[np.int64],
    tables: Sequence[NDArray[Any]],
    indices: Sequence[NDArray[Any]],
) -> None:
    """Write what the indices at some positions look like into the columns there."""

    def enter_strip(strip: slice) -> None:
        places = positions[strip]
        columns[places] = look_up(tables, [group[:, places] for group in indices])

    in_strips(enter_strip, len(positions))


def look_up(tables: Sequence[NDArray[Any]], indices: Sequence[NDArray[Any]]) -> Grid:
    """Return table entries of all codebooks of a level, `[N, channels]`."""
    groups = [
        table[np.arange(len(table))[:, None], index].transpose(1, 0, 2).reshape(index.shape[1], -1)
        for table, index in zip(tables, indices, strict=True)
    ]
    return np.concatenate(groups, -1)


def quality_planes(quality: int) -> Activations:
    """Return the three hat functions over quality 1..100, integers 0..127."""
    position = 2 * (quality - 1)  # in units of 1/99
    hats = [max(0, 99 - abs(position - 99 * knot)) for knot in range(3)]
    return np.array([(hat * ACTIVATION_MAX * 2 + 99) // 198 for hat in hats], np.float32)
