"""A second decoder of .vqc files, from bytes to indices, written from docs/format.md alone.

Plain and slow: NumPy in 64-bit integers, constriction's range decoder, nothing of vqcodec. What the
two decoders disagree on is a fault of one of them, or of the page.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Array = NDArray[Any]
_CELLS = {1: [[(0, 0), (0, 1), (1, 0), (1, 1)]], 2: [[(0, 0), (1, 1)], [(0, 1), (1, 0)]],
          3: [[(0, 0)], [(1, 1)], [(0, 1), (1, 0)]]}  # fmt: skip


@dataclass
class File:
    """What stands in a .vqc file."""

    model_id: bytes
    gray: bool
    cut: bool
    quality: int
    width: int
    height: int
    chunks: dict[int, bytes]
    stream: bytes


def parse(data: bytes) -> File:
    """Take a file apart; raises ValueError where it breaks a rule of the page."""
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        if place + count > len(data):
            raise ValueError("truncated")
        place += count
        return data[place - count : place]

    def varint() -> int:
        value = 0
        for shift in range(0, 35, 7):
            (byte,) = take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**32 or (byte == 0 and shift):
                    raise ValueError("a varint not in its shortest form")
                return value
        raise ValueError("a varint of more than five bytes")

    if take(3) != b"VQC" or take(1) != b"\1":
        raise ValueError("not version 1")
    model_id, (flags, quality) = take(4), take(2)
    width, height = varint(), varint()
    if binascii.crc_hqx(data[:place], 0xFFFF) != int.from_bytes(take(2), "little"):
        raise ValueError("header CRC")
    if flags & ~7 or not 1 <= quality <= 100 or not 1 <= width <= 65536 or not 1 <= height <= 65536:
        raise ValueError("a header that cannot be")
    chunks: dict[int, bytes] = {}
    if flags & 2:
        (count,) = take(1)
        for _ in range(count):
            (tag,) = take(1)
            if chunks and tag <= max(chunks):
                raise ValueError("tags do not rise")
            if not 1 <= tag <= 3 and tag < 128:
                raise ValueError("a chunk that one has to know")
            chunks[tag] = take(varint())
        if not chunks:
            raise ValueError("no chunks")
    stream = take(varint())
    if zlib.crc32(data[:place]) != int.from_bytes(take(4), "little") or place != len(data):
        raise ValueError("CRC")
    return File(model_id, bool(flags & 1), bool(flags & 4), quality, width, height, chunks, stream)


class Symbols:
    """Reads symbols; of a cut stream those that do not depend on what is missing."""

    def __init__(self, stream: bytes, cut: bool) -> None:
        if cut:
            words = stream[: len(stream) // 4 * 4]
            streams = [words + 16 * b"\0", words + 16 * b"\xff"]
        else:
            streams = [stream + bytes(-len(stream) % 4)]
        self._decoders = [
            constriction.stream.queue.RangeDecoder(np.frombuffer(each, "<u4").astype(np.uint32))
            for each in streams
        ]
        self._over = False

    def take(self, counts: Array, number: int) -> Array:
        """Return `number` symbols of one frequency table."""
        if self._over or not number:
            return np.zeros(number, int)
        model = constriction.stream.model.Categorical(counts / 2.0**24, perfect=False)
        try:
            first, *second = [each.decode(model, number) for each in self._decoders]
        except AssertionError:
            if len(self._decoders) == 1:
                raise ValueError("an invalid stream") from None
            self._over = True
            return np.zeros(number, int)
        symbols = np.array(first, int)
        for other in second:
            if (first != other).any():
                self._over = True
                symbols[np.flatnonzero(first != other)[0] :] = 0
        return symbols


class Reference:
    """The integers of a weights file."""

    def __init__(self, weights: Path) -> None:
        self.model_id = hashlib.sha256(weights.read_bytes()).digest()[:4]
        with safe_open(weights, "np") as file:
            self._config = json.loads(file.metadata()["vqcodec_config"])
            names = [name for name in file.keys() if name.startswith(("prior.", "tables."))]  # noqa: SIM118
            self._arrays = {name: file.get_tensor(name).astype(np.int64) for name in names}

    def indices(self, data: bytes) -> list[list[Array]]:
        """Return the indices in a file, `[level][part]` of `[codebooks, positions]`."""
        file = parse(data)
        symbols = Symbols(file.stream, file.cut)
        height, width = -(-file.height // 64), -(-file.width // 64)
        hats = [max(0, 99 - abs(2 * (file.quality - 1) - 99 * knot)) for knot in range(3)]
        planes = [(127 * 2 * hat + 99) // 198 for hat in hats]
        state = features = np.broadcast_to(planes, (height, width, 3))
        result: list[list[Array]] = []
        magnitudes: list[Array] = []
        values: list[Array] = []
        number = 0
        for scale, phases in enumerate(self._config["phases"]):
            if scale:
                known = np.concatenate([state, magnitudes[-1], *magnitudes[:-1], *values], -1)
                fine = self._layer("prior.upsample", known).reshape(height, width, -1, 8, 8)
                height, width = 8 * height, 8 * width
                fine = fine.transpose(0, 3, 1, 4, 2).reshape(height, width, -1)
                quality = np.broadcast_to(planes, (height, width, 3))
                features = np.concatenate([quality, fine], -1)
            for count in phases:
                indices, state, magnitude, value = self._level(
                    number, count, features, file.quality, symbols
                )
                features = np.concatenate([state, magnitude], -1)
                result.append(indices)
                magnitudes.append(magnitude)
                values.append(value)
                number += 1
        return result

    def _level(
        self, number: int, phases: int, features: Array, quality: int, symbols: Symbols
    ) -> tuple[list[Array], Array, Array, Array]:
        """Return a level's indices, the state of its first phase, its magnitudes and values."""
        height, width = features.shape[:2]
        tables = self._parts(f"tables.{number}")
        indices = [np.zeros((len(table), height, width), int) for table in tables]
        seen = [np.zeros((len(table), height, width), bool) for table in tables]
        state = np.zeros(0)
        for phase in range(phases):
            name = f"prior.{number}.{phase}"
            own = self._layer(f"{name}.update", features)
            if phase == 0:
                state = own
            hidden = self._layer(f"{name}.hidden", own)
            offset = self._arrays[f"{name}.slope"] * quality
            classes = self._layer(f"{name}.head", hidden, offset) >> 1
            mask = np.zeros((height, width), bool)
            for row, column in _CELLS[phases][phase]:
                mask[row::2, column::2] = True
            codebook = 0
            for table, part, known in zip(tables, indices, seen, strict=True):
                for counts, index in zip(table, part, strict=True):
                    for class_ in range(64):
                        here = mask & (classes[..., codebook] == class_)
                        index[here] = symbols.take(counts[class_], int(here.sum()))
                    codebook += 1
                known[:, mask] = True
            magnitude = self._planes(f"prior.{number}.magnitudes", indices, seen)
            features = np.concatenate([state, magnitude], -1)
        value = self._planes(f"prior.{number}.values", indices, seen)
        flat = [part.reshape(len(part), -1) for part in indices]
        return flat, state, magnitude, value

    def _planes(self, name: str, indices: list[Array], seen: list[Array]) -> Array:
        """Return the rows that indices select, side by side; 0 where nothing is known yet."""
        planes = []
        for table, part, known in zip(self._parts(name), indices, seen, strict=True):
            for rows, index, there in zip(table, part, known, strict=True):
                planes.append(rows[index] * there[..., None])
        return np.concatenate(planes, -1)

    def _parts(self, name: str) -> list[Array]:
        count = sum(key.startswith(f"{name}.") for key in self._arrays)
        return [self._arrays[f"{name}.{part}"] for part in range(count)]

    def _layer(self, name: str, planes: Array, offset: Array | int = 0) -> Array:
        weight, bias = self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]
        height, width = planes.shape[:2]
        if len(weight) == 1:
            total = planes @ weight[0]
        else:
            padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
            total = sum(
                padded[tap // 3 :][:height, tap % 3 :][:, :width] @ weight[tap] for tap in range(9)
            )
        activations: Array = np.clip((total + bias + offset + 256) >> 9, 0, 127)
        return activations
