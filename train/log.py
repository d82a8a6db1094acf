"""Logs of a training run: CSV rows to keep, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import CheckpointError

_log = logging.getLogger("train")


class CsvLog:
    """Rows appended to a CSV file, the header taken from the first row.

    A run that goes on from step `start` keeps the rows up to that step; what an interrupted run
    wrote after its last checkpoint is dropped, since it is computed again.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        self._columns: list[str] = []
        kept: list[dict[str, str]] = []
        if start and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                # A row cut short by a crash has no value in its last column.
                kept = [
                    row for row in reader if None not in row.values() and int(row["step"]) <= start
                ]
                self._columns = list(reader.fieldnames or [])
        with path.open("w", newline="") as file:
            if self._columns:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(kept)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row; every row has the same columns, and the first is `step`."""
        with self._path.open("a", newline="") as file:
            if not self._columns:
                self._columns = list(row)
                csv.DictWriter(file, self._columns).writeheader()
            if list(row) != self._columns:
                raise CheckpointError(
                    f"{self._path} has other columns than this run: {self._columns}"
                )
            writer = csv.DictWriter(file, self._columns)
            writer.writerow({k: v if isinstance(v, int) else f"{v:.8g}" for k, v in row.items()})


def append_row(path: Path, fields: Sequence[str], row: Mapping[str, object]) -> None:
    """Append a row to a CSV file of results, which starts with a line of the `fields`."""
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields, lineterminator="\n")
        if not stream.tell():
            writer.writeheader()
        writer.writerow(row)


class TensorBoardLog:
    """Scalars for TensorBoard; does nothing where it is not installed."""

    def __init__(self, folder: Path, start: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            _log.info("TensorBoard is not installed (pip install 'vqcodec[train]'): CSV logs only")
        else:
            self._writer = SummaryWriter(str(folder), purge_step=start)

    def write(self, group: str, row: Mapping[str, float], step: int) -> None:
        """Add every value of `row` under `group/name` at `step`."""
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.close()
