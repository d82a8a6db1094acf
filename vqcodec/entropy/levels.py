"""The levels of the prior: their layers, and what their codewords look like, of a weights file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.entropy.layer import Activations, Layer

CLASSES = 64
CLASS_SHIFT = 1  # a class spans two activation values

# Indices or classes of a phase or a level: [codebooks, N], one array a group of codebooks. They are
# uint8, indices uint16 where a codebook has more than 256 codewords.
Symbols = list[NDArray[np.unsignedinteger[Any]]]
Indices = Sequence[Symbols]  # of all levels


@dataclass(frozen=True)
class PriorPhase:
    """The part of the prior that belongs to one phase of a level."""

    update: Layer
    hidden: Layer
    head: Layer
    slope: Activations

    def __post_init__(self) -> None:
        # At any quality the slope adds to the head's bias: together, too, they must stay exact.
        Layer(self.head.weight, np.abs(self.head.bias) + 100 * np.abs(self.slope))

    def classes(self, state: Activations, quality: int) -> NDArray[np.uint8]:
        """Return the classes `[codebooks, N]` at positions whose hidden state is `[N, width]`."""
        log_scales = self.head(self.hidden(state), self.slope * np.float32(quality))
        return np.ascontiguousarray(log_scales.T.astype(np.uint8) >> CLASS_SHIFT)


@dataclass(frozen=True)
class PriorLevel:
    """A level of the prior, and what its codewords look like to the levels after it.

    `magnitudes` and `values` hold one uint8 / int8 array `[codebooks, codewords, dim]` a group.
    """

    phases: Sequence[PriorPhase]
    magnitudes: Sequence[NDArray[np.uint8]]
    values: Sequence[NDArray[np.int8]]

    @property
    def groups(self) -> list[int]:
        """The number of codebooks of each group."""
        return [len(group) for group in self.magnitudes]

    @property
    def codewords(self) -> list[int]:
        """The number of codewords of each group's codebooks."""
        return [group.shape[1] for group in self.magnitudes]

    @property
    def index_types(self) -> list[type[np.unsignedinteger[Any]]]:
        """The type of the indices of each group."""
        return list(map(index_type, self.codewords))

    def room(self, size: int) -> Symbols:
        """Return zeros for the indices of so many positions."""
        typed = zip(self.groups, self.index_types, strict=True)
        return [np.zeros((count, size), kind) for count, kind in typed]

    def room_for_classes(self, size: int) -> Symbols:
        """Return zeros for the classes of so many positions."""
        return [np.zeros((count, size), np.uint8) for count in self.groups]

    @property
    def channels(self) -> int:
        """The number of values at a position."""
        return sum(len(group) * group.shape[-1] for group in self.magnitudes)


def index_type(codewords: int) -> type[np.unsignedinteger[Any]]:
    """Return the type of the indices of codebooks of so many codewords."""
    return np.uint8 if codewords <= 256 else np.uint16


def level_of(
    arrays: Mapping[str, NDArray[Any]], number: int, counts: Sequence[int], phases: int
) -> PriorLevel:
    """Return level `number`, whose groups have so many codebooks each; KeyError if it lacks any."""
    name = f"prior.{number}"

    def rows(what: str) -> list[NDArray[Any]]:
        """Return an array for every group; what its codebooks share is there once."""
        shared = (arrays[f"{name}.{what}.{group}"] for group in range(len(counts)))
        return [np.broadcast_to(a, (n, *a.shape[1:])) for a, n in zip(shared, counts, strict=True)]

    return PriorLevel(
        phases=[_phase(arrays, f"{name}.{phase}") for phase in range(phases)],
        magnitudes=rows("magnitudes"),
        values=rows("values"),
    )


def _phase(arrays: Mapping[str, NDArray[Any]], name: str) -> PriorPhase:
    return PriorPhase(
        update=Layer.from_arrays(arrays, f"{name}.update"),
        hidden=Layer.from_arrays(arrays, f"{name}.hidden"),
        head=Layer.from_arrays(arrays, f"{name}.head"),
        slope=arrays[f"{name}.slope"].astype(np.float32),
    )
