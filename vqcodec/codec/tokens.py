"""An image as its code indices, for those who want them instead of a file, and their flat order.

A flat sequence of tokens goes level by level, coarse to fine; in a level phase by phase, in a phase
position by position in raster order, at a position codebook by codebook. Tokens up to any point are
all that the codec's own prior knows of the next phase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.levels import Indices, index_type
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import CorruptError

if TYPE_CHECKING:
    from vqcodec.model.config import Config

FLAT = np.uint16  # no codebook has more codewords than it can tell apart

PLACE = np.dtype(
    [
        ("level", np.uint8),
        ("phase", np.uint8),
        ("row", np.int32),
        ("column", np.int32),
        ("codebook", np.int32),
    ]
)


@dataclass(frozen=True, slots=True)
class LevelShape:
    """The shape of a level's indices.

    rows, columns: of the grid of its positions. phases: how many it is coded in. codebooks: how
    many each group has, and codewords: of how many codewords each.
    """

    rows: int
    columns: int
    phases: int
    codebooks: tuple[int, ...]
    codewords: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.rows * self.columns * sum(self.codebooks)


Shapes = tuple[LevelShape, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """All that a picture is made of again.

    indices: uint8 `[codebooks, positions]`, `[level][group of codebooks]`, uint16 where there are
    more than 256 codewords; positions are in raster order on the grid of the level's scale. shapes:
    of each level. width, height: of the image, in pixels. quality: 1..100. model_id: the weights
    that the indices belong to. gray: whether the picture is.
    """

    indices: Indices
    shapes: Shapes
    width: int
    height: int
    quality: int
    model_id: bytes
    gray: bool = False

    def flat(self) -> NDArray[np.uint16]:
        """Return all indices in the flat order, uint16 `[N]`."""
        runs = [
            np.concatenate([group[:, positions] for group in self.indices[level]]).T.reshape(-1)
            for level, _, positions in _runs(self.shapes)
        ]
        return np.concatenate(runs).astype(FLAT)


def from_flat(flat: NDArray[np.uint16], shapes: Shapes) -> Indices:
    """Return the indices that a flat sequence `[N]` holds; CorruptError if it is not as long."""
    if len(flat) != sum(shape.size for shape in shapes):
        raise CorruptError(f"{len(flat)} tokens are not those of levels of these shapes")
    indices: Indices = [
        [
            np.zeros((count, shape.rows * shape.columns), index_type(words))
            for count, words in zip(shape.codebooks, shape.codewords, strict=True)
        ]
        for shape in shapes
    ]
    start = 0
    for level, _, positions in _runs(shapes):
        books = sum(shapes[level].codebooks)
        run = flat[start : start + len(positions) * books].reshape(-1, books).T
        start += run.size
        bounds = np.cumsum(shapes[level].codebooks)[:-1]
        for group, part in zip(indices[level], np.split(run, bounds), strict=True):
            group[:, positions] = part
    return indices


def places(shapes: Shapes) -> NDArray[Any]:
    """Return where each token of the flat order belongs, an array `[N]` of the type `PLACE`."""
    result = np.zeros(sum(shape.size for shape in shapes), PLACE)
    start = 0
    for level, phase, positions in _runs(shapes):
        books = sum(shapes[level].codebooks)
        run = result[start : start + len(positions) * books].reshape(-1, books)
        start += run.size
        run["level"], run["phase"], run["codebook"] = level, phase, np.arange(books)
        run["row"], run["column"] = np.divmod(positions[:, None], shapes[level].columns)
    return result


def check_tokens(tokens: Tokens, shapes: Shapes) -> None:
    """Raise CorruptError unless the tokens are indices of a model's levels of these shapes."""
    found = [[(*group.shape, group.dtype) for group in level] for level in tokens.indices]
    sizes = [
        [
            (count, shape.rows * shape.columns, index_type(words))
            for count, words in zip(shape.codebooks, shape.codewords, strict=True)
        ]
        for shape in shapes
    ]
    if found != sizes:
        raise CorruptError(
            f"the tokens are not those of a picture of {tokens.width}x{tokens.height} pixels"
        )
    for level, shape in zip(tokens.indices, shapes, strict=True):
        for group, words in zip(level, shape.codewords, strict=True):
            if group.max() >= words:
                raise CorruptError(f"token {group.max()} of a codebook of {words} codewords")


def level_shapes(
    prior: PriorNetwork, config: Config, width: int, height: int, levels: int | None = None
) -> Shapes:
    """Return the shapes of the first so many levels, or all, of a picture of so many pixels."""
    shapes = (
        LevelShape(
            *config.grid(scale, height, width),
            len(level.phases),
            tuple(level.groups),
            tuple(level.codewords),
        )
        for scale, numbers in enumerate(config.scales)
        for level in prior.levels[numbers.start : numbers.stop]
    )
    return tuple(shapes)[:levels]


def _runs(shapes: Sequence[LevelShape]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield the level, phase and positions of every phase, in order."""
    for level, shape in enumerate(shapes):
        for phase in range(shape.phases):
            yield level, phase, phase_positions(shape.phases, phase, shape.rows, shape.columns)
