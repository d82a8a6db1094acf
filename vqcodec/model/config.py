"""The sizes of the network, read from a weights file with care."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PLANES = 3
QUALITIES = 100
KNOTS = 9  # of tables over quality
SPREAD = 16  # channels that a block on the picture sees of the state
# The block that draws the natural look: layers between its first and its last, planes of noise.
NATURAL_LAYERS, NATURAL_NOISE = 2, 1
ACTIVATIONS = ("rooted", "relu")
# How many values beyond its block a transform sees, by its name.
OVERLAPS = {"dct": 0, "lapped": 4, "wavelet": 4}
# The lifting steps of the 9/7 wavelet: the parity of the samples that change, and what of both
# neighbours is added to them.
LIFTING = ((1, -1.586134342), (0, -0.05298011854), (1, 0.8829110762), (0, 0.4435068522))

# Dimension, codewords and number of codebooks of like size.
Group = tuple[int, int, int]
Groups = tuple[Group, ...]


def pixels_reached(layers: int) -> int:
    """Return how far a block on the picture looks, whose convolutions see half the resolution."""
    return 2 * (layers + 2)


@dataclass(frozen=True)
class Config:
    """Sizes of the network, scale by scale from coarse to fine.

    A position of scale s covers `strides[s]` x `strides[s]` positions of the next finer grid, of
    the picture for the last, by the transform called `transforms[s]`. `channels[s]` counts the
    values of each level, and `phases[s]` the interleaved sets in which its positions are coded;
    `hidden` and `pixel_hidden` are widths of residual blocks, the latter of those on the picture:
    in the loop, after the levels `picture_after` of the finest scale, at the end, and in the
    encoder if there is a third. They have `picture_layers` between their first and their last;
    the other blocks see the first `block_inputs` channels, or all. `activation` names that of all
    blocks. `groups`, one entry a level, holds (dimension, codewords, number) of its codebooks; None
    means integers, the first stage of training. `shared_codebooks` makes those of a group one for
    all. `gain_range` bounds by how much, in nats, the gain follows the picture. Squared errors over
    `tolerated_error` times that of rounding are no photograph's: the encoder corrects them, unless
    it is None. With `classical` codebooks assign and learn as in the plain VQ-VAE, for comparison.
    """

    lmbda_min: float = 0.0004
    lmbda_max: float = 0.08
    strides: tuple[int, ...] = (8, 8)
    transforms: tuple[str, ...] = ("lapped", "lapped")
    channels: tuple[tuple[int, ...], ...] = ((48, 144), (6, 10, 12, 20, 112))
    phases: tuple[tuple[int, ...], ...] = ((3, 1), (3, 2, 2, 2, 2))
    hidden: tuple[tuple[int, ...], ...] = ((96, 96), (48, 128, 64, 128, 128))
    hidden_between_phases: int = 48
    pixel_hidden: tuple[int, ...] = (32, 64, 48)
    picture_layers: int = 2
    activation: str = "rooted"
    block_inputs: int | None = None
    picture_after: tuple[int, ...] = (1, 3)
    analysis_blocks: int = 3
    synthesis_blocks: int = 2
    prior_width: int = 64
    prior_head: int = 96
    gain_range: float = 1.0
    groups: tuple[Groups, ...] | None = None
    shared_codebooks: bool = False
    tolerated_error: float | None = None
    classical: bool = False

    @property
    def scales(self) -> tuple[range, ...]:
        """The numbers of each scale's levels, counted through all scales."""
        bounds = itertools.accumulate(map(len, self.channels), initial=0)
        return tuple(range(first, stop) for first, stop in itertools.pairwise(bounds))

    @property
    def padding(self) -> int:
        """What the sides of a picture are padded to multiples of: pixels of a coarsest position."""
        return math.prod(self.strides)

    @property
    def sharpened(self) -> list[int]:
        """The numbers of the levels after which there is a block on the picture."""
        finest = self.scales[-1]
        return [finest[after] for after in self.picture_after if after < len(finest)]

    @property
    def pixels_reached(self) -> int:
        """How far a block on the picture looks."""
        return pixels_reached(self.picture_layers)

    def scale_of(self, number: int) -> int:
        """Return the scale of a level, counted through all scales."""
        return next(scale for scale, numbers in enumerate(self.scales) if number in numbers)

    def state_channels(self, scale: int) -> int:
        """Return the channels of features and state on a scale's grid."""
        return PLANES * self.strides[scale] ** 2

    def grid(self, scale: int, height: int, width: int) -> tuple[int, int]:
        """Return the grid of a scale, rows and columns, of a picture of so many pixels."""
        finer = math.prod(self.strides[:scale])
        return -(-height // self.padding) * finer, -(-width // self.padding) * finer

    def lmbda(self, quality: Tensor) -> Tensor:
        """Return the Lagrange multiplier of qualities 1..100: bits per pixel per unit of 8-bit mse.

        Each step of quality multiplies it by the same factor.
        """
        ratio = self.lmbda_max / self.lmbda_min
        return self.lmbda_min * ratio ** ((quality.float() - 1) / (QUALITIES - 1))

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Config:
        """Build a config from parsed JSON (lists become tuples).

        Raises TypeError on bad fields, ValueError on sizes that no network of ours has: a weights
        file may come from anyone, and the network is laid out in memory by its config.
        """
        config = cls(**{name: _as_tuple(value) for name, value in values.items()})  # type: ignore[arg-type]
        for name, most in _MOST.items():
            sizes = list(_numbers(getattr(config, name)))
            if len(sizes) > _MOST_SIZES or any(not 1 <= size <= most for size in sizes):
                raise ValueError(f"{name} is out of bounds")
        if len(config.pixel_hidden) not in (2, 3):
            raise ValueError("pixel_hidden is not of two or three sizes")
        if config.activation not in ACTIVATIONS:
            raise ValueError(f"activation is not one of {', '.join(ACTIVATIONS)}")
        if not set(config.transforms) <= OVERLAPS.keys():
            raise ValueError(f"transforms are not of {', '.join(OVERLAPS)}")
        for name, stride in zip(config.transforms, config.strides, strict=False):
            if stride != _STRIDES.get(name, stride):
                raise ValueError(f"{name} is of a stride of {_STRIDES[name]}, not {stride}")
        for name in ("strides", "transforms"):
            if len(getattr(config, name)) != len(config.channels):
                raise ValueError(f"{name} are not of {len(config.channels)} scales")
        for name in ("phases", "hidden"):
            if list(map(len, getattr(config, name))) != list(map(len, config.channels)):
                raise ValueError(f"{name} and channels are not of the same levels")
        if config.groups and len(config.groups) != config.scales[-1].stop:
            raise ValueError("groups are not of as many levels as channels")
        for group in itertools.chain(*config.groups or ()):
            if math.prod(group) > _MOST_IN_CODEBOOKS:
                raise ValueError("groups are out of bounds")
        if len(config.channels) < 2:
            raise ValueError("there are not two scales at least")
        if config.padding > _MOST_PADDING:
            raise ValueError("strides are out of bounds")
        if config.strides[-1] not in _FINEST_STRIDES:
            raise ValueError(f"the last of the strides is not of {_FINEST_STRIDES}")
        return config


_MOST_CHANNELS = PLANES * 16**2
_MOST = {
    "strides": 16, "channels": _MOST_CHANNELS, "phases": 3, "hidden": 512,
    "hidden_between_phases": 512, "pixel_hidden": 512, "analysis_blocks": 8, "synthesis_blocks": 8,
    "picture_layers": 8, "block_inputs": 1024, "prior_width": 512, "prior_head": 512,
    "groups": 1024,
}  # fmt: skip
_MOST_SIZES = 256  # in all levels
_MOST_IN_CODEBOOKS = 1 << 24  # values of a group of codebooks
_MOST_PADDING = 256  # pixels
# Blocks on the picture work at half its resolution, and images are shown at 1/2, 1/4, ...
_FINEST_STRIDES = (2, 4, 8, 16)
_STRIDES = {"lapped": 8, "wavelet": 2}  # others take any


def _numbers(value: object) -> Iterator[int]:
    """Yield the whole numbers in nested tuples; raises TypeError for anything else but None."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int):
        yield value
    elif value is not None:
        raise TypeError(f"{value!r} is no size")


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
