"""A second decoder of .vqc files, from bytes to pixels, written from docs/format.md alone.

Plain and slow: NumPy, Pillow for the PNG of an alpha channel, nothing of vqcodec. What the two
decoders disagree on is a fault of one of them, or of the page.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from .arrays import Array, read_safetensors
from .config import read_config
from .container import File, Refused, parse
from .indices import Prior
from .network import Network
from .stream import Segments

__all__ = ["File", "Reference", "Refused", "parse"]


class Reference:
    """A decoder with the weights of one file."""

    def __init__(self, weights: Path) -> None:
        data = weights.read_bytes()
        self.model_id = hashlib.sha256(data).digest()[:4]
        metadata, self._arrays = read_safetensors(data)
        self._config = read_config(metadata["vqcodec_config"])
        self._prior = Prior(self._arrays, self._config)

    def indices(self, data: bytes, *, partial: bool = False) -> list[list[Array]]:
        """Return the indices in a file, `[level][group]` of `[codebooks, positions]`."""
        return self._indices(self._parse(data, partial))

    def _indices(self, file: File) -> list[list[Array]]:
        segments = Segments(file.stream, file.cut)
        return self._prior.indices(segments, file.quality, file.height, file.width)

    def pixels(self, data: bytes, *, partial: bool = False, natural: Path | None = None) -> Array:
        """Return the picture of a file, uint8 `[H, W, 3]`; `[H, W]` if gray, 2 or 4 with alpha.

        With the weights of its natural look, it has that.
        """
        file = self._parse(data, partial)
        pixels = self._picture(file, natural)
        if 4 in file.chunks:
            pixels = np.dstack([pixels, self._picture(_coarse_alpha(file))])
        elif 3 in file.chunks:
            pixels = np.dstack([pixels, _alpha(file)])
        return pixels

    def _picture(self, file: File, natural: Path | None = None) -> Array:
        indices, arrays, seed = self._indices(file), self._arrays, None
        if natural:
            metadata, drawing = read_safetensors(natural.read_bytes())
            assert json.loads(metadata["vqcodec_natural"]) == self.model_id.hex()
            arrays = arrays | {f"network.{name}": array for name, array in drawing.items()}
            seed = file.crc
        network = Network(arrays, self._config, file.quality)
        pixels = network.picture(indices, file.height, file.width, seed)
        if file.gray:
            weighted = pixels.astype(np.int64) @ np.array([19595, 38470, 7471])
            pixels = (weighted + 0x8000 >> 16).astype(np.uint8)
        return pixels

    def _parse(self, data: bytes, partial: bool) -> File:
        file = parse(data, partial=partial)
        if file.model_id != self.model_id:
            raise Refused("UnknownModelError", "other weights")
        return file


def _coarse_alpha(file: File) -> File:
    data = file.chunks[4]
    if 3 in file.chunks or not data or not 1 <= data[0] <= 100:
        raise Refused("CorruptError", "coarse alpha beside alpha, or without a quality")
    return replace(file, gray=True, cut=False, quality=data[0], stream=data[1:])


def _alpha(file: File) -> Array:
    data, shape = file.chunks[3], (file.height, file.width)
    if not data:
        return np.full(shape, 255, np.uint8)
    try:
        pixels = np.array(Image.open(io.BytesIO(data), formats=["PNG"]))
    except OSError as error:
        raise Refused("CorruptError", "alpha is no PNG") from error
    if pixels.shape != shape or data[24:26] != b"\x08\x00":  # bit depth, colour type
        raise Refused("CorruptError", "alpha of another size or kind")
    return pixels
