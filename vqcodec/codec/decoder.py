"""Stream -> indices -> pixels: integers from the first byte to the last index, then the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vqcodec.codec.arriving import Arriving
from vqcodec.codec.pixels import reduced
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.renderer import MakeSynthesis, Renderer, levels_shown
from vqcodec.codec.tiles import Region, box
from vqcodec.codec.tokens import Tokens, level_shapes
from vqcodec.entropy import stream
from vqcodec.entropy.levels import Symbols
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.entropy.tables import Tables
from vqcodec.fileformat import coarse_alpha
from vqcodec.fileformat.container import ChunkTag, Container
from vqcodec.fileformat.image import Pixels, assemble, decode_alpha, info_of
from vqcodec.model.config import Config

# Up to so many positions of the finest grid (33 megapixels) synthesis begins while indices are
# read; beyond, there is no room for tiles beside what reading takes.
OVERLAPPED = 2**19


class Decoder:
    """Makes pictures of files and indices; read-only, and so safe to be used by several threads."""

    def __init__(
        self, config: Config, prior: PriorNetwork, tables: Tables, synthesis: MakeSynthesis
    ) -> None:
        self._config, self._prior, self._tables = config, prior, tables
        self._renderer = Renderer(config, synthesis)

    def read(self, container: Container) -> Tokens:
        """Return the indices in a file's stream.

        Raises CorruptError for a stream that no encoder makes.
        """
        return self._tokens(container, list(self._walk(container)))

    def _walk(
        self, container: Container, levels: int | None = None, seen: stream.Seen | None = None
    ) -> Iterator[Symbols]:
        """Yield the indices of the first so many levels in a file's stream, or of all.

        Of the finest grid at least those that are seen.
        """
        header = container.header
        return stream.read(
            self._prior,
            self._tables,
            container.payload,
            header.quality,
            self._config.grid(0, header.height, header.width),
            partial=not container.whole_stream,
            stop=levels,
            seen=seen,
        )

    def _tokens(self, container: Container, indices: Sequence[Symbols]) -> Tokens:
        header = container.header
        size = header.width, header.height
        shapes = level_shapes(self._prior, self._config, *size, len(indices))
        return Tokens(indices, shapes, *size, header.quality, header.model_id, header.gray)

    def decode(
        self,
        container: Container,
        region: Region | None,
        scale: int,
        profiler: Profiler,
        *,
        natural: bool = False,
    ) -> Image.Image:
        """Return the image of a file, or a region of it, or the whole at 1/scale.

        At full size it may have its natural look. Raises CorruptError, and RegionError for a
        region beyond the image.
        """
        header, chunks = container.header, container.chunks
        rows, columns = box(region, header.width, header.height)
        seed = container.crc if natural and scale == 1 else None
        pixels = self._pixels(container, rows, columns, scale, profiler, seed)
        alpha = None
        if coarse := coarse_alpha.file_of(header, chunks):
            alpha = np.array(self.decode(coarse, region, scale, profiler))
        elif ChunkTag.ALPHA in chunks:
            alpha = decode_alpha(chunks[ChunkTag.ALPHA], header.width, header.height)
            alpha = reduced(alpha[rows, columns], scale)
        image = assemble(pixels, gray=header.gray, alpha=alpha)
        image.info.update(info_of(chunks))
        return image

    def _pixels(
        self,
        container: Container,
        rows: slice,
        columns: slice,
        scale: int,
        profiler: Profiler,
        seed: int | None,
    ) -> Pixels:
        """Return some pixels of a file's picture, whose indices are not kept, or all at 1/scale."""
        header, count = container.header, levels_shown(self._config, scale)
        size = header.width, header.height
        seen = self._renderer.seen(*size, rows, columns, natural=seed is not None)
        walk = self._walk(container, count, seen)
        grid = self._config.grid(len(self._config.scales) - 1, header.height, header.width)
        if math.prod(grid) > OVERLAPPED:
            with profiler.stage("entropy"):
                tokens = self._tokens(container, list(walk))
            return self._renderer.pixels(tokens, rows, columns, scale, profiler, seed)
        with Arriving(walk, count, profiler) as indices:
            tokens = self._tokens(container, indices)
            return self._renderer.pixels(tokens, rows, columns, scale, profiler, seed)

    def render(self, tokens: Tokens) -> Pixels:
        """Return the picture that tokens stand for, uint8 `[H, W, 3]`."""
        rows, columns = box(None, tokens.width, tokens.height)
        return self._renderer.pixels(tokens, rows, columns, 1, Profiler())
