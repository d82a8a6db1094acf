"""How far the network looks: the margin that a part of a picture needs to come out as in the whole.

In positions of the finest grid. Every phase and every block looks one position away, a transform as
far as it overlaps, a block on the picture as far as its convolutions.
"""

from __future__ import annotations

from vqcodec.model.config import OVERLAPS, Config


def reach(config: Config, levels: range, *, on_picture: bool = True) -> int:
    """Return how far what follows a state looks: some levels of the finest scale, synthesis.

    With the blocks on the picture or without.
    """
    pixels = _overlap(config) + config.pixels_reached * on_picture
    synthesis = config.synthesis_blocks + _positions(config, pixels)
    return _loop_reach(config, levels, on_picture=on_picture) + synthesis


def margin(config: Config, *, with_picture: bool, on_picture: bool = True) -> int:
    """Return how far beyond a part of the finest grid what is decoded of it looks.

    Or the indices that an encoder chooses for it, and also their picture `with_picture`.
    """
    overlap, levels = _overlap(config), config.scales[-1]
    features = _positions(config, overlap)
    for _ in config.pixel_hidden[2:]:
        seen = _positions(config, overlap + config.pixels_reached) * config.strides[-1]
        features = _positions(config, seen + overlap)
    entered = max(features + config.analysis_blocks, 1)
    chosen = entered + _loop_reach(config, levels, on_picture=on_picture)
    decoded = reach(config, levels, on_picture=on_picture)
    return max(chosen, 1 + decoded, (entered + decoded) * with_picture)


def _loop_reach(config: Config, levels: range, *, on_picture: bool) -> int:
    overlap, first = _overlap(config), config.scales[-1].start
    phases = sum(config.phases[-1][number - first] for number in levels)
    sharpened = on_picture * sum(number in levels for number in config.sharpened)
    # The picture of a state, the block, and the way back into the state.
    return phases + sharpened * _positions(config, overlap + config.pixels_reached + overlap)


def _overlap(config: Config) -> int:
    return OVERLAPS[config.transforms[-1]]


def _positions(config: Config, pixels: int) -> int:
    return -(-pixels // config.strides[-1])
