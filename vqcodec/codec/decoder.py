"""Stream -> indices -> pixels: integers from the first byte to the last index, then the network."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.codec.pixels import picture_of_means, reduced, show
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.tiles import Region, Tile, box, covering, release_memory, split
from vqcodec.codec.tokens import Tokens, level_shapes
from vqcodec.entropy import coder
from vqcodec.entropy.prior import PriorNetwork, Symbols
from vqcodec.entropy.tables import Tables
from vqcodec.fileformat import coarse_alpha
from vqcodec.fileformat.container import ChunkTag, Container
from vqcodec.fileformat.image import Pixels, assemble, decode_alpha, info_of
from vqcodec.model.closed_loop import decode_level
from vqcodec.model.config import PLANES, Config
from vqcodec.model.reach import margin, reach
from vqcodec.model.vqvae import VQVAE


def levels_shown(config: Config, scale: int) -> int:
    """Return how many levels hold what a picture 1/scale in size can show.

    A position of the finest grid shows (stride / scale)^2 frequencies, and one level more makes up
    for the blocks on the picture, which are left out below full size. Without any level of that
    grid there is a picture of its means.
    """
    finest = config.scales[-1]
    wanted = PLANES * (config.strides[-1] // scale) ** 2
    held = np.cumsum((0, *config.channels[-1][:-1]))
    count = int((held < wanted).sum())
    return min(finest.start + count + 1, finest.stop) if count else finest.start


class Decoder:
    """Makes pictures of files and indices; read-only, and so safe to be used by several threads."""

    def __init__(self, network: VQVAE, prior: PriorNetwork, tables: Tables) -> None:
        self._network = network
        self._sketch = network.without_picture_blocks()
        self._config = network.config
        self._prior, self._tables = prior, tables

    def read(self, container: Container, profiler: Profiler, levels: int | None = None) -> Tokens:
        """Return the indices of the first so many levels in a file's stream, or of all.

        Raises CorruptError for a stream that no encoder makes.
        """
        header = container.header
        partial = not container.whole_stream
        stream = coder.Decoder(self._tables, container.payload, partial=partial)

        def code(number: int, _: int, classes: Symbols) -> Symbols:
            return stream.get(number, classes)

        grid = self._config.grid(0, header.height, header.width)
        with profiler.stage("entropy"):
            indices = self._prior.walk(header.quality, *grid, code, levels)
        size = header.width, header.height
        shapes = level_shapes(self._prior, self._config, *size, levels)
        return Tokens(indices, shapes, *size, header.quality, header.model_id, header.gray)

    def decode(
        self, container: Container, region: Region | None, scale: int, profiler: Profiler
    ) -> Image.Image:
        """Return the image of a file, or a region of it, or the whole at 1/scale.

        Raises CorruptError, and RegionError for a region beyond the image.
        """
        header, chunks = container.header, container.chunks
        rows, columns = box(region, header.width, header.height)
        tokens = self.read(container, profiler, levels_shown(self._config, scale))
        pixels = self.render(tokens, rows, columns, scale, profiler)
        alpha = None
        if coarse := coarse_alpha.file_of(header, chunks):
            alpha = np.array(self.decode(coarse, region, scale, profiler))
        elif ChunkTag.ALPHA in chunks:
            alpha = decode_alpha(chunks[ChunkTag.ALPHA], header.width, header.height)
            alpha = reduced(alpha[rows, columns], scale)
        image = assemble(pixels, gray=header.gray, alpha=alpha)
        image.info.update(info_of(chunks))
        return image

    @torch.inference_mode()
    def render(
        self, tokens: Tokens, rows: slice, columns: slice, scale: int, profiler: Profiler
    ) -> Pixels:
        """Return some pixels of the picture, or all at 1/scale, uint8 `[H, W, 3]`.

        Tokens may lack the last levels.
        """
        with profiler.stage("synthesis"):
            finest = self._config.scales[-1]
            network = self._network if scale == 1 else self._sketch
            means = self._means(network, tokens)
            if len(tokens.indices) == finest.start:
                stride = self._config.strides[-1]
                shown = means[..., covering(rows, stride), covering(columns, stride)]
                return reduced(picture_of_means(network, shown), scale // stride)
            return reduced(self._in_tiles(network, tokens, means, rows, columns), scale)

    def _means(self, network: VQVAE, tokens: Tokens) -> Tensor:
        """Return the means on the finest grid that the scales above it hold."""
        weights = network.quality_weights(tokens.quality)
        t = network.start(weights, *self._config.grid(0, tokens.height, tokens.width))
        for scale, numbers in enumerate(self._config.scales[:-1]):
            if scale:
                t = network.enter(network.means(t, scale), weights, scale)
            for number in numbers:
                t = decode_level(network, weights, t, number, _tensors(tokens.indices[number], t))
        return network.means(t, len(self._config.scales) - 1)

    def _in_tiles(
        self, network: VQVAE, tokens: Tokens, means: Tensor, rows: slice, columns: slice
    ) -> Pixels:
        """Return some rows and columns of the picture, made tile by tile.

        A tile's margin narrows as less and less is to come that looks at what is around it.
        """
        finest, stride = len(self._config.scales) - 1, self._config.strides[-1]
        weights = network.quality_weights(tokens.quality)
        size = self._config.grid(finest, tokens.height, tokens.width)
        pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
        covered = covering(rows, stride), covering(columns, stride)
        levels = range(self._config.scales[-1].start, len(tokens.indices))
        for tile in split(*size, *covered, margin(network, with_picture=False)):
            t = network.enter(means[..., tile.wide_rows, tile.wide_columns], weights, finest)
            for number in levels:
                tile, t = _narrowed(tile, t, reach(network, range(number, levels.stop)))
                indices = _tensors(tile.cut(tokens.indices[number], size), t)
                t = decode_level(network, weights, t, number, indices)
            tile, t = _narrowed(tile, t, reach(network, range(0)))
            show(network.synthesise(t, weights), tile, pixels, rows, columns)
            release_memory()
        return pixels


def _narrowed(tile: Tile, t: Tensor, margin: int) -> tuple[Tile, Tensor]:
    """Return a tile with no more of its margin than that, and its state cut to it."""
    narrow = tile.narrowed(margin)
    rows, columns = narrow.within(tile)
    return narrow, t[..., rows, columns].contiguous(memory_format=torch.channels_last)


def _tensors(level: Symbols, like: Tensor) -> list[Tensor]:
    return [torch.from_numpy(group.astype(np.int64)).to(like.device) for group in level]
