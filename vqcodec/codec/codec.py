"""The codec: image -> features -> indices -> bytes, and back. The whole way, on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqcodec import weights
from vqcodec.codec.picture import bordered, picture_of_means, reduced, show
from vqcodec.codec.state import DecoderState, SketchState, class_centres
from vqcodec.codec.tiles import Region, Tile, box, covering, release_memory, split
from vqcodec.entropy.coder import Decoder, Encoder
from vqcodec.entropy.prior import BLOCK, CodePhase, Indices, Parts
from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import ModelError, UnknownModelError
from vqcodec.fileformat.container import (
    DEFAULT_QUALITY,
    MAX_PIXELS,
    ChunkTag,
    Container,
    Header,
    pack,
    unpack,
)
from vqcodec.fileformat.image import Pixels, Prepared, assemble, chunks_of, decode_alpha, prepare
from vqcodec.model.config import CHANNELS, PLANES, STRIDE
from vqcodec.model.layers import QUALITIES, quality_weights, select
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights.store import Weights, load

SCALES = (1, 2, 4, 8, 16, 32, 64)

Adjust = Callable[[bytes], float | None]


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
        return self.encode_prepared(prepare(image), quality)

    def encode_prepared(self, prepared: Prepared, quality: int) -> bytes:
        """Like :meth:`encode`, of what `vqcodec.image.prepare` made of an image."""
        payload = self.encode_stream(prepared.pixels, quality)
        return pack(Container(self.header(prepared, quality), chunks_of(prepared), payload))

    def encode_stream(
        self,
        pixels: Pixels,
        quality: int,
        picture: Pixels | None = None,
        adjust: Adjust | None = None,
    ) -> bytes:
        """Return the stream of uint8 `[H, W, 3]` pixels.

        An array like them as `picture` is filled with the pixels that the stream decodes to. Then
        `adjust` is called with the stream, if the image is small enough to be one tile: as long as
        it returns a number, the finest level is chosen again with errors worth that many times as
        much.

        Raises ValueError for a quality out of range.
        """
        return self._choose(pixels, quality, picture, adjust)[1].finish()

    def header(self, prepared: Prepared, quality: int) -> Header:
        """Return the header of a file of a prepared image."""
        height, width = prepared.pixels.shape[:2]
        return Header(self.model_id, width, height, quality, prepared.gray)

    def decode(
        self,
        data: bytes,
        *,
        partial: bool = False,
        region: Region | None = None,
        scale: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> Image.Image:
        """Return the image of a .vqc file: mode RGB or L, with A where the file has alpha.

        With `partial` a truncated file gives what its bytes hold. A `region` (left, upper, width,
        height) gives that part of the image, a `scale` of 2, 4, ... 64 the image so many times
        smaller, sides rounded up, of as many levels as hold its detail. A file of more than
        `max_pixels` is refused.

        Raises NotVqcError, UnsupportedVersionError, UnknownModelError, TruncatedError,
        CorruptError, TooLargeError; RegionError for a region that is not within the image;
        ValueError for another scale, or a scale and a region.
        """
        container = unpack(data, partial=partial, max_pixels=max_pixels)
        header, chunks = container.header, container.chunks
        rows, columns = box(region, header.width, header.height)
        if scale not in SCALES or (scale > 1 and region is not None):
            raise ValueError(f"cannot decode {region or 'an image'} at 1/{scale}")
        fine = self._fine_levels(scale)
        indices = self._read(container, fine)
        if fine:
            kind = DecoderState if scale == 1 else SketchState
            pixels = reduced(self._render(indices, header, rows, columns, kind), scale)
        else:
            pixels = reduced(self._render_means(indices, header), scale // BLOCK)
        alpha = None
        if ChunkTag.ALPHA in chunks:
            alpha = decode_alpha(chunks[ChunkTag.ALPHA], header.width, header.height)
            alpha = reduced(alpha[rows, columns], scale)
        return assemble(
            pixels,
            gray=header.gray,
            alpha=alpha,
            icc=chunks.get(ChunkTag.ICC),
            exif=chunks.get(ChunkTag.EXIF),
        )

    def _fine_levels(self, scale: int) -> range:
        """Return the levels of the 1/8 grid that hold what a picture 1/scale in size can show.

        A block shows (8 / scale)^2 frequencies, and one level more makes up for the blocks on the
        picture, which are left out below full size. Without any level there is a picture at 1/8.
        """
        wanted = PLANES * (BLOCK // scale) ** 2
        before = accumulate(self.config.channels[1][:-1], initial=0)
        count = sum(held < wanted for held in before)
        return self._prior.fine[: count + 1 if count else 0]

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
        return self._choose(prepare(image).pixels, quality)[0]

    def decode_indices(
        self, indices: Indices, size: tuple[int, int], quality: int = DEFAULT_QUALITY
    ) -> Image.Image:
        """Return the RGB image, `size` (width, height), that indices of that quality stand for."""
        header = Header(self.model_id, *size, quality)
        return Image.fromarray(self._render(indices, header, *box(None, *size)))

    def file_indices(self, data: bytes) -> Indices:
        """Return the indices that a .vqc file holds, in the form of :meth:`encode_indices`."""
        return self._read(unpack(data))

    def code_bits(self, indices: Indices, size: tuple[int, int], quality: int) -> list[float]:
        """Return the cross-entropy of indices under the learned prior, in bits, level by level.

        By the integer tables that files are coded with; `indices` and `size` (width, height) as in
        :meth:`decode_indices`. A file's stream is as long but for the coder's own overhead. What
        follows the last index that is not 0 takes nothing: a stream ends in no zero bytes.
        """
        grid = _grid(size[1]), _grid(size[0])
        bits, trailing = [0.0] * len(indices), [0.0] * len(indices)

        def look(
            number: int, phase: int, classes: list[NDArray[np.uint8]]
        ) -> list[NDArray[np.uint8]]:
            chosen = self._of_phase(indices, grid, number, phase)
            for tables, own, part in zip(self._tables[number], classes, chosen, strict=True):
                order = np.argsort(own, axis=-1, kind="stable")
                costs = np.take_along_axis(tables.bits(own, part), order, -1)
                used = np.flatnonzero(np.take_along_axis(part, order, -1))
                if used.size:
                    bits[:] = np.add(bits, trailing).tolist()
                    trailing[:] = [0.0] * len(trailing)
                stop = used[-1] + 1 if used.size else 0
                bits[number] += float(costs.flat[:stop].sum())
                trailing[number] += float(costs.flat[stop:].sum())
            return chosen

        self._prior.walk(quality, *grid, look)
        return bits

    # image -> indices -> stream

    @torch.inference_mode()
    def _choose(
        self,
        pixels: Pixels,
        quality: int,
        picture: Pixels | None = None,
        adjust: Adjust | None = None,
    ) -> tuple[Indices, Encoder]:
        """Choose the indices of uint8 `[H, W, 3]` pixels level by level, and code them.

        The 1/64 grid is worked on as a whole, the 1/8 grid tile by tile.
        """
        if not 1 <= quality <= QUALITIES:
            raise ValueError(f"quality {quality} is not within 1..{QUALITIES}")
        network, prior, knots = self._network, self._prior, self._knots(quality)
        grid = _grid(pixels.shape[0]), _grid(pixels.shape[1])
        height, width = (BLOCK * side for side in grid)
        tiles = split(height, width, slice(0, height), slice(0, width))
        self.timings = {}
        with self._timed("analysis"):
            means = knots.new_empty(1, PLANES, height, width)
            for tile in tiles:
                h = network.fine_features(self._padded(pixels, tile), knots)
                rows, columns = tile.inner
                means[0, :, tile.rows, tile.columns] = h[0, :PLANES, rows, columns]
                release_memory()
            coarse_h = network.coarse_features(means, knots)

        stream = Encoder()
        state = DecoderState(network, knots, knots.new_zeros(1, CHANNELS, *grid))
        choice = self._choice(state, coarse_h, stream)
        known = prior.start(quality, *grid)
        coarse, known = prior.walk_levels(prior.coarse, known, quality, choice)
        known = prior.finer(known, coarse, quality)

        means = network.means(state.t)
        fine = [
            [np.empty((own, height * width), np.uint8) for own in level.parts]
            for level in prior.levels[len(coarse) :]
        ]
        whole = box(None, pixels.shape[1], pixels.shape[0])
        # One tile can be coded at once; of several, every phase is coded for all of them.
        alone = len(tiles) == 1
        for tile in tiles:
            if not alone:
                with self._timed("analysis"):
                    h = network.fine_features(self._padded(pixels, tile), knots)
            t = network.enter_fine(means[..., tile.wide_rows, tile.wide_columns], knots)
            state = DecoderState(network, knots, t)
            part = known[tile.wide_rows, tile.wide_columns]
            choice = self._choice(state, h, stream if alone else None)
            chosen, part = prior.walk_levels(prior.fine[:-1], part, quality, choice)
            t, before = state.t, stream.copy()
            worth: float | None = 1.0
            while worth is not None:
                state.t, stream = t, before.copy()
                choice = self._choice(state, h, stream if alone else None, worth)
                finest, _ = prior.walk_levels(prior.fine[-1:], part, quality, choice)
                if picture is not None:
                    show(state.picture(), tile, picture, *whole)
                worth = adjust(stream.finish()) if adjust and alone else None
            tile.paste(chosen + finest, fine, (height, width))
            release_memory()
        indices = coarse + fine
        if not alone:

            def code(number: int, phase: int, classes: Parts) -> Parts:
                chosen = self._of_phase(indices, grid, number, phase)
                self._put(stream, number, classes, chosen)
                return chosen

            prior.walk_levels(prior.fine, known, quality, code)
        return indices, stream

    def _choice(
        self, state: DecoderState, h: Tensor, stream: Encoder | None, worth: float = 1.0
    ) -> CodePhase:
        """Return what chooses the indices of a phase for the features `h`, and codes them.

        Errors are worth so many times as much as in a plain encode.
        """

        def code(number: int, phase: int, classes: Parts) -> Parts:
            with self._timed("quantize"):
                level = state.enter(number, phase)
                if not len(state.positions):
                    state.add([])
                    return classes
                features = select(h, state.positions)
                y = state.gain * level.residual(features, state.columns)
                cost, widths = worth * level.error_cost(state.knots), self._widths(classes)
                chosen = level.codebooks.indices(y, cost, widths)
                state.add(chosen)
                indices = [part.cpu().numpy().astype(np.uint8) for part in chosen]
            if stream is not None:
                self._put(stream, number, classes, indices)
            return indices

        return code

    def _put(self, stream: Encoder, number: int, classes: Parts, indices: Parts) -> None:
        with self._timed("entropy"):
            for tables, own, part in zip(self._tables[number], classes, indices, strict=True):
                stream.put(tables, own, part)

    def _of_phase(self, indices: Indices, grid: Sequence[int], number: int, phase: int) -> Parts:
        """Return the indices of a phase of level `number`; `grid` is the size of the 1/64 grid."""
        level = self._prior.levels[number]
        if len(level.phases) == 1:
            return indices[number]
        scaled = [side * BLOCK**level.scale for side in grid]
        positions = phase_positions(len(level.phases), phase, *scaled)
        return [part[:, positions] for part in indices[number]]

    # stream -> indices -> image

    def _read(self, container: Container, fine: range | None = None) -> Indices:
        """Return the indices in a file's stream: integers from the first byte to the last.

        Those of the coarse levels and of the first ones of the `fine` levels, of all if it is None.
        """
        header = container.header
        if header.model_id != self.model_id:
            raise UnknownModelError(
                f"coded with model {header.model_id.hex()}, not {self.model_id.hex()}"
            )
        stream = Decoder(container.payload, partial=not container.whole_stream)

        def code(number: int, _: int, classes: Parts) -> Parts:
            parts = zip(self._tables[number], classes, strict=True)
            return [stream.get(tables, own) for tables, own in parts]

        self.timings = {}
        with self._timed("entropy"):
            quality, grid = header.quality, (_grid(header.height), _grid(header.width))
            prior = self._prior
            known = prior.start(quality, *grid)
            indices, known = prior.walk_levels(prior.coarse, known, quality, code)
            fine = prior.fine if fine is None else fine
            if fine:
                known = prior.finer(known, indices, quality)
                indices += prior.walk_levels(fine, known, quality, code)[0]
            return indices

    @torch.inference_mode()
    def _render(
        self,
        indices: Indices,
        header: Header,
        rows: slice,
        columns: slice,
        kind: type[DecoderState] = DecoderState,
    ) -> Pixels:
        """Return some rows and columns of the picture that indices stand for, uint8 `[h, w, 3]`.

        A tile's margin narrows as less and less is to come that looks at what is around it.
        """
        with self._timed("synthesis"):
            network, knots = self._network, self._knots(header.quality)
            size = BLOCK * _grid(header.height), BLOCK * _grid(header.width)
            coarse = len(network.levels[0])
            means = network.means(self._coarse_state(indices, header).t)
            pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
            for tile in split(*size, covering(rows), covering(columns)):
                t = network.enter_fine(means[..., tile.wide_rows, tile.wide_columns], knots)
                state = kind(network, knots, t)
                for number, parts in enumerate(indices[coarse:], coarse):
                    tile = _narrowed(state, tile, range(number, len(indices)))
                    state.add_level(number, tile.cut(parts, size))
                tile = _narrowed(state, tile, range(0))
                show(state.picture(), tile, pixels, rows, columns)
                release_memory()
            return pixels

    @torch.inference_mode()
    def _render_means(self, indices: Indices, header: Header) -> Pixels:
        """Return the picture at 1/8 that indices of the 1/64 grid stand for, `[H/8, W/8, 3]`."""
        with self._timed("synthesis"):
            network = self._network
            means = network.means(self._coarse_state(indices, header).t)
            rows, columns = map(covering, box(None, header.width, header.height))
            return picture_of_means(network, means[..., rows, columns])

    def _coarse_state(self, indices: Indices, header: Header) -> DecoderState:
        """Return the decoder's state after the levels of the 1/64 grid."""
        network, knots = self._network, self._knots(header.quality)
        t = knots.new_zeros(1, CHANNELS, _grid(header.height), _grid(header.width))
        state = DecoderState(network, knots, t)
        for number, parts in enumerate(indices[: len(network.levels[0])]):
            state.add_level(number, parts)
        return state

    @torch.inference_mode()
    def coefficients(self, pixels: Pixels) -> Iterator[tuple[Tensor, int, int]]:
        """Yield the transform that analysis begins with, of uint8 `[H, W, 3]` pixels.

        Parts of the 1/8 grid, `[192, h, w]`, and the first row and column of each.
        """
        height, width = (BLOCK * _grid(side) for side in pixels.shape[:2])
        for tile in split(height, width, slice(0, height), slice(0, width)):
            rows, columns = tile.inner
            part = self._network.coefficients(self._padded(pixels, tile))[0, :, rows, columns]
            yield part, tile.rows.start, tile.columns.start

    def _padded(self, pixels: Pixels, tile: Tile) -> Tensor:
        """Return a tile with its margin, `[1, 3, H, W]` in [0, 1].

        The image's sides are padded to multiples of 64 by repetition.
        """
        spans = (tile.wide_rows, tile.wide_columns)
        wide = bordered(pixels, *(slice(BLOCK * s.start, BLOCK * s.stop) for s in spans))
        x = torch.from_numpy(wide).to(self._device, self._dtype)
        return x.permute(2, 0, 1)[None] / 255

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


def _grid(side: int) -> int:
    return -(-side // STRIDE)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("no CUDA device is available: use the device cpu")
    return torch.device(name)


def _narrowed(state: DecoderState, tile: Tile, levels: range) -> Tile:
    """Return the tile with the margin that levels to come need, to which the state is cut too."""
    narrow = tile.narrowed(state.reach(levels))
    state.narrow(*narrow.within(tile))
    return narrow
