"""How far the network looks: the margin that a part of a picture needs to come out as in the whole.

In positions of the finest grid. Every phase and every block looks one position away, a transform as
far as it overlaps, a block on the picture as far as its convolutions.
"""

from __future__ import annotations

from vqcodec.model.config import NATURAL_LAYERS, OVERLAPS, Config, pixels_reached

ENTERED = 1  # how far the way from means into the state of the finest scale looks


def reach(config: Config, levels: range, *, on_picture: bool = True, natural: bool = False) -> int:
    """Return how far what follows a state looks: some levels of the finest scale, synthesis.

    With the blocks on the picture or without, with the one of the natural look or without.
    """
    pixels = _overlap(config) + config.pixels_reached * on_picture
    pixels += pixels_reached(NATURAL_LAYERS) * natural
    synthesis = config.synthesis_blocks + _positions(config, pixels)
    return choice_reach(config, levels, on_picture=on_picture) + synthesis


def choice_reach(config: Config, levels: range, *, on_picture: bool = True) -> int:
    """Return how far from a position the choice of its indices in some levels looks.

    At features and at the state before them.
    """
    overlap, first = _overlap(config), config.scales[-1].start
    phases = sum(config.phases[-1][number - first] for number in levels)
    sharpened = on_picture * sum(number in levels for number in config.sharpened)
    # The picture of a state, the block, and the way back into the state.
    return phases + sharpened * _positions(config, overlap + config.pixels_reached + overlap)


def feature_reach(config: Config) -> int:
    """Return how far the features of the finest scale look at the image."""
    overlap = _overlap(config)
    features = _positions(config, overlap)
    for _ in config.pixel_hidden[2:]:
        seen = _positions(config, overlap + config.pixels_reached) * config.strides[-1]
        features = _positions(config, seen + overlap)
    return features + config.analysis_blocks


def _overlap(config: Config) -> int:
    return OVERLAPS[config.transforms[-1]]


def _positions(config: Config, pixels: int) -> int:
    return -(-pixels // config.strides[-1])
