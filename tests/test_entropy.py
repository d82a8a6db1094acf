"""The integer prior and the range coder: exact, causal, close to the model, and there and back."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vqcodec.entropy.coder import FREQUENCY_BITS, Decoder, Encoder, FrequencyTables
from vqcodec.entropy.network import (
    ACTIVATION_MAX,
    CLASSES,
    Indices,
    Layer,
    PriorNetwork,
)
from vqcodec.errors import CorruptError, ModelError
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load

if TYPE_CHECKING:
    from vqcodec.model.vqvae import VQVAE

WORDS = 256
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


def random_counts(rng: np.random.Generator, codebooks: int) -> NDArray[np.uint32]:
    """Tables of all shapes, from nearly flat to nearly certain, uint32 `[codebooks, 32, 256]`."""
    p = np.stack([rng.dirichlet(np.full(WORDS, 3.0 / (1 + k)), codebooks) for k in range(CLASSES)])
    counts = np.floor(p * ((1 << FREQUENCY_BITS) - WORDS)).astype(np.int64) + 1
    counts[..., 0] += (1 << FREQUENCY_BITS) - counts.sum(-1)
    tables: NDArray[np.uint32] = counts.swapaxes(0, 1).astype(np.uint32)
    return tables


def random_tables(rng: np.random.Generator, codebooks: int) -> FrequencyTables:
    return FrequencyTables(random_counts(rng, codebooks))


def flat_counts() -> NDArray[np.uint32]:
    return np.full((1, CLASSES, WORDS), (1 << FREQUENCY_BITS) // WORDS, np.uint32)


def drawn(
    rng: np.random.Generator, counts: NDArray[np.uint32], classes: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Indices as likely as the tables say."""
    rows = counts[np.arange(len(classes))[:, None], classes].cumsum(-1)
    draws = rng.random((*classes.shape, 1)) * (1 << FREQUENCY_BITS)
    indices: NDArray[np.uint8] = (rows <= draws).sum(-1).astype(np.uint8)
    return indices


def there_and_back(
    tables: FrequencyTables, classes: NDArray[np.uint8], indices: NDArray[np.uint8]
) -> bytes:
    """Code `indices`, require that they come back, and return the stream."""
    encoder = Encoder()
    encoder.put(tables, classes, indices)
    stream = encoder.finish()
    np.testing.assert_array_equal(Decoder(stream).get(tables, classes), indices)
    return stream


def random_code(
    seed: int, seen: list[tuple[int, list[NDArray[np.uint8]]]]
) -> Callable[[int, list[NDArray[np.uint8]]], list[NDArray[np.uint8]]]:
    """Random indices, small ones more often; `seen` collects what the prior says."""
    rng = np.random.default_rng(seed)

    def code(number: int, classes: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        seen.append((number, classes))
        return [
            (rng.integers(0, WORDS, own.shape) >> rng.integers(0, 8, own.shape)).astype(np.uint8)
            for own in classes
        ]

    return code


def classes_of(
    prior: PriorNetwork, indices: Indices, quality: int = 50
) -> list[list[NDArray[np.uint8]]]:
    """The classes that the prior gives to known indices on `GRID`."""
    seen: list[list[NDArray[np.uint8]]] = []

    def code(number: int, classes: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        seen.append(classes)
        return indices[number]

    prior.walk(quality, *GRID, code)
    return seen


def flat(classes: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
    return np.concatenate([part.ravel() for part in classes]).astype(np.int64)


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
    result = layer(weight, bias)(x.astype(np.float32))
    np.testing.assert_array_equal(result, expected)


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
        layer(weight, bias)(x.astype(np.float32)), convolve(x, weight, bias)
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


def test_levels_are_visited_coarse_to_fine(prior: PriorNetwork) -> None:
    seen: list[tuple[int, list[NDArray[np.uint8]]]] = []
    result = prior.walk(50, *GRID, random_code(0, seen))
    assert [number for number, _ in seen] == list(range(len(prior.levels)))
    assert [level.scale for level in prior.levels] == [0, 0, 1, 1]
    for (_, classes), level, indices in zip(seen, prior.levels, result, strict=True):
        positions = GRID[0] * GRID[1] * 64**level.scale
        assert [part.shape for part in classes] == [(n, positions) for n in level.parts]
        assert [part.shape for part in indices] == [part.shape for part in classes]
        assert all(part.dtype == np.uint8 and part.max() < CLASSES for part in classes)


def test_classes_depend_on_the_levels_before_and_on_nothing_else(prior: PriorNetwork) -> None:
    indices = prior.walk(50, *GRID, random_code(1, []))
    before = classes_of(prior, indices)
    for changed in range(len(indices)):
        others = [[255 - part for part in level] for level in indices]
        mixed = [others[n] if n == changed else level for n, level in enumerate(indices)]
        after = classes_of(prior, mixed)
        for number in range(len(indices)):
            same = np.array_equal(flat(before[number]), flat(after[number]))
            assert same == (number <= changed), (changed, number)


def test_quality_moves_the_classes(prior: PriorNetwork) -> None:
    indices = prior.walk(50, *GRID, random_code(1, []))
    means = [
        np.mean([flat(level).mean() for level in classes_of(prior, indices, quality)])
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
def code(number, classes):
    for part in classes:
        digest.update(part.tobytes())
    return [rng.integers(0, 256, part.shape).astype(np.uint8) for part in classes]
load(ModelInfo(pathlib.Path({str(tiny_weights)!r}))).prior.walk(70, 5, 7, code)
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


@pytest.mark.parametrize("quality", [60, 80, 100])
def test_the_integer_prior_is_the_one_that_was_trained(
    tiny_model: VQVAE, prior: PriorNetwork, quality: int
) -> None:
    import torch

    from vqcodec.model.prior import ACTIVATION_UNIT

    seen: list[tuple[int, list[NDArray[np.uint8]]]] = []
    indices = prior.walk(quality, *GRID, random_code(quality, seen))

    numbers = itertools.count()
    qualities = torch.tensor([float(quality)])
    state = tiny_model.prior.start(qualities, *GRID)
    off_by: list[NDArray[np.int64]] = []
    with torch.no_grad():
        for scale, levels in enumerate(tiny_model.levels):
            if scale:
                state = tiny_model.prior.refine(state, qualities)
            for level in levels:
                number = next(numbers)
                hidden, width = tiny_model.prior.levels[number](state.features, qualities)
                grid = width.shape[2:]
                trained = (width / ACTIVATION_UNIT).round().long() >> 2
                trained = trained.transpose(0, 1).flatten(1).numpy().ravel()
                off_by.append(np.abs(flat(seen[number][1]) - trained))
                words = [torch.from_numpy(part.astype(np.int64)) for part in indices[number]]
                z_q = level.codebooks.lookup(words, *grid)
                state = tiny_model.prior.observe(state, hidden, z_q)
    assert all(len(np.unique(flat(classes))) > 1 for _, classes in seen)
    distances = np.concatenate(off_by)
    assert distances.max() <= 2
    assert (distances <= 1).mean() >= 0.99
    assert (distances == 0).mean() >= 0.9


# The range coder


@pytest.mark.parametrize("damage", ["sum", "zero", "classes", "dimensions"])
def test_tables_that_are_no_distribution_are_refused(damage: str) -> None:
    counts = flat_counts()
    FrequencyTables(counts)
    if damage == "sum":
        counts[0, 3, 5] += 1
    elif damage == "zero":
        counts[0, 3, 4] += counts[0, 3, 5]
        counts[0, 3, 5] = 0
    elif damage == "classes":
        counts = counts[:, :-1]
    else:
        counts = counts[0]
    with pytest.raises(ModelError, match="frequency table"):
        FrequencyTables(counts)


def test_symbols_come_back_and_cost_what_the_tables_say() -> None:
    rng = np.random.default_rng(0)
    counts = random_counts(rng, 3)
    tables = FrequencyTables(counts)
    few = rng.choice(CLASSES, 9, replace=False)  # so that most classes are empty
    classes = rng.choice(few, (3, 4000)).astype(np.uint8)
    indices = drawn(rng, counts, classes)
    stream = there_and_back(tables, classes, indices)
    ideal = tables.bits(classes, indices) / 8
    assert 2000 < ideal < 10000
    assert ideal - 1 < len(stream) < 1.01 * ideal + 8


def test_bits_are_the_information_content() -> None:
    counts = random_counts(np.random.default_rng(1), 2)
    tables = FrequencyTables(counts)
    classes = np.array([[3, 9], [31, 0]], np.uint8)
    indices = np.array([[0, 7], [255, 7]], np.uint8)
    p = [counts[g, classes[g, n], indices[g, n]] / 2**24 for g in (0, 1) for n in (0, 1)]
    assert tables.bits(classes, indices) == pytest.approx(-np.log2(p).sum())


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_short_messages(count: int) -> None:
    tables = random_tables(np.random.default_rng(2), 2)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        classes = rng.integers(0, CLASSES, (2, count)).astype(np.uint8)
        indices = rng.integers(0, WORDS, (2, count)).astype(np.uint8)
        stream = there_and_back(tables, classes, indices)
        assert bool(stream) == bool(count)


def test_zero_bytes_at_the_end_are_left_out() -> None:
    tables = random_tables(np.random.default_rng(2), 1)
    sizes = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        classes = rng.integers(0, CLASSES, (1, 6)).astype(np.uint8)
        indices = rng.integers(0, WORDS, (1, 6)).astype(np.uint8)
        stream = there_and_back(tables, classes, indices)
        assert not stream.endswith(b"\0")
        sizes.append(len(stream))
    assert any(size % 4 for size in sizes)


def test_the_likeliest_message_is_empty() -> None:
    tables = random_tables(np.random.default_rng(3), 1)
    nothing = np.zeros((1, 5), np.uint8)
    assert there_and_back(tables, nothing, nothing) == b""


def test_levels_follow_each_other_in_one_stream() -> None:
    rng = np.random.default_rng(4)
    tables = [random_tables(rng, codebooks) for codebooks in (1, 2, 3)]
    levels = [rng.integers(0, CLASSES, (n, 50 * n)).astype(np.uint8) for n in (1, 2, 3)]
    encoder = Encoder()
    for own, classes in zip(tables, levels, strict=True):
        encoder.put(own, classes, classes * 3)
    decoder = Decoder(encoder.finish())
    for own, classes in zip(tables, levels, strict=True):
        np.testing.assert_array_equal(decoder.get(own, classes), classes * 3)


def test_the_bytes_never_change() -> None:
    # A file of today is read tomorrow: another coder, order or byte order breaks every file.
    short = np.array([[9, 0, 255, 1]], np.uint8)
    stream = there_and_back(FrequencyTables(flat_counts()), short // 128, short)
    assert stream.hex() == "fe0100090000f7fe"

    class_, word = np.mgrid[:CLASSES, :WORDS]
    counts = (7919 * (word + 1) * (class_ + 3)) % 60000 + 1
    counts[:, 0] += (1 << FREQUENCY_BITS) - counts.sum(-1)
    n = np.arange(3000)
    classes = (n * n % CLASSES).astype(np.uint8)[None]
    indices = ((7 * n * n + n) // 5 % WORDS).astype(np.uint8)[None]
    stream = there_and_back(FrequencyTables(counts[None].astype(np.uint32)), classes, indices)
    assert hashlib.sha256(stream).hexdigest()[:16] == "9a24215a3a7b5b29"


def test_a_cut_stream_is_read_up_to_the_cut() -> None:
    rng = np.random.default_rng(6)
    counts = random_counts(rng, 20)
    tables = FrequencyTables(counts)
    classes = rng.integers(0, CLASSES, (20, 300)).astype(np.uint8)
    indices = drawn(rng, counts, classes)
    encoder = Encoder()
    encoder.put(tables, classes, indices)
    stream = encoder.finish()
    np.testing.assert_array_equal(Decoder(stream, partial=True).get(tables, classes), indices)
    for cut in range(0, len(stream), 97):
        part = Decoder(stream[:cut], partial=True).get(tables, classes)
        right = (part == indices).all(1)
        whole = int(cut / len(stream) * 20)
        assert right[: max(0, whole - 1)].all()
        assert not part[whole + 4 :].any()


def test_random_bytes_are_indices_or_an_error() -> None:
    rng = np.random.default_rng(5)
    tables = random_tables(rng, 2)
    classes = rng.integers(0, CLASSES, (2, 3000)).astype(np.uint8)
    refused = 0
    for _ in range(30):
        try:
            indices = Decoder(rng.bytes(50)).get(tables, classes)
            assert indices.shape == classes.shape
        except CorruptError:
            refused += 1
    assert refused > 0
