"""The looks that a picture can have, as they are asked for."""

from __future__ import annotations

FAITHFUL, NATURAL = LOOKS = ("faithful", "natural")


def is_natural(look: str) -> bool:
    """Return whether a look is the natural one; ValueError for one that there is not."""
    if look not in LOOKS:
        raise ValueError(f"look is {' or '.join(LOOKS)}, not {look!r}")
    return look == NATURAL
