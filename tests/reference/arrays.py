"""Reads the arrays of a safetensors file."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_TYPES = {"F16": "<f2", "I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4", "U32": "<u4"}


def read_safetensors(data: bytes) -> tuple[dict[str, str], dict[str, Array]]:
    """Return the metadata and the arrays: floats as float32, integers as int64."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata: dict[str, str] = header.pop("__metadata__")
    arrays = {}
    for name, entry in header.items():
        first, stop = entry["data_offsets"]
        stored = np.frombuffer(data[start + first : start + stop], _TYPES[entry["dtype"]])
        kind = np.float32 if entry["dtype"] == "F16" else np.int64
        arrays[name] = stored.astype(kind).reshape(entry["shape"])
    return metadata, arrays
