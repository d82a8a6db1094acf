"""The integer prior: exact, causal, and close to the one that was trained."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_limits

from vqcodec.entropy import prior as network
from vqcodec.entropy.layer import ACTIVATION_MAX, Layer
from vqcodec.entropy.prior import CLASS_SHIFT, CLASSES, Indices, PriorNetwork, Symbols
from vqcodec.entropy.schedule import phase_positions
from vqcodec.entropy.threads import one_blas_thread
from vqcodec.errors import ModelError
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load

if TYPE_CHECKING:
    from torch import Tensor

    from vqcodec.model.vqvae import VQVAE

GRID = 2, 3


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


@dataclass(frozen=True)
class Call:
    """A phase of a walk: what the prior says, and the indices it is told."""

    number: int
    phase: int
    classes: Symbols
    indices: Symbols


def random_walk(prior: PriorNetwork, seed: int, quality: int = 50) -> tuple[list[Call], Indices]:
    """A walk over `GRID` with random indices, small ones more often."""
    rng = np.random.default_rng(seed)
    calls: list[Call] = []

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        indices = []
        for table, own in zip(prior.levels[number].magnitudes, classes, strict=True):
            draw = rng.integers(0, table.shape[1], own.shape) >> rng.integers(0, 8, own.shape)
            indices.append(draw.astype(np.uint8))
        calls.append(Call(number, phase, classes, indices))
        return indices

    return calls, prior.walk(quality, *GRID, code)


def classes_of(
    prior: PriorNetwork, indices: list[Symbols], quality: int = 50
) -> list[NDArray[np.int64]]:
    """The classes that the prior gives to known indices of the phases on `GRID`."""
    rest = iter(indices)
    seen = []

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        seen.append(flat(classes))
        return next(rest)

    prior.walk(quality, *GRID, code)
    return seen


def flat(parts: Symbols) -> NDArray[np.int64]:
    return np.concatenate([part.ravel() for part in parts]).astype(np.int64)


@pytest.fixture(scope="module")
def prior(tiny_weights: Path) -> PriorNetwork:
    return load(ModelInfo(tiny_weights)).prior


# The integer network


@pytest.mark.parametrize("taps", [1, 9])
@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (5, 1), (4, 6)])
def test_a_layer_is_integer_arithmetic(taps: int, grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(taps)
    x = rng.integers(0, ACTIVATION_MAX + 1, (*grid, 5))
    weight = rng.integers(-300, 301, (taps, 5, 7))
    bias = rng.integers(-9000, 30000, 7)
    expected = convolve(x, weight, bias)
    assert len(np.unique(expected)) > 3
    own = layer(weight, bias)
    result = own(x.astype(np.float32)) if taps == 1 else own.rows(x, slice(0, grid[0]))
    np.testing.assert_array_equal(result, expected)


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
        own = convolution.rows(x, slice(row, row + 1)).reshape(-1, 7)
        np.testing.assert_array_equal(own, whole[row * grid[1] : (row + 1) * grid[1]])


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


def test_phases_are_visited_coarse_to_fine(prior: PriorNetwork) -> None:
    calls, result = random_walk(prior, 0)
    assert prior.scales == [range(2), range(2, 4)]
    assert [(call.number, call.phase) for call in calls] == [
        *((0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1))
    ]
    for call in calls:
        level = prior.levels[call.number]
        grid = [side * 8 ** (call.number in prior.scales[1]) for side in GRID]
        positions = phase_positions(len(level.phases), call.phase, *grid)
        assert [part.shape for part in call.classes] == [(n, len(positions)) for n in level.groups]
        assert all(part.dtype == np.uint8 and part.max() < CLASSES for part in call.classes)
        for whole, part in zip(result[call.number], call.indices, strict=True):
            assert whole.dtype == np.uint8
            assert whole.shape == (len(part), grid[0] * grid[1])
            np.testing.assert_array_equal(whole[:, positions], part)


def test_strips_of_the_grid_give_what_the_whole_gives(
    prior: PriorNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = random_walk(prior, 3)
    for strip in (1, 50, 700):
        monkeypatch.setattr(network, "STRIP", strip)
        for call, own in zip(random_walk(prior, 3)[0], whole, strict=True):
            for mine, expected in zip(call.classes, own.classes, strict=True):
                np.testing.assert_array_equal(mine, expected)


def test_classes_depend_on_the_phases_before_and_on_nothing_else(prior: PriorNetwork) -> None:
    calls, _ = random_walk(prior, 1)
    indices = [call.indices for call in calls]
    before = classes_of(prior, indices)
    for changed, call in enumerate(calls):
        tables = prior.levels[call.number].magnitudes
        others = [
            (table.shape[1] - 1 - part).astype(np.uint8)
            for table, part in zip(tables, call.indices, strict=True)
        ]
        after = classes_of(prior, [*indices[:changed], others, *indices[changed + 1 :]])
        same = [np.array_equal(*pair) for pair in zip(before, after, strict=True)]
        assert same == [number <= changed for number in range(len(calls))]


def test_quality_moves_the_classes(prior: PriorNetwork) -> None:
    indices = [call.indices for call in random_walk(prior, 1)[0]]
    means = [
        np.mean([classes.mean() for classes in classes_of(prior, indices, quality)])
        for quality in (1, 25, 50, 75, 100)
    ]
    assert (np.diff(means) > 0).all()


def test_the_prior_needs_no_torch_and_is_the_same_with_any_number_of_threads(
    tiny_weights: Path,
) -> None:
    script = f"""
import hashlib, pathlib, sys
import numpy as np
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load
rng, digest = np.random.default_rng(0), hashlib.sha256()
def code(number, phase, classes):
    for part in classes:
        digest.update(part.tobytes())
    tables = zip(prior.levels[number].magnitudes, classes)
    return [rng.integers(0, table.shape[1], part.shape, np.uint8) for table, part in tables]
prior = load(ModelInfo(pathlib.Path({str(tiny_weights)!r}))).prior
prior.walk(70, 5, 7, code)
assert "torch" not in sys.modules
print(digest.hexdigest())
"""
    path = str(Path(__file__).parents[1])
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": path, **dict.fromkeys(threads, count)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in ("1", "2")
    }
    assert len(digests) == 1


def blas_threads() -> set[int]:
    pools = ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools}


def test_a_walk_is_on_one_blas_thread(prior: PriorNetwork) -> None:
    inside = []

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        inside.append(blas_threads())
        return [np.zeros_like(part) for part in classes]

    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("NumPy's BLAS has no two threads here")
        prior.walk(50, 1, 1, code)
        assert all(threads == {1} for threads in inside)
        assert blas_threads() == {2}


def test_the_last_to_leave_lifts_the_limit_on_blas_threads() -> None:
    before = blas_threads()
    first, last = ExitStack(), ExitStack()
    first.enter_context(one_blas_thread)
    last.enter_context(one_blas_thread)
    first.close()
    assert blas_threads() <= {1}
    last.close()
    assert blas_threads() == before


@pytest.mark.parametrize("quality", [60, 80, 100])
def test_the_integer_prior_is_the_one_that_was_trained(
    tiny_model: VQVAE, prior: PriorNetwork, quality: int
) -> None:
    import torch

    from vqcodec.model.prior import ACTIVATION_UNIT

    calls, _ = random_walk(prior, quality, quality)
    told, trained = iter(calls), []

    def tell(module: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> Any:
        log_scale = inputs[2][0].T
        trained.append(
            (log_scale / ACTIVATION_UNIT).round().long().flatten().numpy() >> CLASS_SHIFT
        )
        chosen = [torch.from_numpy(group.astype(np.int64)) for group in next(told).indices]
        return module.lookup(chosen, 1), output[1]

    hooks = [level.codebooks.register_forward_hook(tell) for level in tiny_model.levels]
    with torch.no_grad():
        x = torch.zeros(1, 3, *(64 * side for side in GRID))
        tiny_model(x, torch.tensor([float(quality)]))
    for hook in hooks:
        hook.remove()

    integers = [flat(call.classes) for call in calls]
    assert all(len(np.unique(classes)) > 1 for classes in integers)
    distances = np.abs(np.concatenate(integers) - np.concatenate(trained))
    assert distances.max() <= 2
    assert (distances <= 1).mean() >= 0.99
    pairs = np.concatenate(integers) >> 1, np.concatenate(trained) >> 1
    assert np.equal(*pairs).mean() >= 0.9
