"""Stream -> indices -> pixels: integers from the first byte to the last index, then the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vqcodec import threads
from vqcodec.codec.arriving import Arriving
from vqcodec.codec.noise import noise
from vqcodec.codec.pixels import place, reduced
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.tiles import Region, Tile, box, covering, split
from vqcodec.codec.tokens import Tokens, level_shapes
from vqcodec.entropy import stream
from vqcodec.entropy.levels import Symbols
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.entropy.schedule import Part
from vqcodec.entropy.tables import Tables
from vqcodec.fileformat import coarse_alpha
from vqcodec.fileformat.container import ChunkTag, Container, Header
from vqcodec.fileformat.image import Pixels, assemble, decode_alpha, info_of
from vqcodec.model.config import PLANES, Config
from vqcodec.model.reach import ENTERED, reach

# Up to so many positions of the finest grid (33 megapixels) synthesis begins while indices are
# read; beyond, there is no room for tiles beside what reading takes.
OVERLAPPED = 2**19


class Synthesis(Protocol):
    """Makes states of codewords, and pixels of states, at one quality.

    States and means are `[1, C, H, W]`, arrays or tensors as it likes. `at_once` tells how many
    threads may work on tiles.
    """

    at_once: int

    def start(self, height: int, width: int) -> Any:
        """Return the state before the first level, whose grid is `height` x `width`."""

    def means(self, t: Any, scale: int) -> Any:
        """Return the means on the grid of `scale` that the state above it holds."""

    def enter(self, means: Any, scale: int) -> Any:
        """Return the state before the first level of a scale but the coarsest."""

    def level(self, t: Any, number: int, indices: Symbols) -> Any:
        """Return the state after a level, whose indices are `[codebooks, H * W]` a group."""

    def picture(self, t: Any, noise: Any = None) -> Pixels:
        """Return the picture of a state of the finest scale; of noise, its natural look."""

    def picture_of_means(self, means: Any) -> Pixels:
        """Return the picture, a pixel a position, whose blocks have `means` `[1, 3, H, W]`."""


# Of a quality, whether blocks work on the picture (they take half the time, and what they change is
# mostly detail, which a smaller picture does not show), whether it can draw the natural look, and
# the number of tiles.
MakeSynthesis = Callable[[int, bool, bool, int], Synthesis]


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

    def __init__(
        self, config: Config, prior: PriorNetwork, tables: Tables, synthesis: MakeSynthesis
    ) -> None:
        self._config, self._synthesis = config, synthesis
        self._prior, self._tables = prior, tables

    def read(self, container: Container) -> Tokens:
        """Return the indices in a file's stream.

        Raises CorruptError for a stream that no encoder makes.
        """
        return self._tokens(container, list(self._walk(container)))

    def _walk(
        self, container: Container, levels: int | None = None, window: Part | None = None
    ) -> Iterator[Symbols]:
        """Yield the indices of the first so many levels in a file's stream, or of all.

        At least those in a window of the finest grid.
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
            window=window,
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
        window = self._seen(header, rows, columns, natural=seed is not None)
        walk = self._walk(container, count, window)
        grid = self._config.grid(len(self._config.scales) - 1, header.height, header.width)
        if math.prod(grid) > OVERLAPPED:
            with profiler.stage("entropy"):
                tokens = self._tokens(container, list(walk))
            return self.render(tokens, rows, columns, scale, profiler, seed)
        with Arriving(walk, count, profiler) as indices:
            tokens = self._tokens(container, indices)
            return self.render(tokens, rows, columns, scale, profiler, seed)

    def _seen(self, header: Header, rows: slice, columns: slice, *, natural: bool) -> Part:
        """Return the part of the finest grid that some pixels are made of at full size."""
        stride = self._config.strides[-1]
        grid = self._config.grid(len(self._config.scales) - 1, header.height, header.width)
        margin = ENTERED + reach(self._config, self._config.scales[-1], natural=natural)
        asked = covering(rows, stride), covering(columns, stride)
        tile = replace(Tile.whole(*grid), rows=asked[0], columns=asked[1]).narrowed(margin)
        return tile.wide_rows, tile.wide_columns

    def render(
        self,
        tokens: Tokens,
        rows: slice,
        columns: slice,
        scale: int,
        profiler: Profiler,
        seed: int | None = None,
    ) -> Pixels:
        """Return some pixels of the picture, or all at 1/scale, uint8 `[H, W, 3]`.

        Tokens may lack the last levels. With the seed of its noise, it is the natural look.
        """
        with profiler.stage("synthesis"):
            config, on_picture, natural = self._config, scale == 1, seed is not None
            stride = config.strides[-1]
            covered = covering(rows, stride), covering(columns, stride)
            size = config.grid(len(config.scales) - 1, tokens.height, tokens.width)
            margin = partial(reach, config, on_picture=on_picture, natural=natural)
            tiles = split(*size, *covered, ENTERED + margin(config.scales[-1]))
            synthesis = self._synthesis(tokens.quality, on_picture, natural, len(tiles))
            means = self._means(synthesis, tokens)
            if len(tokens.indices) == config.scales[-1].start:
                shown = means[..., covered[0], covered[1]]
                return reduced(synthesis.picture_of_means(shown), scale // stride)
            pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)

            def work(tile: Tile) -> None:
                tile, shown = self._shown(synthesis, tokens, means, tile, margin, seed)
                place(shown, tile, pixels, rows, columns)
                threads.release_memory()

            with ExitStack() as stack:
                pool = ThreadPoolExecutor(synthesis.at_once)
                stack.callback(pool.shutdown, cancel_futures=True)
                for _ in pool.map(work, tiles) if synthesis.at_once > 1 else map(work, tiles):
                    pass
            return reduced(pixels, scale)

    def _means(self, synthesis: Synthesis, tokens: Tokens) -> Any:
        """Return the means on the finest grid that the scales above it hold."""
        t = synthesis.start(*self._config.grid(0, tokens.height, tokens.width))
        for scale, numbers in enumerate(self._config.scales[:-1]):
            if scale:
                t = synthesis.enter(synthesis.means(t, scale), scale)
            for number in numbers:
                t = synthesis.level(t, number, tokens.indices[number])
        return synthesis.means(t, len(self._config.scales) - 1)

    def _shown(
        self,
        synthesis: Synthesis,
        tokens: Tokens,
        means: Any,
        tile: Tile,
        margin: Callable[[range], int],
        seed: int | None,
    ) -> tuple[Tile, Pixels]:
        """Return the pixels of a tile with its margin, and the tile with the margin that is left.

        It narrows as less and less is to come that looks at what is around it.
        """
        config = self._config
        finest = len(config.scales) - 1
        size = config.grid(finest, tokens.height, tokens.width)
        levels = range(config.scales[-1].start, len(tokens.indices))
        t = synthesis.enter(means[..., tile.wide_rows, tile.wide_columns], finest)
        for number in levels:
            tile, t = _narrowed(tile, t, margin(range(number, levels.stop)))
            t = synthesis.level(t, number, tile.cut(tokens.indices[number], size))
        tile, t = _narrowed(tile, t, margin(range(0)))
        if seed is None:
            return tile, synthesis.picture(t)
        spans, stride = (tile.wide_rows, tile.wide_columns), config.strides[-1]
        pixels = (slice(stride * span.start, stride * span.stop) for span in spans)
        return tile, synthesis.picture(t, noise(seed, *pixels))


def _narrowed(tile: Tile, t: Any, margin: int) -> tuple[Tile, Any]:
    """Return a tile with no more of its margin than that, and its state cut to it."""
    narrow = tile.narrowed(margin)
    rows, columns = narrow.within(tile)
    return narrow, t[..., rows, columns]
