"""The integer prior: exact, causal, and close to the one that was trained."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from vqcodec.entropy import threads as strips
from vqcodec.entropy.features import around, look_up
from vqcodec.entropy.levels import CLASS_SHIFT, CLASSES, Indices, Symbols
from vqcodec.entropy.prior import PriorNetwork, PutPhaseOfLevel
from vqcodec.entropy.schedule import phase_positions
from vqcodec.entropy.stream import replay
from vqcodec.entropy.threads import one_blas_thread
from vqcodec.threads import use
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load

if TYPE_CHECKING:
    from torch import Tensor

    from vqcodec.model.vqvae import VQVAE

GRID = 2, 3


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
        for table, group in zip(prior.levels[number].magnitudes, classes, strict=True):
            draw = rng.integers(0, table.shape[1], group.shape)
            draw >>= rng.integers(0, 8, group.shape)
            indices.append(draw.astype(np.uint8))
        calls.append(Call(number, phase, classes, indices))
        return indices

    return calls, list(prior.walk(quality, *GRID, code))


def classes_of(
    prior: PriorNetwork, indices: list[Symbols], quality: int = 50
) -> list[NDArray[np.int64]]:
    """The classes that the prior gives to known indices of the phases on `GRID`."""
    rest = iter(indices)
    seen = []

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        seen.append(flat(classes))
        return next(rest)

    list(prior.walk(quality, *GRID, code))
    return seen


def flat(groups: Symbols) -> NDArray[np.int64]:
    return np.concatenate([group.ravel() for group in groups]).astype(np.int64)


@pytest.fixture(scope="module")
def prior(tiny_weights: Path) -> PriorNetwork:
    return load(ModelInfo(tiny_weights)).prior


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
        assert [group.shape for group in call.classes] == [
            (codebooks, len(positions)) for codebooks in level.groups
        ]
        assert all(group.dtype == np.uint8 and group.max() < CLASSES for group in call.classes)
        for whole, group in zip(result[call.number], call.indices, strict=True):
            assert whole.dtype == np.uint8
            assert whole.shape == (len(group), grid[0] * grid[1])
            np.testing.assert_array_equal(whole[:, positions], group)


def test_known_indices_are_replayed_as_they_were_walked(prior: PriorNetwork) -> None:
    calls, indices = random_walk(prior, 5)
    put: list[tuple[int, Symbols, Symbols]] = []

    def tell(number: int, classes: Symbols, whole: Symbols, positions: NDArray[np.int64]) -> None:
        put.append((number, classes, [group[:, positions] for group in whole]))

    segments = set()

    def tell_of(segment: int) -> PutPhaseOfLevel:
        segments.add(segment)
        return tell

    replay(prior, 50, GRID, indices, tell_of)
    assert segments == {0}
    assert [number for number, _, _ in put] == [call.number for call in calls]
    for (_, classes, chosen), call in zip(put, calls, strict=True):
        for replayed, walked in ((classes, call.classes), (chosen, call.indices)):
            for group, expected in zip(replayed, walked, strict=True):
                np.testing.assert_array_equal(group, expected)


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_the_first_levels_are_walked_alone(prior: PriorNetwork, stop: int) -> None:
    calls, indices = random_walk(prior, 6)
    rest = iter(calls)

    def code(number: int, phase: int, classes: Symbols) -> Symbols:
        call = next(rest)
        assert (number, phase) == (call.number, call.phase)
        np.testing.assert_array_equal(flat(classes), flat(call.classes))
        return call.indices

    first = list(prior.walk(50, *GRID, code, stop))
    assert len(first) == stop
    for level, expected in zip(first, indices[:stop], strict=True):
        np.testing.assert_array_equal(flat(level), flat(expected))
    assert next(rest).number == stop


def test_strips_of_the_grid_give_what_the_whole_gives(
    prior: PriorNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = random_walk(prior, 3)
    for strip, threads in ((1, 1), (50, 1), (50, 3), (700, 2)):
        monkeypatch.setattr(strips, "STRIP", strip)
        with ThreadPoolExecutor(1, initializer=use, initargs=(threads,)) as pool:
            calls, _ = pool.submit(random_walk, prior, 3).result()
        for call, expected in zip(calls, whole, strict=True):
            np.testing.assert_array_equal(flat(call.classes), flat(expected.classes))


@pytest.mark.parametrize("size", [(1, 7), (7, 1), (9, 4)])
@pytest.mark.parametrize("phase", [1, 2])
def test_around_a_phase_only_the_phases_before_are_known(size: tuple[int, int], phase: int) -> None:
    rng = np.random.default_rng(7)
    state = rng.integers(0, 128, (*size, 3)).astype(np.uint8)
    table = rng.integers(1, 128, (2, 5, 4)).astype(np.uint8)
    indices = [rng.integers(0, 5, (2, size[0] * size[1])).astype(np.uint8)]
    seen = look_up([table], indices)
    before = np.concatenate([phase_positions(3, earlier, *size) for earlier in range(phase)])
    seen[np.setdiff1d(np.arange(len(seen)), before)] = 0
    whole = np.concatenate([state, seen.reshape(*size, -1)], -1)
    positions = phase_positions(3, phase, *size)
    for start in range(0, len(positions), 3):
        some = positions[start : start + 3]
        known, first = around(some, state, [table], indices, 3, phase)
        top = first // size[1]
        np.testing.assert_array_equal(known, whole[top : top + len(known)])
        # With the rows above and below, of those that there are.
        assert top <= max(some[0] // size[1] - 1, 0)
        assert top + len(known) >= min(some[-1] // size[1] + 2, size[0])


def test_classes_depend_on_the_phases_before_and_on_nothing_else(prior: PriorNetwork) -> None:
    calls, _ = random_walk(prior, 1)
    indices = [call.indices for call in calls]
    before = classes_of(prior, indices)
    for changed, call in enumerate(calls):
        tables = prior.levels[call.number].magnitudes
        others = [
            (table.shape[1] - 1 - group).astype(np.uint8)
            for table, group in zip(tables, call.indices, strict=True)
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
    for group in classes:
        digest.update(group.tobytes())
    tables = zip(prior.levels[number].magnitudes, classes)
    return [rng.integers(0, table.shape[1], group.shape, np.uint8) for table, group in tables]
prior = load(ModelInfo(pathlib.Path({str(tiny_weights)!r}))).prior
list(prior.walk(70, 5, 7, code))
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
    """Return the number of threads of NumPy's BLAS; other packages may have loaded their own."""
    pools = ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools if "numpy" in pool["filepath"]}


def test_a_walk_is_on_one_blas_thread(tiny_weights: Path) -> None:
    """In a process of its own, whose BLAS has two threads whatever went before."""
    script = f"""
import pathlib
import numpy as np
from tests.test_integer_prior import blas_threads
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load
inside = []
def code(number, phase, classes):
    inside.append(blas_threads())
    return [np.zeros_like(group) for group in classes]
prior = load(ModelInfo(pathlib.Path({str(tiny_weights)!r}))).prior
before = blas_threads()
list(prior.walk(50, 1, 1, code))
print(before, *inside, blas_threads())
"""
    path = str(Path(__file__).parents[1])
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    before, *inside, after = told.strip().split("} {")
    if before != "{2":
        pytest.skip("NumPy's BLAS has no two threads here")
    assert set(inside) == {"1"}
    assert after == "2}"


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
        y, _, log_scale = inputs
        columns = (log_scale[0].T / ACTIVATION_UNIT).round().long()
        trained.append(columns.flatten().numpy() >> CLASS_SHIFT)
        indices = [torch.from_numpy(group.astype(np.int64)) for group in next(told).indices]
        return module.lookup(indices, len(y)), output[1]

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
