"""Zarr 3 arrays whose chunks are .vqc files: the codec `vqcodec`, with loss.

Zarr finds it by itself where the package is installed, by the entry point in `zarr.codecs`:

    zarr.create_array(store, shape=shape, chunks=(512, 512, 3), dtype="uint8",
                      serializer=VqcCodec(quality=70), compressors=None)

Takes the extra `vqcodec[zarr]`.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin

from vqcodec import weights
from vqcodec.api import decode, encode
from vqcodec.codec.target import check
from vqcodec.errors import CorruptError
from vqcodec.fileformat.container import DEFAULT_QUALITY, read_header

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer, NDBuffer
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.chunk_grids import ChunkGrid
    from zarr.core.common import JSON
    from zarr.core.indexing import SelectorTuple

    from vqcodec.codec.tiles import Region
    from vqcodec.fileformat.image import Pixels

NAME = "vqcodec"


@dataclass(frozen=True)
class VqcCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Codes uint8 chunks `(y, x)`, gray, or `(y, x, 3)`, sRGB, each as a .vqc file, with loss.

    `quality` is 1..100, `tune` "ssim" or "psnr", as for `vqcodec.encode`. Reading a part of a chunk
    decodes that region alone, as long as no other codec stands after this one (compressors=None).
    Writing a part of a chunk decodes the rest and codes it again, a little worse each time: write
    whole chunks.

    Raises ValueError for a quality or tune that there is none of, and for arrays of another type or
    shape, TypeError for a quality that is no whole number.
    """

    quality: int = DEFAULT_QUALITY
    tune: str | None = None

    is_fixed_size = False

    def __post_init__(self) -> None:
        check("quality", self.quality)
        weights.choose(self.tune)

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> VqcCodec:
        """Return the codec of an array's metadata; ValueError if it is none of this version's."""
        configuration: Any = data.get("configuration", {})
        options = {name: value for name, value in configuration.items() if name != "lossy"}
        unknown = options.keys() - {"quality", "tune"}
        if data["name"] != NAME or unknown or configuration.get("lossy") is not True:
            raise ValueError(f"not a configuration of the codec {NAME}: {data}")
        return cls(**options)

    def to_dict(self) -> dict[str, JSON]:
        """Return what an array's metadata say of the codec, that it is lossy among them."""
        return {"name": NAME, "configuration": {"lossy": True, **asdict(self)}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: ChunkGrid) -> None:
        """Raise ValueError for arrays whose chunks this codec does not take."""
        _check_chunk(dtype.to_native_dtype(), getattr(chunk_grid, "chunk_shape", shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise NotImplementedError, as codecs do whose sizes depend on what is coded."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        array = chunk_data.as_numpy_array()
        _check_chunk(array.dtype, array.shape)
        data = await asyncio.to_thread(encode, array, quality=self.quality, tune=self.tune)
        coded: Buffer = chunk_spec.prototype.buffer.from_bytes(data)
        return coded

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = await asyncio.to_thread(_decoded, chunk_data.to_bytes(), chunk_spec.shape, None)
        return _as_buffer(pixels, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        data = await byte_getter.get(chunk_spec.prototype)
        if data is None:
            return None
        region, within = _narrowed(selection, chunk_spec.shape)
        pixels = await asyncio.to_thread(_decoded, data.to_bytes(), chunk_spec.shape, region)
        return _as_buffer(np.asarray(pixels[within]), chunk_spec)


def _as_buffer(pixels: Pixels, chunk_spec: ArraySpec) -> NDBuffer:
    buffer: NDBuffer = chunk_spec.prototype.nd_buffer.from_numpy_array(pixels)
    return buffer


def _check_chunk(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless chunks of the type and shape are pictures."""
    if dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        raise ValueError(
            f"the codec {NAME} takes uint8 chunks (y, x) or (y, x, 3), not {dtype} {tuple(shape)}"
        )


def _decoded(data: bytes, shape: tuple[int, ...], region: Region | None) -> Pixels:
    """Return a chunk of the shape, or a region of it, from its file's bytes.

    Raises CorruptError if the file is of another size, and what `vqcodec.decode` raises.
    """
    header, _ = read_header(data)
    if (header.height, header.width) != shape[:2]:
        raise CorruptError(
            f"a file of {header.width}x{header.height} pixels in place of a chunk of {shape}"
        )
    mode = "L" if len(shape) == 2 else "RGB"
    return np.array(decode(data, region=region).convert(mode))


def _narrowed(selection: SelectorTuple, shape: tuple[int, ...]) -> tuple[Region, tuple[Any, ...]]:
    """Return the region of a chunk that holds a selection, and the selection within it."""
    parts: Any = selection
    spans, within = [], []
    for part, size in zip(parts[:2], shape[:2], strict=True):
        positions = np.arange(size)[part] if isinstance(part, slice) else np.asarray(part)
        first, length = int(positions.min()), int(np.ptp(positions)) + 1
        spans.append((first, length))
        within.append(slice(0, length, part.step) if isinstance(part, slice) else positions - first)
    (upper, height), (left, width) = spans
    return (left, upper, width, height), (*within, *parts[2:])
