"""The range coder: there and back, as short as the tables say, and never other bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from vqcodec.entropy import order
from vqcodec.entropy.coder import Counter, Decoder, Encoder
from vqcodec.entropy.levels import CLASSES
from vqcodec.entropy.tables import FREQUENCY_BITS, FrequencyTables
from vqcodec.errors import CorruptError, ModelError

CODEWORDS = 256


def random_counts(
    rng: np.random.Generator, codebooks: int, codewords: int = CODEWORDS
) -> NDArray[np.uint32]:
    """Tables from nearly flat to nearly certain, uint32 `[codebooks, 64, codewords]`."""
    p = np.stack(
        [rng.dirichlet(np.full(codewords, 3.0 / (1 + k)), codebooks) for k in range(CLASSES)]
    )
    counts = np.floor(p * ((1 << FREQUENCY_BITS) - codewords)).astype(np.int64) + 1
    counts[..., 0] += (1 << FREQUENCY_BITS) - counts.sum(-1)
    tables: NDArray[np.uint32] = counts.swapaxes(0, 1).astype(np.uint32)
    return tables


def random_tables(rng: np.random.Generator, codebooks: int) -> FrequencyTables:
    return FrequencyTables(random_counts(rng, codebooks))


def flat_counts() -> NDArray[np.uint32]:
    return np.full((1, CLASSES, CODEWORDS), (1 << FREQUENCY_BITS) // CODEWORDS, np.uint32)


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
    encoder = Encoder([[tables]])
    encoder.put(0, [classes], [indices])
    stream = encoder.finish()
    (read,) = Decoder([[tables]], stream).get(0, [classes])
    np.testing.assert_array_equal(read, indices)
    return stream


def counted(
    tables: FrequencyTables, classes: NDArray[np.uint8], indices: NDArray[np.uint8]
) -> float:
    """Bits that a counter counts."""
    counter = Counter([[tables]])
    counter.put(0, [classes], [indices])
    return float(counter.bits.sum())


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


@pytest.mark.parametrize("codewords", [16, CODEWORDS])
def test_symbols_come_back_and_cost_what_the_tables_say(codewords: int) -> None:
    rng = np.random.default_rng(0)
    counts = random_counts(rng, 3, codewords)
    tables = FrequencyTables(counts)
    assert tables.codewords == codewords
    few = rng.choice(CLASSES, 9, replace=False)  # so that most classes are empty
    classes = rng.choice(few, (3, 4000)).astype(np.uint8)
    indices = drawn(rng, counts, classes)
    stream = there_and_back(tables, classes, indices)
    ideal = tables.bits(classes, indices).sum() / 8
    assert counted(tables, classes, indices) / 8 == pytest.approx(ideal)
    assert 1000 < ideal < 10000
    assert ideal - 1 < len(stream) < 1.01 * ideal + 8


def test_bits_are_the_information_content() -> None:
    counts = random_counts(np.random.default_rng(1), 2)
    tables = FrequencyTables(counts)
    classes = np.array([[3, 9], [31, 0]], np.uint8)
    indices = np.array([[0, 7], [255, 7]], np.uint8)
    p = [counts[g, classes[g, n], indices[g, n]] / 2**24 for g in (0, 1) for n in (0, 1)]
    expected = -np.log2(np.reshape(p, (2, 2)))
    np.testing.assert_allclose(tables.bits(classes, indices), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_short_messages(count: int) -> None:
    tables = random_tables(np.random.default_rng(2), 2)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        classes = rng.integers(0, CLASSES, (2, count)).astype(np.uint8)
        indices = rng.integers(0, CODEWORDS, (2, count)).astype(np.uint8)
        stream = there_and_back(tables, classes, indices)
        assert bool(stream) == bool(count)


def test_pieces_change_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    counts = random_counts(rng, 2)
    tables = FrequencyTables(counts)
    classes = rng.integers(0, CLASSES, (2, 3000)).astype(np.uint8)
    classes[:, ::2] = 7  # more than are sorted at once
    indices = drawn(rng, counts, classes)
    stream = there_and_back(tables, classes, indices)
    bits = counted(tables, classes, indices)
    monkeypatch.setattr(order, "PIECE", 70)
    monkeypatch.setattr(order, "SORTED", 200)
    assert there_and_back(tables, classes, indices) == stream
    assert counted(tables, classes, indices) == pytest.approx(bits)


def test_indices_of_a_phase_are_taken_from_those_of_the_level() -> None:
    rng = np.random.default_rng(11)
    tables = FrequencyTables(random_counts(rng, 1))  # which three codebooks share
    level = rng.integers(0, CODEWORDS, (3, 200)).astype(np.uint8)
    positions = np.arange(1, 200, 3)
    classes = rng.integers(0, CLASSES, (3, len(positions))).astype(np.uint8)
    whole, part = (Encoder([[tables]]) for _ in range(2))
    whole.put(0, [classes], [level], positions)
    part.put(0, [classes], [level[:, positions]])
    assert whole.finish() == part.finish()


def test_zero_bytes_at_the_end_are_left_out() -> None:
    tables = random_tables(np.random.default_rng(2), 1)
    sizes = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        classes = rng.integers(0, CLASSES, (1, 6)).astype(np.uint8)
        indices = rng.integers(0, CODEWORDS, (1, 6)).astype(np.uint8)
        stream = there_and_back(tables, classes, indices)
        assert not stream.endswith(b"\0")
        sizes.append(len(stream))
    assert any(size % 4 for size in sizes)


def test_the_likeliest_message_is_empty() -> None:
    tables = random_tables(np.random.default_rng(3), 1)
    nothing = np.zeros((1, 5), np.uint8)
    assert there_and_back(tables, nothing, nothing) == b""


def test_levels_and_groups_follow_each_other_in_one_stream() -> None:
    rng = np.random.default_rng(4)
    tables = [[random_tables(rng, codebooks) for codebooks in (1, 2)] for _ in range(2)]
    phases = [
        (level, [rng.integers(0, CLASSES, (n, 50 * n)).astype(np.uint8) for n in (1, 2)])
        for level in (0, 1, 1, 0)
    ]
    encoder = Encoder(tables)
    for level, classes in phases:
        encoder.put(level, classes, [group * 3 for group in classes])
    decoder = Decoder(tables, encoder.finish())
    for level, classes in phases:
        for group, read in zip(classes, decoder.get(level, classes), strict=True):
            np.testing.assert_array_equal(read, group * 3)


def test_a_copy_of_an_encoder_goes_on_by_itself() -> None:
    rng = np.random.default_rng(7)
    tables = [[random_tables(rng, 1)]]
    phases = [rng.integers(0, CLASSES, (1, 40)).astype(np.uint8) for _ in range(3)]
    streams = []
    for last in phases[1:]:
        fresh = Encoder(tables)
        for classes in (phases[0], last):
            fresh.put(0, [classes], [classes])
        streams.append(fresh.finish())
    encoder = Encoder(tables)
    encoder.put(0, [phases[0]], [phases[0]])
    twin = encoder.copy()
    encoder.put(0, [phases[1]], [phases[1]])
    twin.put(0, [phases[2]], [phases[2]])
    assert [encoder.finish(), twin.finish()] == streams


def test_the_bytes_never_change() -> None:
    # A file of today is read tomorrow: another coder, order or byte order breaks every file.
    short = np.array([[9, 0, 255, 1]], np.uint8)
    stream = there_and_back(FrequencyTables(flat_counts()), short // 128, short)
    assert stream.hex() == "fe0100090000f7fe"

    class_, codeword = np.mgrid[:CLASSES, :CODEWORDS]
    counts = (7919 * (codeword + 1) * (class_ + 3)) % 60000 + 1
    counts[:, 0] += (1 << FREQUENCY_BITS) - counts.sum(-1)
    n = np.arange(3000)
    classes = (n * n % 32).astype(np.uint8)[None]
    indices = ((7 * n * n + n) // 5 % CODEWORDS).astype(np.uint8)[None]
    stream = there_and_back(FrequencyTables(counts[None].astype(np.uint32)), classes, indices)
    assert hashlib.sha256(stream).hexdigest()[:16] == "9a24215a3a7b5b29"


def test_a_cut_stream_is_read_up_to_the_cut() -> None:
    rng = np.random.default_rng(6)
    counts = random_counts(rng, 20)
    tables = FrequencyTables(counts)
    classes = rng.integers(0, CLASSES, (20, 300)).astype(np.uint8)
    indices = drawn(rng, counts, classes)
    encoder = Encoder([[tables]])
    encoder.put(0, [classes], [indices])
    stream = encoder.finish()
    (whole,) = Decoder([[tables]], stream, partial=True).get(0, [classes])
    np.testing.assert_array_equal(whole, indices)
    for cut in range(0, len(stream), 97):
        (part,) = Decoder([[tables]], stream[:cut], partial=True).get(0, [classes])
        right = (part == indices).all(1)
        expected = int(cut / len(stream) * 20)
        assert right[: max(0, expected - 1)].all()
        assert not part[expected + 4 :].any()


def test_random_bytes_are_indices_or_an_error() -> None:
    rng = np.random.default_rng(5)
    tables = random_tables(rng, 2)
    classes = rng.integers(0, CLASSES, (2, 3000)).astype(np.uint8)
    refused = 0
    for _ in range(30):
        try:
            (indices,) = Decoder([[tables]], rng.bytes(50)).get(0, [classes])
            assert indices.shape == classes.shape
        except CorruptError:
            refused += 1
    assert refused > 0


# Counting


def test_a_count_is_the_cross_entropy_level_by_level() -> None:
    rng = np.random.default_rng(8)
    counts = [[random_counts(rng, codebooks) for codebooks in (1, 3)] for _ in range(2)]
    counter = Counter([[FrequencyTables(group) for group in level] for level in counts])
    expected = [0.0, 0.0]
    for level in (0, 1, 1):
        classes = [rng.integers(0, CLASSES, (n, 60)).astype(np.uint8) for n in (1, 3)]
        # Not 0, so that none is left out at the end.
        indices = [rng.integers(1, CODEWORDS, group.shape).astype(np.uint8) for group in classes]
        counter.put(level, classes, indices)
        for table, group, symbols in zip(counts[level], classes, indices, strict=True):
            for codebook, row in enumerate(table):
                p = row[group[codebook], symbols[codebook]] / 2**24
                expected[level] -= float(np.log2(p).sum())
    np.testing.assert_allclose(counter.bits, expected, rtol=1e-9)


def test_a_count_is_what_the_encoder_writes() -> None:
    rng = np.random.default_rng(9)
    counts = random_counts(rng, 3)
    tables = [[FrequencyTables(counts)]]
    for size in (0, 1, 30, 1000):
        encoder, counter = Encoder(tables), Counter(tables)
        for _ in range(3):
            classes = rng.integers(0, CLASSES, (3, size)).astype(np.uint8)
            indices = drawn(rng, counts, classes)
            encoder.put(0, [classes], [indices])
            counter.put(0, [classes], [indices])
        bits = float(counter.bits.sum())
        assert bits - 8 < 8 * len(encoder.finish()) < 1.01 * bits + 64


def test_zeros_at_the_end_of_all_levels_are_not_counted() -> None:
    rng = np.random.default_rng(8)
    tables = [[random_tables(rng, 1)] for _ in range(3)]
    classes = np.zeros((1, 4), np.uint8)
    indices = [np.array([[5, 0, 7, 0]], np.uint8), np.zeros((1, 4), np.uint8)]
    costs = [table.bits(classes, indices[0])[0] for (table,) in tables]
    counter = Counter(tables)
    counter.put(0, [classes], [indices[0]])
    counter.put(1, [classes], [indices[1]])
    np.testing.assert_allclose(counter.bits, [costs[0][:3].sum(), 0, 0])
    counter.put(2, [classes], [indices[0]])
    between = tables[1][0].bits(classes, indices[1]).sum()
    np.testing.assert_allclose(counter.bits, [costs[0].sum(), between, costs[2][:3].sum()])
