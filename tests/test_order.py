"""Quiet blocks: zeros that nobody expects anything else of are not coded one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vqcodec.entropy import order
from vqcodec.entropy.coder import Counter, Decoder, Encoder
from vqcodec.entropy.levels import CLASSES
from vqcodec.entropy.order import BLOCK, FEWEST, Order
from vqcodec.entropy.tables import FREQUENCY_BITS, QUIET, FrequencyTables

Symbols = NDArray[np.uint8]


def half_quiet(codebooks: int = 1) -> FrequencyTables:
    """Tables of four codewords whose lower 32 classes are just quiet, and the others just not."""
    counts = np.empty((codebooks, CLASSES, 4), np.uint32)
    for class_ in range(CLASSES):
        others = np.array([QUIET - 2, 1, 1]) + (class_ >= CLASSES // 2) * np.array([1, 0, 0])
        counts[:, class_, 1:] = others
        counts[:, class_, 0] = (1 << FREQUENCY_BITS) - others.sum()
    return FrequencyTables(counts)


def coded(tables: FrequencyTables, classes: Symbols, indices: Symbols) -> tuple[bytes, float]:
    """Code symbols, require that they come back; return the stream, and the bits counted."""
    encoder, counter = Encoder([[tables]]), Counter([[tables]])
    encoder.put(0, [classes], [indices])
    counter.put(0, [classes], [indices])
    stream = encoder.finish()
    np.testing.assert_array_equal(Decoder([[tables]], stream).get(0, [classes])[0], indices)
    return stream, float(counter.bits.sum())


def test_which_classes_are_quiet() -> None:
    np.testing.assert_array_equal(half_quiet().quiet[0], np.arange(CLASSES) < CLASSES // 2)


def test_blocks_are_those_of_a_codebook() -> None:
    quiet = half_quiet().quiet[0]
    classes = np.full((3, BLOCK + 1), 40, np.uint8)
    assert Order(classes, quiet).flags == 0
    classes[0, -FEWEST:] = classes[1, : FEWEST - 1] = classes[2, : FEWEST - 1] = 3
    classes[2, BLOCK - 1] = 3
    # FEWEST - 1 in the first block of codebook 0, and one in its second.
    assert Order(classes, quiet).flags == 1


def test_what_is_quiet_is_coded_where_a_block_is_loud_and_nowhere_else() -> None:
    quiet = half_quiet().quiet[0]
    classes = np.zeros((1, 3 * BLOCK), np.uint8)
    classes[0, [5, BLOCK + 5]] = 50
    indices = np.zeros_like(classes)
    indices[0, 5] = 1  # of a class that is not quiet: no reason for a flag
    indices[0, 2 * BLOCK + 7] = 3
    own = Order(classes, quiet)
    loud = own.loud(lambda books: indices[books])
    assert loud.tolist() == [0, 0, 1]
    runs = {class_: places.tolist() for class_, places in own.runs(loud)}
    assert runs == {0: list(range(2 * BLOCK, 3 * BLOCK)), 50: [5, BLOCK + 5]}


@pytest.mark.parametrize("codebooks", [1, 3])
def test_a_lone_index_among_zeros_comes_back(codebooks: int) -> None:
    rng = np.random.default_rng(0)
    tables = half_quiet(codebooks)
    classes = rng.integers(0, CLASSES, (3, 2 * BLOCK + 300)).astype(np.uint8)
    indices = np.zeros_like(classes)
    silent, bits = coded(tables, classes, indices)
    assert silent == b""
    assert bits == 0
    for place in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 299):
        indices[:] = 0
        indices[1, place] = 2
        stream, bits = coded(tables, classes, indices)
        assert 0 < len(stream) <= bits / 8 + 8
        # 24 bits for the index, 5 for its flag, and no more than 10 for all that is zero.
        assert 20 < bits < 40


def test_pieces_change_no_stream_of_quiet_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    tables = half_quiet()
    classes = (rng.integers(0, 36, (5, 3000))).astype(np.uint8)
    indices = (rng.random((5, 3000)) < 0.0003).astype(np.uint8)
    expected = coded(tables, classes, indices)
    monkeypatch.setattr(order, "PIECE", 700)
    monkeypatch.setattr(order, "SORTED", 900)
    stream, bits = coded(tables, classes, indices)
    assert stream == expected[0]
    assert bits == pytest.approx(expected[1])


def test_positions_are_those_of_the_level() -> None:
    rng = np.random.default_rng(2)
    tables = half_quiet(2)
    whole = (rng.random((4, 400)) < 0.01).astype(np.uint8)
    positions = np.sort(rng.choice(400, 150, replace=False))
    classes = rng.integers(0, 40, (4, 150)).astype(np.uint8)
    encoder, direct = Encoder([[tables]]), Encoder([[tables]])
    encoder.put(0, [classes], [whole], positions)
    direct.put(0, [classes], [whole[:, positions]])
    assert encoder.finish() == direct.finish()
