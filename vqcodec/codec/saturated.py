"""White, black and pure colours come back exact: flat ends of the range are coded from beyond it.

Decoded pixels are cut to 0..255, so that what is coded to lie past an end by more than errors are
lies on it. Decoders know nothing of this.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqcodec.codec.corrections import rounding_error


def push_of(lmbda: float) -> float:
    """Return how far past the end a block is pushed, in code values.

    Errors in flat areas stay under so much, as measured with photo-6: in fine steps under 1.6 times
    what rounding gives, in coarse ones under less of it.
    """
    rounding = math.sqrt(rounding_error(lmbda))
    return min(1.6 * rounding, 24 + rounding / 2)


def pushed(x: Tensor, side: int, lmbda: float) -> Tensor:
    """Return `x` `[1, 3, H, W]` in [0, 1] with blocks that are 0 or 1 all over pushed past it.

    A block is a colour of `side` x `side` pixels, H and W their multiples.
    """
    # Rows first, which is quicker by far than blocks at once.
    rows = torch.unflatten(x, 2, (-1, side))
    white = torch.unflatten(rows.amin(3), 3, (-1, side)).amin(4) >= 1
    black = torch.unflatten(rows.amax(3), 3, (-1, side)).amax(4) <= 0
    if not (white | black).any():
        return x
    push = (white.to(x.dtype) - black.to(x.dtype)) * (push_of(lmbda) / 255)
    moved: Tensor = x + push.repeat_interleave(side, 2).repeat_interleave(side, 3)
    return moved
