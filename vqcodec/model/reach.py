"""How far the network looks: the margin that a part of a picture needs to come out as in the whole.

In positions of the finest grid. Every phase and every block looks one position away, a transform as
far as it overlaps, a block on the picture as far as its convolutions.
"""

from __future__ import annotations

from vqcodec.model.layers import PIXELS_REACHED
from vqcodec.model.vqvae import VQVAE


def reach(network: VQVAE, levels: range) -> int:
    """Return how far what follows a state looks: some levels of the finest scale, synthesis."""
    overlap, pixels = network.analysis[-1].overlap, PIXELS_REACHED * network.works_on_picture
    return (
        _loop_reach(network, levels) + len(network.decoder) + _positions(network, pixels + overlap)
    )


def margin(network: VQVAE, *, with_picture: bool) -> int:
    """Return how far beyond a part of the finest grid what is decoded of it looks.

    Or the indices that an encoder chooses for it, and also their picture `with_picture`.
    """
    overlap, levels = network.analysis[-1].overlap, network.config.scales[-1]
    features = _positions(network, overlap)
    if network.enhance:
        seen = _positions(network, overlap + PIXELS_REACHED) * network.config.strides[-1]
        features = _positions(network, seen + overlap)
    entered = max(features + len(network.encoder[-1]), 1)
    chosen = entered + _loop_reach(network, levels)
    decoded = reach(network, levels)
    return max(chosen, 1 + decoded, (entered + decoded) * with_picture)


def _loop_reach(network: VQVAE, levels: range) -> int:
    overlap = network.analysis[-1].overlap
    phases = sum(len(network.levels[number].refine) for number in levels)
    sharpened = network.works_on_picture * sum(number in levels for number in network.sharpened)
    # The picture of a state, the block, and the way back into the state.
    return phases + sharpened * _positions(network, overlap + PIXELS_REACHED + overlap)


def _positions(network: VQVAE, pixels: int) -> int:
    return -(-pixels // network.config.strides[-1])
