"""An image as its code indices, for those who want them instead of a file."""

from __future__ import annotations

from dataclasses import dataclass

from vqcodec.entropy.prior import Indices


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """All that a picture is made of again.

    indices: uint8 `[codebooks, positions]`, `[level][group of codebooks]`; positions are in raster
    order on the grid of the level's scale. width, height: of the image, in pixels. quality: 1..100.
    model_id: the weights that the indices belong to.
    """

    indices: Indices
    width: int
    height: int
    quality: int
    model_id: bytes
