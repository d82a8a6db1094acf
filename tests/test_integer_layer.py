"""The integer layers of the prior: exact at any size, up to the limit of their weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vqcodec.entropy.layer import ACTIVATION_MAX, Layer
from vqcodec.errors import ModelError


def layer(weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
    return Layer(weight.astype(np.float32), bias.astype(np.float32))


def convolve(
    x: NDArray[np.int64], weight: NDArray[np.int64], bias: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What a layer has to compute, in Python's own integers."""
    side = 3 if len(weight) == 9 else 1
    margin = side // 2
    padded = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
    result = np.empty((*x.shape[:2], len(bias)), np.int64)
    for row, column, output in np.ndindex(result.shape):
        patch = padded[row : row + side, column : column + side]
        total = int(bias[output])
        for tap in range(side * side):
            values = patch[tap // side, tap % side]
            total += sum(
                int(v) * int(w) for v, w in zip(values, weight[tap, :, output], strict=True)
            )
        result[row, column, output] = min(max((total + 256) // 512, 0), ACTIVATION_MAX)
    return result


@pytest.mark.parametrize("taps", [1, 9])
@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (5, 1), (4, 6)])
def test_a_layer_is_integer_arithmetic(taps: int, grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(taps)
    x = rng.integers(0, ACTIVATION_MAX + 1, (*grid, 5))
    weight = rng.integers(-300, 301, (taps, 5, 7))
    bias = rng.integers(-9000, 30000, 7)
    expected = convolve(x, weight, bias)
    assert len(np.unique(expected)) > 3
    convolution = layer(weight, bias)
    mapped = convolution if taps == 1 else partial(convolution.rows, rows=slice(0, grid[0]))
    np.testing.assert_array_equal(mapped(x.astype(np.float32)), expected)


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (5, 1), (4, 6)])
def test_a_layer_at_some_positions_is_the_whole_layer_there(grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    x = rng.integers(0, ACTIVATION_MAX + 1, (*grid, 5)).astype(np.uint8)
    convolution = layer(rng.integers(-300, 301, (9, 5, 7)), rng.integers(-9000, 30000, 7))
    positions = np.arange(0, grid[0] * grid[1], 3)
    whole = convolution.rows(x, slice(0, grid[0])).reshape(-1, 7)
    assert len(np.unique(whole)) > 3
    for part in (positions, positions[len(positions) // 2 :]):
        np.testing.assert_array_equal(convolution.at(x, part), whole[part])
    for row in range(grid[0]):
        alone = convolution.rows(x, slice(row, row + 1)).reshape(-1, 7)
        np.testing.assert_array_equal(alone, whole[row * grid[1] : (row + 1) * grid[1]])


def test_a_layer_is_exact_at_the_limit_of_its_weights() -> None:
    # The sum climbs to nearly 2^24 and comes back to a small odd number: float32 with one bit
    # less, or a sum beyond the limit, would lose that bit.
    rng = np.random.default_rng(0)
    half = rng.integers(100, 450, (9, 50, 40)) * 2 + 1
    half = half * (((1 << 24) - 3000) / 2 / ACTIVATION_MAX / half.sum((0, 1)))
    up = half.astype(np.int64)
    weight = np.concatenate([up, -up], axis=1)
    weight[4, 0] += 1
    bias = rng.integers(0, 512, 40)
    x = np.full((3, 3, 100), ACTIVATION_MAX)
    np.testing.assert_array_equal(
        layer(weight, bias).rows(x, slice(0, 3)), convolve(x, weight, bias)
    )


@pytest.mark.parametrize(
    ("total", "activation"),
    [
        *((-30000, 0), (-257, 0), (-256, 0), (-1, 0), (255, 0), (256, 1), (767, 1), (768, 2)),
        *((127 * 512 - 257, 126), (127 * 512 - 256, 127), (90000, 127)),
    ],
)
def test_a_layer_rounds_half_up_and_clamps(total: int, activation: int) -> None:
    zero = np.zeros((1, 1, 1), np.float32)
    assert layer(np.zeros((1, 1, 1)), np.array([total]))(zero) == activation
    assert layer(np.zeros((1, 1, 1)), np.array([0]))(zero, np.float32(total)) == activation


def test_weights_beyond_exact_arithmetic_are_refused() -> None:
    most = ((1 << 24) - 512 - 1) // ACTIVATION_MAX  # of the sum of absolute weights
    weight = np.zeros((9, 2, 1))
    weight[0, 0], weight[8, 1] = most // 2, -(most - most // 2)
    layer(weight, np.zeros(1))
    weight[4, 0] = 1
    with pytest.raises(ModelError, match="too large"):
        layer(weight, np.zeros(1))
    with pytest.raises(ModelError, match="too large"):
        layer(np.zeros((1, 1, 1)), np.array([-(1 << 24)]))
