"""The phases of a level: every position once, the later ones between those before them."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.entropy.schedule import phase_positions

GRIDS = [(1, 1), (1, 4), (5, 1), (2, 2), (3, 5), (6, 4)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("phases", [1, 2, 3])
def test_every_position_is_in_one_phase_in_raster_order(phases: int, grid: tuple[int, int]) -> None:
    parts = [phase_positions(phases, phase, *grid) for phase in range(phases)]
    together = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(together), np.arange(grid[0] * grid[1]))
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert len(parts[0]) > 0


@pytest.mark.parametrize(
    ("phases", "rows"),
    [
        (1, ["00000", "00000", "00000"]),
        (2, ["01010", "10101", "01010"]),
        (3, ["02020", "21212", "02020"]),
    ],
)
def test_the_pattern_of_each_number_of_phases(phases: int, rows: list[str]) -> None:
    pattern = np.full(15, -1)
    for phase in range(phases):
        pattern[phase_positions(phases, phase, 3, 5)] = phase
    assert ["".join(map(str, row)) for row in pattern.reshape(3, 5)] == rows
