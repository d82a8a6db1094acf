"""How far the network looks: the margin that a part of a picture needs to come out as in the whole.

In positions of the finest grid. Every phase and every block looks one position away, a transform as
far as it overlaps, a block on the picture as far as its convolutions.
"""

from __future__ import annotations

from vqcodec.model.vqvae import VQVAE


def reach(network: VQVAE, levels: range) -> int:
    """Return how far what follows a state looks: some levels of the finest scale, synthesis."""
    overlap, pixels = network.analysis[-1].overlap, network.finish.pixels_reached
    synthesis = _positions(network, pixels * network.works_on_picture + overlap)
    return _loop_reach(network, levels) + len(network.decoder) + synthesis


def margin(network: VQVAE, *, with_picture: bool) -> int:
    """Return how far beyond a part of the finest grid what is decoded of it looks.

    Or the indices that an encoder chooses for it, and also their picture `with_picture`.
    """
    overlap, levels = network.analysis[-1].overlap, network.config.scales[-1]
    features = _positions(network, overlap)
    for block in network.enhance:
        seen = _positions(network, overlap + block.pixels_reached) * network.config.strides[-1]
        features = _positions(network, seen + overlap)
    entered = max(features + len(network.encoder[-1]), 1)
    chosen = entered + _loop_reach(network, levels)
    decoded = reach(network, levels)
    return max(chosen, 1 + decoded, (entered + decoded) * with_picture)


def _loop_reach(network: VQVAE, levels: range) -> int:
    overlap, pixels = network.analysis[-1].overlap, network.finish.pixels_reached
    phases = sum(len(network.levels[number].refine) for number in levels)
    sharpened = network.works_on_picture * sum(number in levels for number in network.sharpened)
    # The picture of a state, the block, and the way back into the state.
    return phases + sharpened * _positions(network, overlap + pixels + overlap)


def _positions(network: VQVAE, pixels: int) -> int:
    return -(-pixels // network.config.strides[-1])
