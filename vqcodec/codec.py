"""The codec: image -> features -> indices -> bytes, and back. The whole way, on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vqcodec import weights
from vqcodec.container import (
    DEFAULT_QUALITY,
    ChunkTag,
    Container,
    Header,
    check_size,
    pack,
    unpack,
)
from vqcodec.entropy.coder import Decoder, Encoder
from vqcodec.entropy.network import BLOCK, CLASS_SHIFT, Indices
from vqcodec.errors import ModelError, UnknownModelError
from vqcodec.image import Pixels, Prepared, assemble, chunks_of, decode_alpha, prepare
from vqcodec.model.layers import QUALITIES, quality_weights, select
from vqcodec.model.prior import ACTIVATION_UNIT
from vqcodec.model.vqvae import CHANNELS, STRIDE, VQVAE, Level
from vqcodec.phases import phase_positions
from vqcodec.weights.store import Weights, load


class Codec:
    """A loaded model on a device.

    `timings` holds the seconds that the stages of the last call took: analysis, quantize, entropy,
    synthesis; `config` the sizes of the network. A codec is not thread-safe: give each thread its
    own.
    """

    def __init__(self, loaded: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.model_id = loaded.model_id
        self.timings: dict[str, float] = {}
        self._prior = loaded.prior
        self._tables = loaded.tables
        self._network: VQVAE = loaded.network().to(device, dtype).eval()
        self.config = self._network.config
        self._device = device
        self._dtype = dtype

    @classmethod
    def load(
        cls,
        model: str | Path = weights.DEFAULT,
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> Codec:
        """Load a shipped model by name, or a weights file by path.

        `device` is "cpu", "cuda" or "auto"; `dtype` that of analysis and synthesis, which has no
        part in what the indices of a file decode to. Raises ModelError.
        """
        return cls(load(weights.find(model)), _device(device), dtype)

    def encode(self, image: Image.Image, quality: int = DEFAULT_QUALITY) -> bytes:
        """Return `image` as the bytes of a .vqc file, at a quality of 1..100.

        Raises ImageError, TooLargeError, or ValueError for a quality out of range.
        """
        return self.encode_with_notes(image, quality)[0]

    def encode_with_notes(
        self, image: Image.Image, quality: int = DEFAULT_QUALITY
    ) -> tuple[bytes, list[str]]:
        """Like :meth:`encode`; also return what was converted or left out, in words."""
        check_size(*image.size)
        prepared = prepare(image)
        payload, _ = self.encode_stream(prepared.pixels, quality)
        container = Container(self.header(prepared, quality), chunks_of(prepared), payload)
        return pack(container), prepared.notes

    def encode_stream(self, pixels: Pixels, quality: int) -> tuple[bytes, Tensor]:
        """Return the stream of uint8 `[H, W, 3]` pixels, and the state its decoder ends with.

        :meth:`picture` makes the decoded pixels of that state. Raises ValueError for a quality out
        of range.
        """
        stream = Encoder()
        _, state = self._choose(pixels, quality, stream)
        return stream.finish(), state

    def header(self, prepared: Prepared, quality: int) -> Header:
        """Return the header of a file of a prepared image."""
        height, width = prepared.pixels.shape[:2]
        return Header(self.model_id, width, height, quality, prepared.gray)

    def decode(self, data: bytes, *, partial: bool = False) -> Image.Image:
        """Return the image of a .vqc file: mode RGB or L, with A where the file has alpha.

        With `partial` a truncated file gives what its bytes hold. Raises NotVqcError,
        UnsupportedVersionError, UnknownModelError, TruncatedError, CorruptError, TooLargeError.
        """
        container = unpack(data, partial=partial)
        header, chunks = container.header, container.chunks
        indices = self._read(container)
        pixels = self._render(indices, header.width, header.height, header.quality)
        alpha = chunks.get(ChunkTag.ALPHA)
        return assemble(
            pixels,
            gray=header.gray,
            alpha=None if alpha is None else decode_alpha(alpha, header.width, header.height),
            icc=chunks.get(ChunkTag.ICC),
            exif=chunks.get(ChunkTag.EXIF),
        )

    def encode_batch(
        self, images: Sequence[Image.Image], quality: int = DEFAULT_QUALITY
    ) -> list[bytes]:
        """Return several images, of any sizes, as the bytes of .vqc files: one after another."""
        return [self.encode(image, quality) for image in images]

    def decode_batch(self, files: Sequence[bytes]) -> list[Image.Image]:
        """Return the images of several .vqc files; see :meth:`decode`."""
        return [self.decode(data) for data in files]

    def encode_indices(self, image: Image.Image, quality: int = DEFAULT_QUALITY) -> Indices:
        """Return the code indices of `image`: uint8 `[codebooks, positions]`, `[level][part]`.

        Positions are in raster order on the level's grid: 1/64 of the padded size for the first
        levels, 1/8 for the others.
        """
        return self._choose(prepare(image).pixels, quality, Encoder())[0]

    def decode_indices(
        self, indices: Indices, size: tuple[int, int], quality: int = DEFAULT_QUALITY
    ) -> Image.Image:
        """Return the RGB image, `size` (width, height), that indices of that quality stand for."""
        return Image.fromarray(self._render(indices, *size, quality))

    def file_indices(self, data: bytes) -> Indices:
        """Return the indices that a .vqc file holds, in the form of :meth:`encode_indices`."""
        return self._read(unpack(data))

    def code_bits(self, indices: Indices, size: tuple[int, int], quality: int) -> list[float]:
        """Return the cross-entropy of indices under the learned prior, in bits, level by level.

        By the integer tables that files are coded with; `indices` and `size` (width, height) as in
        :meth:`decode_indices`. A file's stream is as long but for the coder's own overhead.
        """
        grid = _grid(size[1]), _grid(size[0])
        bits = [0.0] * len(indices)

        def look(
            number: int, phase: int, classes: list[NDArray[np.uint8]]
        ) -> list[NDArray[np.uint8]]:
            level = self._prior.levels[number]
            scaled = [side * BLOCK**level.scale for side in grid]
            positions = phase_positions(len(level.phases), phase, *scaled)
            chosen = [part[:, positions] for part in indices[number]]
            parts = zip(self._tables[number], classes, chosen, strict=True)
            bits[number] += sum(tables.bits(own, part) for tables, own, part in parts)
            return chosen

        self._prior.walk(quality, *grid, look)
        return bits

    # image -> indices -> stream

    @torch.inference_mode()
    def _choose(self, pixels: Pixels, quality: int, stream: Encoder) -> tuple[Indices, Tensor]:
        """Choose the indices of uint8 `[H, W, 3]` pixels level by level, and code them.

        Return them and the decoder's last state.
        """
        if not 1 <= quality <= QUALITIES:
            raise ValueError(f"quality {quality} is not within 1..{QUALITIES}")
        network, knots = self._network, self._knots(quality)
        self.timings = {}
        with self._timed("analysis"):
            h = network.analyse(self._padded(pixels), knots)
        height, width = h[0].shape[2:]
        state = _DecoderState(network, knots, (height, width))

        def code(
            number: int, phase: int, classes: list[NDArray[np.uint8]]
        ) -> list[NDArray[np.uint8]]:
            with self._timed("quantize"):
                level = state.enter(number, phase)
                features = select(h[state.scale], state.positions)
                y = state.gain * level.residual(features, state.columns)
                cost, widths = level.error_cost(knots), self._widths(classes)
                chosen = level.codebooks.indices(y, cost, widths)
                state.add(chosen)
                indices = [part.cpu().numpy().astype(np.uint8) for part in chosen]
            with self._timed("entropy"):
                for tables, own, part in zip(self._tables[number], classes, indices, strict=True):
                    stream.put(tables, own, part)
            return indices

        return self._prior.walk(quality, height, width, code), state.t

    # stream -> indices -> image

    def _read(self, container: Container) -> Indices:
        """Return the indices in a file's stream: integers from the first byte to the last."""
        header = container.header
        if header.model_id != self.model_id:
            raise UnknownModelError(
                f"coded with model {header.model_id.hex()}, not {self.model_id.hex()}"
            )
        stream = Decoder(container.payload, partial=not container.whole_stream)

        def code(number: int, _: int, classes: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
            parts = zip(self._tables[number], classes, strict=True)
            return [stream.get(tables, own) for tables, own in parts]

        self.timings = {}
        with self._timed("entropy"):
            grid = _grid(header.height), _grid(header.width)
            return self._prior.walk(header.quality, *grid, code)

    @torch.inference_mode()
    def _render(self, indices: Indices, width: int, height: int, quality: int) -> Pixels:
        """Return the uint8 `[H, W, 3]` pixels that indices stand for."""
        with self._timed("synthesis"):
            knots = self._knots(quality)
            state = _DecoderState(self._network, knots, (_grid(height), _grid(width)))
            for number, parts in enumerate(indices):
                whole = [torch.from_numpy(p.astype(np.int64)).to(self._device) for p in parts]
                for phase in range(state.phases(number)):
                    state.enter(number, phase)
                    state.add([part[:, state.positions] for part in whole])
            return self.picture(state.t, width, height, quality)

    @torch.inference_mode()
    def picture(self, state: Tensor, width: int, height: int, quality: int) -> Pixels:
        """Return the uint8 `[height, width, 3]` pixels of a decoder's last state."""
        x_hat = self._network.synthesise(state, self._knots(quality))[0, :, :height, :width]
        pixels = (x_hat.clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(1, 2, 0).contiguous().cpu().numpy()

    @torch.inference_mode()
    def coefficients(self, pixels: Pixels) -> Tensor:
        """Return the transform of uint8 `[H, W, 3]` pixels that analysis begins with.

        `[1, 192, H/8, W/8]`, the sides padded to multiples of 64.
        """
        return self._network.coefficients(self._padded(pixels))

    def _padded(self, pixels: Pixels) -> Tensor:
        """Return `[1, 3, H, W]` in [0, 1], its sides padded to multiples of 64 by repetition."""
        x = torch.from_numpy(np.array(pixels)).to(self._device, self._dtype)
        x = x.permute(2, 0, 1)[None] / 255
        height, width = x.shape[2:]
        padding = (0, _grid(width) * STRIDE - width, 0, _grid(height) * STRIDE - height)
        return functional.pad(x, padding, mode="replicate")

    def _knots(self, quality: int) -> Tensor:
        return quality_weights(torch.tensor([quality], device=self._device)).to(self._dtype)

    def _widths(self, classes: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return the centres of classes as the network's quantizers take them, `[1, C, 1, N]`."""
        rows = torch.from_numpy(np.concatenate(classes)).to(self._device, self._dtype)
        return class_centres(rows)[None, :, None]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.timings[stage] = self.timings.get(stage, 0.0) + spent


class _DecoderState:
    """The synthesis state t as phases of levels are added to it, in encoder and decoder alike."""

    def __init__(self, network: VQVAE, knots: Tensor, grid: Sequence[int]) -> None:
        self.scale = 0
        self.t = knots.new_zeros(1, CHANNELS, *grid)
        self._network, self._knots = network, knots
        self._levels = [
            (scale, level) for scale, levels in enumerate(network.levels) for level in levels
        ]

    def phases(self, number: int) -> int:
        """Return the number of phases of a level."""
        return len(self._levels[number][1].refine)

    def enter(self, number: int, phase: int) -> Level:
        """Go to a phase of level `number`, and to its scale if that is finer; return the level."""
        scale, self._level = self._levels[number]
        self._phase = phase
        if scale != self.scale:
            self.scale = scale
            self.t = self._network.enter_fine(self.t, self._knots)
        self.positions = self._level.positions(phase, self.t)
        self.columns = select(self.t, self.positions)
        self.gain = self._level.gain(self.columns, self._knots)
        return self._level

    def add(self, indices: Sequence[Tensor]) -> None:
        """Add the codewords of the phase entered, `[codebooks, N]` a part."""
        level = self._level
        words = level.codebooks.lookup(indices, *self.gain.shape[2:])
        t = level.add(self.t, words / self.gain, self.positions)
        self.t = level.refined(t, self._knots, self._phase)


def class_centres(classes: Tensor) -> Tensor:
    """Return the widths (the prior's 0..127/16) in the middle of integer classes."""
    return ((classes * (1 << CLASS_SHIFT)) + ((1 << CLASS_SHIFT) - 1) / 2) * ACTIVATION_UNIT


def _grid(side: int) -> int:
    return -(-side // STRIDE)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device is available: use the device cpu")
    return torch.device(name)


@lru_cache(maxsize=4)
def load_codec(model: str | Path = weights.DEFAULT, device: str = "auto") -> Codec:
    """Return a loaded codec, the same one each time."""
    return Codec.load(model, device)


def encode(
    image: Image.Image,
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> bytes:
    """Return `image` as the bytes of a .vqc file; see :meth:`Codec.encode`."""
    return load_codec(model, device).encode(image, quality)


def decode(
    data: bytes,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    partial: bool = False,
) -> Image.Image:
    """Return the image of a .vqc file, with the model it names; see :meth:`Codec.decode`.

    `model` names the weights where they are not among those shipped.
    """
    if model is None:
        model = weights.find_id(unpack(data, partial=partial).header.model_id).path
    return load_codec(model, device).decode(data, partial=partial)


def encode_indices(
    image: Image.Image,
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> Indices:
    """Return the code indices of `image`; see :meth:`Codec.encode_indices`."""
    return load_codec(model, device).encode_indices(image, quality)


def decode_indices(
    indices: Indices,
    size: tuple[int, int],
    quality: int = DEFAULT_QUALITY,
    *,
    model: str | Path = weights.DEFAULT,
    device: str = "auto",
) -> Image.Image:
    """Return the image that code indices stand for; see :meth:`Codec.decode_indices`."""
    return load_codec(model, device).decode_indices(indices, size, quality)
