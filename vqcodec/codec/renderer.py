"""Indices -> pixels: the finest grid in tiles, each of them stage by stage.

A tile is as large as there is room for its state, with a margin as wide as all stages look. A
stage, which is a level or the picture, is done piece by piece, several at once, with a margin as
wide as that stage looks: much less is done twice than if every piece went through all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from vqcodec import threads
from vqcodec.codec import tiles
from vqcodec.codec.noise import noise
from vqcodec.codec.pixels import place, reduced
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.tiles import Tile, covering, pieces, split
from vqcodec.codec.tokens import Tokens
from vqcodec.entropy.levels import Symbols
from vqcodec.entropy.schedule import Part
from vqcodec.entropy.stream import Seen
from vqcodec.entropy.threads import side_by_side
from vqcodec.fileformat.image import Pixels
from vqcodec.model.config import PLANES, Config
from vqcodec.model.reach import ENTERED, choice_reach, reach


class Synthesis(Protocol):
    """Makes states of codewords, and pixels of states, at one quality.

    States and means are `[1, C, H, W]`, arrays or tensors as it likes. `at_once` tells how many
    threads may work on tiles.
    """

    at_once: int

    def start(self, height: int, width: int) -> Any:
        """Return the state before the first level, whose grid is `height` x `width`."""

    def room(self, height: int, width: int) -> Any:
        """Return room for a state of the finest scale, to be written to."""

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


class Renderer:
    """Makes pixels of indices; read-only, and so safe to be used by several threads."""

    def __init__(self, config: Config, synthesis: MakeSynthesis) -> None:
        self._config, self._synthesis = config, synthesis

    def pixels(
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
            margin = ENTERED + reach(
                config, config.scales[-1], on_picture=on_picture, natural=natural
            )
            every = split(*size, *covered, margin, tiles.DECODED_SIDE)
            count = max(len(pieces(tile, tile, 0)) for tile in every)
            synthesis = self._synthesis(tokens.quality, on_picture, natural, count)
            means = self._means(synthesis, tokens)
            if len(tokens.indices) == config.scales[-1].start:
                shown = means[..., covered[0], covered[1]]
                return reduced(synthesis.picture_of_means(shown), scale // stride)
            pixels = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
            stages = _Stages(config, synthesis, tokens, on_picture, seed)
            for tile in every:
                stages.show(
                    tile, means, lambda piece, shown: place(shown, piece, pixels, rows, columns)
                )
            return reduced(pixels, scale)

    def seen(self, width: int, height: int, rows: slice, columns: slice, *, natural: bool) -> Seen:
        """Return what tells which part of a level some pixels are made of at full size.

        `width` and `height` are those of the picture.
        """
        stride = self._config.strides[-1]
        grid = self._config.grid(len(self._config.scales) - 1, height, width)
        asked = covering(rows, stride), covering(columns, stride)
        tile = replace(Tile.whole(*grid), rows=asked[0], columns=asked[1])

        def part(number: int) -> Part:
            levels = range(number, self._config.scales[-1].stop)
            wide = tile.narrowed(reach(self._config, levels, natural=natural))
            return wide.wide_rows, wide.wide_columns

        return part

    def _means(self, synthesis: Synthesis, tokens: Tokens) -> Any:
        """Return the means on the finest grid that the scales above it hold."""
        t = synthesis.start(*self._config.grid(0, tokens.height, tokens.width))
        for scale, numbers in enumerate(self._config.scales[:-1]):
            if scale:
                t = synthesis.enter(synthesis.means(t, scale), scale)
            for number in numbers:
                t = synthesis.level(t, number, tokens.indices[number])
        return synthesis.means(t, len(self._config.scales) - 1)


@dataclass(frozen=True)
class _Stages:
    """The stages of the finest scale, for one picture."""

    config: Config
    synthesis: Synthesis
    tokens: Tokens
    on_picture: bool
    seed: int | None

    def show(self, tile: Tile, means: Any, show: Callable[[Tile, Pixels], None]) -> None:
        """Take a tile through all stages; `show` is given its pixels, piece by piece."""
        finest = len(self.config.scales) - 1
        levels = range(self.config.scales[-1].start, len(self.tokens.indices))

        def enter(piece: Tile) -> Any:
            return self.synthesis.enter(means[..., piece.wide_rows, piece.wide_columns], finest)

        before, tile = tile, tile.narrowed(self._reach(levels))
        t = self._stage(enter, tile, before, ENTERED)
        for number in levels:
            before, tile = tile, tile.narrowed(self._reach(range(number + 1, levels.stop)))
            margin = choice_reach(
                self.config, range(number, number + 1), on_picture=self.on_picture
            )
            t = self._stage(partial(self._level, number, t, before), tile, before, margin)

        def picture(piece: Tile) -> None:
            show(piece, self._picture(t, tile, piece))

        side_by_side(
            picture, pieces(tile.bare, tile, self._reach(range(0))), self.synthesis.at_once
        )
        threads.release_memory()

    def _reach(self, levels: range) -> int:
        """Return how far what is to come looks: so many levels, and the picture."""
        natural = self.seed is not None
        return reach(self.config, levels, on_picture=self.on_picture, natural=natural)

    def _stage(self, work: Callable[[Tile], Any], tile: Tile, before: Tile, margin: int) -> Any:
        """Return the state of a tile after a stage, of the one before, which has more margin.

        `work` does it for a piece with its margin.
        """
        parts = pieces(tile, before, margin)
        if len(parts) == 1:
            rows, columns = parts[0].inner
            return work(parts[0])[..., rows, columns]
        sides = (span.stop - span.start for span in (tile.wide_rows, tile.wide_columns))
        state = self.synthesis.room(*sides)

        def work_on(piece: Tile) -> None:
            (down, across), (rows, columns) = piece.bare.within(tile), piece.inner
            state[..., down, across] = work(piece)[..., rows, columns]

        side_by_side(work_on, parts, self.synthesis.at_once)
        return state

    def _level(self, number: int, t: Any, before: Tile, piece: Tile) -> Any:
        rows, columns = piece.within(before)
        finest = len(self.config.scales) - 1
        size = self.config.grid(finest, self.tokens.height, self.tokens.width)
        indices = piece.cut(self.tokens.indices[number], size)
        return self.synthesis.level(t[..., rows, columns], number, indices)

    def _picture(self, t: Any, tile: Tile, piece: Tile) -> Pixels:
        rows, columns = piece.within(tile)
        t = t[..., rows, columns]
        if self.seed is None:
            return self.synthesis.picture(t)
        stride = self.config.strides[-1]
        spans = (piece.wide_rows, piece.wide_columns)
        pixels = (slice(stride * span.start, stride * span.stop) for span in spans)
        return self.synthesis.picture(t, noise(self.seed, *pixels))
