"""How the photo model starts: linear predictors and scales by least squares, coarse to fine."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vqcodec.density.ladder import (
    GROUPS,
    NOISE,
    WINDOW,
    Ladder,
    LinearPredictor,
    Scale,
    StochasticLayer,
)
from vqcodec.density.likelihoods import logistic_log_p
from vqcodec.density.pyramid import DETAILS, analyse

# The mean of |x| of a logistic of scale 1.
_MEAN_MAGNITUDE = 2 * math.log(2)
_RIDGE = 1e-4
_OFFSETS = torch.linspace(-2, 2, 41)


@torch.no_grad()
def initialise(model: Ladder, x: Tensor) -> None:
    """Fit the linear parts of `model` to photographs, uint8 `[B, 3, H, W]`.

    The sides must be multiples of 2^scales.
    """
    pyramid = analyse(x.float(), model.config.scales)
    top = pyramid[0][0]
    model.top_mean.copy_(top.mean((0, 2, 3))[:, None, None])
    spread = (top - model.top_mean).abs().mean((0, 2, 3))[:, None, None]
    model.top_log_scale.copy_((spread / _MEAN_MAGNITUDE).log())
    for scale, (picture, details) in zip(model.scales, pyramid, strict=True):
        _fit_predictors(scale, picture, details)
    model.maps(x, _fit_head)


def _fit_predictors(scale: Scale, picture: Tensor, details: Tensor) -> None:
    """Predict each group of details from the picture and the groups before it, jointly."""
    sources = [(scale.predict, _windows(picture))]
    first = 0  # the group's place among the outputs of a predictor that tells all groups
    for group, layer in zip(GROUPS, scale.layers, strict=True):
        known = torch.cat([windows for _, windows in sources])
        weights = _least_squares(known, _rows(details[:, group]))
        parts = torch.split(weights, [len(windows) for _, windows in sources], 1)
        for (predictor, _), part in zip(sources, parts, strict=True):
            start = first - (DETAILS - predictor.out_channels)
            own = predictor.weight[start : start + len(group)]
            own.copy_(part.view_as(own) * LinearPredictor.UNIT)
        first += len(group)
        if layer.predict is not None:
            sources.append((layer.predict, _windows(details[:, group])))


def _fit_head(layer: StochasticLayer, features: Tensor, predicted: Tensor, h: Tensor) -> None:
    """Let the head tell the scale of what is left to say, from the features as they are."""
    missed = _rows(h + NOISE * torch.randn_like(h) - predicted)
    known = _rows(features.float())
    known = torch.cat([known, torch.ones_like(known[:1])])
    weights = _least_squares(known, torch.log(NOISE + missed.abs()))
    zero = torch.zeros(())
    # Least squares gives the mean logarithm; the offset from there to the scale is searched.
    for channel, (own, log_scale) in enumerate(zip(missed, weights @ known, strict=True)):
        fits = [logistic_log_p(own, zero, log_scale + offset).mean() for offset in _OFFSETS]
        # Shifts come first in the head, then the log scale that is common to the logistics.
        row = layer.components * len(missed) + channel
        layer.head.weight[row] = weights[channel, :-1, None, None]
        layer.head.bias[row] = weights[channel, -1] + _OFFSETS[int(torch.stack(fits).argmax())]


def _rows(planes: Tensor) -> Tensor:
    """Return `[B, C, H, W]` as `[C, B H W]`."""
    return planes.transpose(0, 1).flatten(1)


def _windows(planes: Tensor) -> Tensor:
    """Return what a linear predictor sees at each position, `[C WINDOW², B H W]`."""
    return functional.unfold(planes, WINDOW, padding=WINDOW // 2).transpose(0, 1).flatten(1)


def _least_squares(known: Tensor, target: Tensor) -> Tensor:
    """Return the weights `[targets, inputs]` that predict `target` `[targets, N]`."""
    gram = (known @ known.T).double()
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solution: Tensor = torch.linalg.solve(gram + ridge, (known @ target.T).double())
    return solution.T.float()
