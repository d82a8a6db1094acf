"""Large images -> stream: features and indices tile by tile, several tiles at once.

Analysis looks at every tile, the coarser grids are coded as a whole, and the indices of the finest
are chosen tile by tile. The tiles that these are coded in are others, smaller and without margins.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vqcodec import threads
from vqcodec.codec.encoder import Encoded, ImageEncoder, IndexSearch
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.tiles import Tile, split
from vqcodec.entropy import coder
from vqcodec.entropy.layer import Grid
from vqcodec.entropy.levels import Indices, Symbols
from vqcodec.entropy.prior import PutPhase, PutPhaseOfLevel
from vqcodec.entropy.schedule import Part, coding_tiles, cut, phase_positions, within
from vqcodec.entropy.stream import PutOf, join, replay_finest, segment
from vqcodec.entropy.threads import side_by_side
from vqcodec.model.config import PLANES
from vqcodec.model.reach import ENTERED, choice_reach, feature_reach, reach

# Up to so many positions of the finest grid (33 megapixels) the features of the whole image and the
# classes of its indices are kept; beyond, both are computed twice.
KEPT = 2**19
# Tiles: what bounds memory, however many processors there are. Of more positions than KEPT it is
# one, which takes a tenth more time: beside the pixels and indices there is no room for another.
AT_ONCE = 2

EachTile = Callable[[Callable[[Tile], None]], None]


class TiledEncoder(ImageEncoder):
    """The encoder of one image that is too large to be worked on as a whole."""

    @torch.inference_mode()
    def encode(self) -> Encoded:
        """Return what the image is coded to."""
        stages = self.profiler
        self.profiler = Profiler()  # tiles are timed together
        with self._each_tile() as each_tile:
            with stages.stage("analysis"):
                means, features = self._analysed_whole(each_tile)
            segments = defaultdict[int, coder.Encoder](lambda: coder.Encoder(self.tables))
            indices, means, known = self.coarse_levels(means, segments[0])
            levels = self.prior.levels[self.prior.scales[-1].start :]
            size = math.prod(self.grid)
            fine = [level.room(size) for level in levels]
            classes = [level.room_for_classes(size) for level in levels] if self._keeps else None
            picture = np.empty_like(self.pixels) if self.with_picture else None

            def choose(tile: Tile) -> None:
                last, search = self._choose(tile, means, known, features, fine, classes)
                if picture is not None:
                    self.show(search.t, last, picture)

            with stages.stage("quantize"):
                each_tile(choose)

        def put_of(number: int) -> PutPhaseOfLevel:
            return segments[number].put

        with stages.stage("entropy"):
            every = [*indices, *fine]
            if classes is None:
                replay_finest(self.prior, self.quality, known, every, put_of)
            else:
                self._put(put_of, fine, classes)
            found = join([segments[number].finish() for number in range(len(segments))])
        return Encoded(found, every, picture, None)

    @contextmanager
    def _each_tile(self) -> Iterator[EachTile]:
        """Make a way to do something with every tile, with several at once on processors."""
        margin = ENTERED + self._looked(0)
        tiles = split(*self.grid, self.whole.rows, self.whole.columns, margin)
        number = threads.number()
        most = AT_ONCE if self._keeps and self.weights.device.type == "cpu" else 1
        at_once = min(number, len(tiles), most)

        def one_by_one(work: Callable[[Tile], None]) -> None:
            for tile in tiles:
                work(tile)
            threads.release_memory()

        if at_once == 1:
            yield one_by_one
            return
        own = torch.get_num_threads()
        share = number // at_once
        with ThreadPoolExecutor(at_once, initializer=threads.use, initargs=(share,)) as pool:

            def together(work: Callable[[Tile], None]) -> None:
                in_inference = torch.inference_mode()(work)  # a thread's own mode
                futures = [pool.submit(in_inference, tile) for tile in tiles]
                try:
                    for future in futures:
                        future.result()
                finally:
                    for future in futures:
                        future.cancel()
                threads.release_memory()

            try:
                yield together
            finally:
                torch.set_num_threads(own)  # threads to come would have as many as the pool's

    @cached_property
    def _coded(self) -> list[Part]:
        """The tiles that are coded by themselves."""
        return coding_tiles(*self.grid)

    @property
    def _keeps(self) -> bool:
        """Whether the features and classes of the whole image are kept."""
        return math.prod(self.grid) <= KEPT

    def _looked(self, done: int) -> int:
        """Return how far a tile looks when so many levels of the finest scale are done."""
        config = self.network.config
        levels = config.scales[-1][done:]
        return (reach if self.with_picture else choice_reach)(config, levels)

    def _analysed_whole(self, each_tile: EachTile) -> tuple[Tensor, Tensor | None]:
        """Return the means of the features of the finest grid, and all of them if they are kept."""
        channels = self.network.config.state_channels(self.finest) if self._keeps else PLANES
        features = self.weights.new_empty(1, *self.grid, channels).permute(0, 3, 1, 2)

        def analyse(tile: Tile) -> None:
            tile = self._widened(tile, 0)
            rows, columns = tile.inner
            found = self.analysed(tile, self.pixels)[:, :channels, rows, columns]
            features[:, :, tile.rows, tile.columns] = found

        each_tile(analyse)
        return features[:, :PLANES].contiguous(), features if self._keeps else None

    def _widened(self, tile: Tile, margin: int) -> Tile:
        """Return the tile with a margin, and with what its features look at."""
        whole = replace(self.whole, rows=tile.rows, columns=tile.columns)
        return whole.narrowed(margin + feature_reach(self.network.config))

    def _features(self, tile: Tile, whole: Tensor | None) -> Tensor:
        """Return the features of a tile with its margin: from the whole, or analysed again."""
        if whole is not None:
            return whole[..., tile.wide_rows, tile.wide_columns]
        wide = self._widened(tile, ENTERED + self._looked(0))
        rows, columns = tile.within(wide)
        found = self.analysed(wide, self.pixels)[..., rows, columns]
        threads.release_memory()
        return found

    def _choose(
        self,
        tile: Tile,
        means: Tensor,
        known: Grid,
        features: Tensor | None,
        fine: Indices,
        classes: Indices | None,
    ) -> tuple[Tile, IndexSearch]:
        """Choose the indices of a tile; write them, and their classes, into those of the grid.

        Return the tile with the margin that is left, and the search for those of the last level.
        """
        h = self._features(tile, features)
        t = self.entered(means[..., tile.wide_rows, tile.wide_columns])
        known = known[tile.wide_rows, tile.wide_columns]
        seen: list[Symbols] = []
        search = IndexSearch(self, t, h, _collecting(seen))
        for done, number in enumerate(self.prior.scales[-1]):
            tile, known, t, h = self._narrowed(tile, done, known, search.t, h)
            seen = []
            search = IndexSearch(self, t, h, _collecting(seen))
            levels = range(number, number + 1)
            parts = within(self._coded, (tile.wide_rows, tile.wide_columns))
            (chosen,), known = self.prior.walk_levels(levels, known, self.quality, search, parts)
            tile.paste(chosen, fine[done], self.grid)
            if classes is not None:
                tile.paste(_joined(seen, *known.shape[:2]), classes[done], self.grid)
        return tile, search

    def _narrowed(
        self, tile: Tile, done: int, known: Grid, t: Tensor, h: Tensor
    ) -> tuple[Tile, Grid, Tensor, Tensor]:
        """Return a tile with no more of its margin than the rest of the levels looks at."""
        narrow = tile.narrowed(self._looked(done))
        rows, columns = narrow.within(tile)
        # Whole in memory again, or every phase would copy them.
        t, h = (x[..., rows, columns].contiguous(memory_format=torch.channels_last) for x in (t, h))
        return narrow, known[rows, columns], t, h

    def _put(self, put_of: PutOf, fine: Indices, classes: Indices) -> None:
        """Code the indices of the finest grid, whose classes are known."""

        def put_tile(place: int) -> None:
            tile = self._coded[place]
            size = tile[0].stop - tile[0].start, tile[1].stop - tile[1].start
            for done, number in enumerate(self.prior.scales[-1]):
                put = put_of(segment(len(self._coded), done, place))
                own, asked = (cut(all_[done], self.grid, tile) for all_ in (fine, classes))
                phases = len(self.prior.levels[number].phases)
                for phase in range(phases):
                    positions = phase_positions(phases, phase, *size)
                    put(number, [group[:, positions] for group in asked], own, positions)

        count = len(self._coded)
        side_by_side(put_tile, range(count), min(threads.number(), count))


def _collecting(classes: list[Symbols]) -> PutPhase:
    """Return what adds the classes of every phase to a list."""

    def put(number: int, asked: Symbols, indices: Symbols) -> None:
        classes.append(asked)

    return put


def _joined(phases: list[Symbols], height: int, width: int) -> Symbols:
    """Return the classes of a level on a grid, of those of its phases."""
    joined = [np.empty((len(group), height * width), group.dtype) for group in phases[0]]
    for phase, groups in enumerate(phases):
        positions = phase_positions(len(phases), phase, height, width)
        for whole, group in zip(joined, groups, strict=True):
            whole[:, positions] = group
    return joined
