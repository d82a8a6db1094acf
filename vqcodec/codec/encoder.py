"""Pixels -> indices -> stream: the closed loop with the integer prior and a search for indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from vqcodec.codec.corrections import ROUNDS, FloatPixels, corrected, cost, may_matter
from vqcodec.codec.pixels import place
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.saturated import pushed
from vqcodec.codec.tensors import tile_of, to_pixels
from vqcodec.codec.tiles import Tile, box, split
from vqcodec.entropy import coder
from vqcodec.entropy.layer import Grid
from vqcodec.entropy.levels import Indices, Symbols
from vqcodec.entropy.prior import PriorNetwork, PutPhase
from vqcodec.entropy.tables import Tables
from vqcodec.fileformat.image import Pixels
from vqcodec.model.closed_loop import Phase
from vqcodec.model.config import PLANES, QUALITIES
from vqcodec.model.prior import class_centres
from vqcodec.model.reach import feature_reach
from vqcodec.model.vqvae import VQVAE

# Features that a state lacks are suspicious at so many times the squared error of rounding.
OFF = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What an image was coded to.

    stream: the bytes. indices: as in `Tokens`. picture: uint8 [H, W, 3] that the stream decodes to,
    if it was asked for.
    """

    stream: bytes
    indices: Indices
    picture: Pixels | None
    _requantize: Callable[[float], Encoded] | None = field(repr=False)
    is_off: bool = False
    """Whether the first picture was further off than rounding explains, as patterns mostly are."""

    @property
    def can_requantize(self) -> bool:
        """Whether the image is small enough to have been coded as a whole."""
        return self._requantize is not None

    def requantize(self, distortion_weight: float) -> Encoded:
        """Return it with the finest level chosen again, errors weighing so many times as much.

        In a fifth of the time of another encode. Raises ValueError if it cannot be.
        """
        if self._requantize is None:
            raise ValueError("a large image, coded in tiles, cannot be requantised")
        return self._requantize(distortion_weight)


class ImageEncoder:
    """The encoder of one image: uint8 `[H, W, 3]` pixels, at a quality of 1..100.

    All grids are worked on as a whole. Raises ValueError for a quality out of range.
    """

    def __init__(
        self,
        network: VQVAE,
        prior: PriorNetwork,
        tables: Tables,
        pixels: Pixels,
        quality: int,
        with_picture: bool,
        profiler: Profiler,
    ) -> None:
        if not 1 <= quality <= QUALITIES:
            raise ValueError(f"quality {quality} is not within 1..{QUALITIES}")
        self.network, self.prior, self.tables, self.profiler = network, prior, tables, profiler
        self.pixels, self.quality, self.with_picture = pixels, quality, with_picture
        self.stride = network.config.strides[-1]
        self.finest = len(network.config.scales) - 1
        self.grid = network.config.grid(self.finest, *pixels.shape[:2])
        self.whole = Tile.whole(*self.grid)
        self.weights = network.quality_weights(quality)
        self.lmbda = float(network.config.lmbda(torch.tensor(quality)))

    @torch.inference_mode()
    def encode(self) -> Encoded:
        """Return what the image is coded to: again, corrected, while that makes it much better."""
        tile = self.whole
        h, stream = self.analysed(tile, self.pixels), coder.Encoder(self.tables)
        coarse = self.coarse_levels(h[:, :PLANES], stream)
        found, t = self.fine_levels(tile, h, stream, *coarse)
        tolerated, errors = self.network.config.tolerated_error, self.errors(h, t)
        if tolerated is None or not (errors > OFF).any():
            return found
        found = replace(found, is_off=True)
        if not may_matter(float((errors - OFF).clamp(min=0).sum()), len(found.stream)):
            return found
        coded: FloatPixels = self.pixels.astype(np.float32)
        picture = self.picture(t, tile)
        least = cost(self.pixels, picture, len(found.stream), self.lmbda)
        for _ in range(ROUNDS):
            correction = corrected(coded, self.pixels, picture, least, self.lmbda, tolerated)
            if correction is None:
                break
            coded = correction
            again, t = self.fine_levels(tile, self.analysed(tile, coded), stream, *coarse)
            picture = self.picture(t, tile)
            now = cost(self.pixels, picture, len(again.stream), self.lmbda)
            if now >= least:
                break
            found, least = again, now
        return replace(found, is_off=True)

    def fine_levels(
        self,
        tile: Tile,
        h: Tensor,
        stream: coder.Encoder,
        coarse: Indices,
        means: Tensor,
        known: Grid,
    ) -> tuple[Encoded, Tensor]:
        """Code the finest scale of a small image behind a stream that holds the others.

        Return what the image is coded to, and the state after it.
        """
        stream = stream.copy()
        search = IndexSearch(self, self.entered(means), h, stream.put)
        *numbers, finest = self.prior.scales[-1]
        before = range(finest - len(numbers), finest)
        indices, known = self.prior.walk_levels(before, known, self.quality, search)

        @torch.inference_mode()
        def last_level(distortion_weight: float) -> tuple[Encoded, Tensor]:
            whole = stream.copy()
            last = IndexSearch(self, search.t.clone(), h, whole.put, distortion_weight)
            numbers = range(finest, finest + 1)
            chosen, _ = self.prior.walk_levels(numbers, known, self.quality, last)
            picture = self.picture(last.t, tile) if self.with_picture else None
            found = [*coarse, *indices, *chosen]
            again = Encoded(whole.finish(), found, picture, lambda weight: last_level(weight)[0])
            return again, last.t

        return last_level(1.0)

    def errors(self, h: Tensor, t: Tensor) -> Tensor:
        """Return what a state lacks of the features: squared error in those of rounding, `[N]`."""
        gain = (self.weights @ self.network.levels[-1].log_step_gain).exp()
        return (h - t).mul_(gain).square_().mean(1).flatten() * 12

    def coarse_levels(self, means: Tensor, stream: coder.Encoder) -> tuple[Indices, Tensor, Grid]:
        """Code the scales but the finest from `means` on its grid.

        Return their indices, the means that they hold, and what the prior knows.
        """
        with self.profiler.stage("analysis"):
            features = self.network.coarse_features(means, self.weights)
        size = features[0].shape[2:]
        t, known = self.network.start(self.weights, *size), self.prior.start(self.quality, *size)
        indices: Indices = []
        for scale, h in enumerate(features):
            if scale:
                means = self.network.means(t, scale)
                t = self.network.enter(means, self.weights, scale)
                known = self.prior.finer(scale, known, indices, self.quality)
            search = IndexSearch(self, t, h, stream.put)
            numbers = self.prior.scales[scale]
            chosen, known = self.prior.walk_levels(numbers, known, self.quality, search)
            indices, t = [*indices, *chosen], search.t
        known = self.prior.finer(self.finest, known, indices, self.quality)
        return indices, self.network.means(t, self.finest), known

    def analysed(self, tile: Tile, pixels: Pixels | FloatPixels) -> Tensor:
        """Return the features of a tile of some pixels, with its margin."""
        with self.profiler.stage("analysis"):
            x = tile_of(pixels, tile, self.stride, self.weights)
            return self.network.fine_features(pushed(x, self.stride, self.lmbda), self.weights)

    def entered(self, means: Tensor) -> Tensor:
        """Return the state that the finest scale begins with."""
        return self.network.enter(means, self.weights, self.finest)

    def picture(self, t: Tensor, tile: Tile) -> Pixels:
        """Return the picture of a small image that was coded as one tile."""
        picture = np.empty_like(self.pixels)
        self.show(t, tile, picture)
        return picture

    def show(self, t: Tensor, tile: Tile, picture: Pixels) -> None:
        """Write a tile's picture into that of the image."""
        shown = to_pixels(self.network.synthesise(t, self.weights))
        place(shown, tile, picture, *box(None, picture.shape[1], picture.shape[0]))


@torch.inference_mode()
def coefficients(network: VQVAE, pixels: Pixels) -> Iterator[tuple[Tensor, int, int]]:
    """Yield the transform that analysis begins with, of uint8 `[H, W, 3]` pixels.

    Pieces of the finest grid, `[C, h, w]`, and the first row and column of each.
    """
    config = network.config
    grid = config.grid(len(config.scales) - 1, *pixels.shape[:2])
    down, across = (slice(0, side) for side in grid)
    for tile in split(*grid, down, across, feature_reach(config)):
        rows, columns = tile.inner
        x = tile_of(pixels, tile, config.strides[-1], network.quality_weights(1))
        yield network.coefficients(x)[0, :, rows, columns], tile.rows.start, tile.columns.start


class IndexSearch:
    """Chooses the indices of a phase when the prior asks; `put` is told them.

    The state `t` that it is given is its own, to be changed.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        t: Tensor,
        h: Tensor,
        put: PutPhase,
        distortion_weight: float = 1.0,
    ) -> None:
        self._t = t
        self._chosen: tuple[Phase, list[Tensor]] | None = None
        self._encoder, self._h, self._put = encoder, h, put
        self._distortion_weight = distortion_weight

    @property
    def t(self) -> Tensor:
        """The state after the last phase, which is decoded when it is asked for."""
        if self._chosen is not None:
            phase, indices = self._chosen
            self._t = phase.decoded(phase.level.codebooks.lookup(indices, len(self._t)))
            self._chosen = None
        return self._t

    def __call__(self, number: int, index: int, classes: Symbols) -> Symbols:
        network, weights = self._encoder.network, self._encoder.weights
        with self._encoder.profiler.stage("quantize"):
            phase = Phase.enter(network, weights, self.t, number, index)
            codebooks = phase.level.codebooks
            cost = self._distortion_weight * phase.level.error_cost(weights)
            y = phase.latents(self._h)
            chosen = codebooks.indices(y, cost, _log_scales(classes, y))
            self._chosen = phase, chosen
            typed = zip(chosen, self._encoder.prior.levels[number].index_types, strict=True)
            indices = [group.cpu().numpy().astype(kind) for group, kind in typed]
        with self._encoder.profiler.stage("entropy"):
            self._put(number, classes, indices)
        return indices


def _log_scales(classes: Symbols, like: Tensor) -> Tensor:
    """Return the centres of classes as the network's quantizers take them, `[1, N, symbols]`."""
    rows = torch.from_numpy(np.concatenate(classes)).to(like.device, like.dtype)
    return class_centres(rows).T[None]
