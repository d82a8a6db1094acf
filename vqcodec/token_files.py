"""Tables of tokens, a row for each image: Parquet, by the extra `tokens`, and NumPy's .npz.

Both have the same columns; `levels` are the fields of `LevelShape`, level by level, and `tokens`
are in the flat order of `vqcodec.codec.tokens`:

    name string, width int32, height int32, gray bool, quality uint8, model_id string (hexadecimal),
    levels list<struct<rows, columns, phases, codebooks, codewords>>, tokens list<uint16>

A .npz has an array for each column; `levels` are JSON there, and `tokens` those of all rows, which
end at `ends`.
"""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.codec.tokens import FLAT, LevelShape, Tokens, from_flat
from vqcodec.commands.files import atomic_write
from vqcodec.errors import CorruptError

Row = tuple[str, Tokens]

PARQUET, NPZ = ".parquet", ".npz"
# Parquet's row groups are of so many tokens, or a little more.
_GROUP = 1 << 24
_NUMPY_TYPES = {
    "name": np.str_, "width": np.int32, "height": np.int32, "gray": np.bool_, "quality": np.uint8,
    "model_id": np.str_,
}  # fmt: skip


def write(path: str | Path, rows: Iterable[Row], *, force: bool = False) -> None:
    """Write the names and tokens of images to a .parquet or .npz file, at once or not at all.

    The file is held in memory until it is complete. Raises ValueError for another suffix,
    ImportError without the package that Parquet takes, FileExistsError for a file that is there
    already, unless `force`.
    """
    path = Path(path)
    check_format(path)
    stream = io.BytesIO()
    columns = ({"name": name, **_columns(tokens)} for name, tokens in rows)
    (_write_parquet if path.suffix == PARQUET else _write_npz)(stream, columns)
    atomic_write(path, stream.getvalue(), force=force)


def read(path: str | Path) -> Iterator[Row]:
    """Yield the names and tokens in a .parquet or .npz file, in the order they were written.

    Raises CorruptError for a file that is no such table, ValueError and ImportError as `write`.
    """
    path = Path(path)
    check_format(path)
    try:
        for columns in (_read_parquet if path.suffix == PARQUET else _read_npz)(path):
            yield str(columns["name"]), _tokens(columns)
    except (KeyError, TypeError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"{path}: not a table of tokens: {error}") from error


def check_format(path: Path) -> None:
    """Raise ValueError for a path of another suffix, ImportError if its package is absent."""
    if path.suffix not in (PARQUET, NPZ):
        raise ValueError(f"{path} ends in neither {PARQUET} nor {NPZ}")
    if path.suffix == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ImportError("Parquet takes a package: pip install 'vqcodec[tokens]'")


def _columns(tokens: Tokens) -> dict[str, Any]:
    return {
        "width": tokens.width,
        "height": tokens.height,
        "gray": tokens.gray,
        "quality": tokens.quality,
        "model_id": tokens.model_id.hex(),
        "levels": [asdict(shape) for shape in tokens.shapes],
        "tokens": tokens.flat(),
    }


def _tokens(columns: Mapping[str, Any]) -> Tokens:
    shapes = tuple(
        LevelShape(
            int(level["rows"]),
            int(level["columns"]),
            int(level["phases"]),
            tuple(level["codebooks"]),
            tuple(level["codewords"]),
        )
        for level in columns["levels"]
    )
    return Tokens(
        from_flat(columns["tokens"], shapes),
        shapes,
        int(columns["width"]),
        int(columns["height"]),
        int(columns["quality"]),
        bytes.fromhex(str(columns["model_id"])),
        bool(columns["gray"]),
    )


def _write_parquet(stream: io.BytesIO, rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    sizes = pa.list_(pa.int32())
    level = pa.struct(
        {
            "rows": pa.int32(),
            "columns": pa.int32(),
            "phases": pa.uint8(),
            "codebooks": sizes,
            "codewords": sizes,
        }
    )
    schema = pa.schema(
        {
            "name": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "gray": pa.bool_(),
            "quality": pa.uint8(),
            "model_id": pa.string(),
            "levels": pa.list_(level),
            "tokens": pa.list_(pa.uint16()),
        }
    )
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        size = 0
        for row in rows:
            group.append(row)
            size += len(row["tokens"])
            if size >= _GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group, size = [], 0
        writer.write_table(pa.Table.from_pylist(group, schema))


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64):
            tokens = batch.column("tokens")
            for number, row in enumerate(batch.drop_columns("tokens").to_pylist()):
                yield row | {"tokens": tokens[number].values.to_numpy(zero_copy_only=False)}


def _write_npz(stream: io.BytesIO, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    tokens = [row["tokens"] for row in rows]
    arrays: dict[str, NDArray[Any]] = {
        name: np.array([row[name] for row in rows], kind) for name, kind in _NUMPY_TYPES.items()
    }
    arrays["levels"] = np.array([json.dumps(row["levels"]) for row in rows], np.str_)
    arrays["tokens"] = np.concatenate([np.empty(0, FLAT), *tokens])
    arrays["ends"] = np.cumsum([len(row) for row in tokens], dtype=np.int64)
    np.savez_compressed(stream, allow_pickle=False, **arrays)


def _read_npz(path: Path) -> Iterator[dict[str, Any]]:
    with np.load(path, allow_pickle=False) as file:
        names = (*_NUMPY_TYPES, "levels", "tokens", "ends")
        arrays = {name: file[name] for name in names}
    start = 0
    for number, end in enumerate(arrays["ends"]):
        row = {name: arrays[name][number] for name in _NUMPY_TYPES}
        levels = json.loads(str(arrays["levels"][number]))
        yield row | {"levels": levels, "tokens": arrays["tokens"][start:end]}
        start = end
