"""The frequencies of codewords that files are coded with, one table a class of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.levels import CLASSES
from vqcodec.errors import ModelError

FREQUENCY_BITS = 24
# A class is quiet if all indices but 0 have no more of the 2^24 than this together.
QUIET = 1 << 13

Numbers = NDArray[np.unsignedinteger[Any]]


class FrequencyTables:
    """Frequencies of the codewords of every codebook of a group, one row a class.

    `counts` is uint32 `[codebooks, CLASSES, codewords]`, or `[1, …]` if the codebooks share their
    table; each row is positive and sums to 2^24. Raises ModelError otherwise. `quiet` tells which
    classes are, bool `[codebooks, CLASSES]`.
    """

    def __init__(self, counts: NDArray[np.uint32]) -> None:
        rows = counts.astype(np.int64)
        if rows.ndim != 3 or rows.shape[1] != CLASSES:
            raise ModelError("the frequency tables have the wrong shape")
        if (rows < 1).any() or (rows.sum(-1) != 1 << FREQUENCY_BITS).any():
            raise ModelError("a frequency table does not sum to 2^24")
        self.codewords = rows.shape[-1]
        self.quiet: NDArray[np.bool_] = rows[..., 0] >= (1 << FREQUENCY_BITS) - QUIET
        self._counts = counts
        self._models: dict[tuple[int, int], constriction.stream.model.Categorical] = {}

    def __len__(self) -> int:
        """The number of tables."""
        return len(self._counts)

    def model(self, table: int, class_: int) -> constriction.stream.model.Categorical:
        """Return the coder's model of a row; built once, then kept."""
        key = table, class_
        if key not in self._models:
            # Exact: the counts are integers below 2^24, and only divided by a power of two.
            row = self._counts[key].astype(np.float64) / (1 << FREQUENCY_BITS)
            self._models[key] = constriction.stream.model.Categorical(row, perfect=False)
        return self._models[key]

    def bits(self, classes: Numbers, indices: Numbers) -> NDArray[np.float64]:
        """Return the information content of `indices`, in bits; all are `[codebooks, N]`."""
        tables = np.arange(len(self))[:, None]
        return _bits(self._counts[tables, classes, indices])

    def row_bits(self, table: int, class_: int) -> NDArray[np.float64]:
        """Return the information content of the codewords of a row, in bits, `[codewords]`."""
        return _bits(self._counts[table, class_])


def _bits(counts: NDArray[np.uint32]) -> NDArray[np.float64]:
    bits: NDArray[np.float64] = FREQUENCY_BITS - np.log2(counts)
    return bits


def flag_tables() -> FrequencyTables:
    """Return the table, of every class alike, of whether something is in a block of symbols."""
    loud = 1 << (FREQUENCY_BITS - 5)
    counts = np.array([(1 << FREQUENCY_BITS) - loud, loud], np.uint32)
    return FrequencyTables(np.broadcast_to(counts, (1, CLASSES, 2)))


Tables = Sequence[Sequence[FrequencyTables]]  # [level][group]
