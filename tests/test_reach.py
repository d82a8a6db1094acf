"""Margins: what the network's config says of how far it looks is how far it looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vqcodec.codec import tiles
from vqcodec.codec.tiles import split
from vqcodec.model.closed_loop import Phase
from vqcodec.model.config import Config
from vqcodec.model.reach import ENTERED, choice_reach, feature_reach, reach
from vqcodec.model.vqvae import VQVAE

SMALL = Config(
    channels=((4,), (3, 5)),
    phases=((1,), (3, 2)),
    hidden=((4,), (4, 4)),
    hidden_between_phases=4,
    pixel_hidden=(4, 4, 4),
    analysis_blocks=1,
    synthesis_blocks=1,
    prior_width=4,
    prior_head=4,
)
CONFIGS = {
    "small": SMALL,
    "nothing on the image": dataclasses.replace(SMALL, pixel_hidden=(4, 4)),
    "nothing on the picture in the loop": dataclasses.replace(SMALL, picture_after=()),
    "on the picture after every level": dataclasses.replace(SMALL, picture_after=(0, 1)),
    "light": dataclasses.replace(SMALL, activation="relu", picture_layers=1, block_inputs=32),
    "no overlap": dataclasses.replace(SMALL, transforms=("dct", "dct")),
    "blocks of 16": dataclasses.replace(SMALL, strides=(4, 16), transforms=("dct", "dct")),
}


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def network(request: pytest.FixtureRequest) -> Iterator[VQVAE]:
    """A network all of whose weights do something, in float64, where nothing is rounded away."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = VQVAE(request.param).double().eval()
        for name, parameter in network.named_parameters():
            if not name.endswith("basis"):
                parameter.add_(0.5 * torch.rand_like(parameter))
        yield network


def distance(before: Tensor, after: Tensor, stride: int = 1) -> int:
    """How many positions from the middle one the farthest change is, down or across."""
    changed = (before != after).any(1)[0]
    side = changed.shape[0] // stride
    blocks = changed.view(side, stride, side, stride).any(3).any(1)
    middle = blocks.shape[0] // 2
    return int((blocks.nonzero() - middle).abs().max())


def picture(network: VQVAE, t: Tensor, levels: range) -> Tensor:
    """The picture of a state with the same residuals added in the rest of its levels."""
    weights = network.quality_weights(50)
    for number in levels:
        for index in range(len(network.levels[number].refine)):
            phase = Phase.enter(network, weights, t, number, index)
            t = phase.decoded(torch.ones_like(phase.gain))
    return network.synthesise(t, weights)


def state(network: VQVAE, around: int) -> Tensor:
    side = 2 * around + 1
    return torch.rand(1, network.config.state_channels(1), side, side).double()


def moved(x: Tensor, stride: int = 1) -> Tensor:
    """`x` with its middle position changed."""
    middle = x.shape[2] // stride // 2
    span = slice(stride * middle, stride * (middle + 1))
    x = x.clone()
    x[:, :, span, span] += 1
    return x


@pytest.mark.parametrize("on_picture", [True, False])
def test_what_follows_a_state_looks_as_far_as_is_said(network: VQVAE, on_picture: bool) -> None:
    stride = network.config.strides[-1]
    network = network if on_picture else network.without_picture_blocks()
    config, finest = network.config, network.config.scales[-1]
    for number in (*finest, finest.stop):
        levels = range(number, finest.stop)
        said = reach(config, levels, on_picture=on_picture)
        # From even positions and odd ones: a level of three phases may look a position less.
        seen = []
        for around in (said + 2, said + 3):
            t = state(network, around)
            seen.append(
                distance(picture(network, t, levels), picture(network, moved(t), levels), stride)
            )
        assert max(seen) <= said
        assert max(seen) >= said - 1


def test_features_and_the_way_into_the_finest_scale_look_as_far_as_is_said(
    network: VQVAE,
) -> None:
    config, weights = network.config, network.quality_weights(50)
    stride, said = config.strides[-1], feature_reach(config)
    side = stride * (2 * said + 5)
    x = torch.rand(1, 3, side, side).double()
    before, after = (network.fine_features(image, weights) for image in (x, moved(x, stride)))
    assert distance(before, after) == said

    means = torch.rand(1, 3, 9, 9).double()
    before, after = (network.enter(m, weights, 1) for m in (means, moved(means)))
    assert distance(before, after) == ENTERED


def decoded(network: VQVAE, means: Tensor) -> Tensor:
    """The picture of means with the same residuals added in every level."""
    t = network.enter(means, network.quality_weights(50), 1)
    return picture(network, t, network.config.scales[-1])


def coded(network: VQVAE, means: Tensor, x: Tensor) -> Tensor:
    """The picture that an encoder of `x` gets if every value is a codeword."""
    weights = network.quality_weights(50)
    h, t = network.fine_features(x, weights), network.enter(means, weights, 1)
    for number in network.config.scales[-1]:
        for index in range(len(network.levels[number].refine)):
            phase = Phase.enter(network, weights, t, number, index)
            t = phase.decoded(phase.latents(h))
    return network.synthesise(t, weights)


def part(x: Tensor, rows: slice, stride: int) -> Tensor:
    """Some rows of a picture, counted in positions."""
    return x[:, :, stride * rows.start : stride * rows.stop]


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_tile_is_told_all_that_it_depends_on_and_with_less_it_is_not(
    network: VQVAE, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond its margin is nothing here, and nothing spreads to all that looks at it."""
    stride, levels = network.config.strides[-1], network.config.scales[-1]
    entered = ENTERED if side == "decoder" else feature_reach(network.config)
    said = entered + reach(network.config, levels)
    height, width = 2 * said + 3, 3
    monkeypatch.setattr(tiles, "SIDE", said + 2)
    monkeypatch.setattr(tiles, "ONE_TILE", 0)

    def told_all(wide: int) -> bool:
        rows, columns = slice(0, height), slice(0, width)
        sound = []
        for tile in split(height, width, rows, columns, wide):
            means = torch.full((1, 3, height, width), torch.nan).double()
            x = torch.full((1, 3, stride * height, stride * width), torch.nan).double()
            for values, scale in ((means, 1), (x, stride)):
                part(values, tile.wide_rows, scale).fill_(0.3)
            x_hat = decoded(network, means) if side == "decoder" else coded(network, means, x)
            sound.append(bool(part(x_hat, tile.rows, stride).isfinite().all()))
        assert len(sound) == 2
        return all(sound)

    assert told_all(said)
    assert not told_all(said - 2)


def test_a_network_may_look_farther_than_those_that_ship() -> None:
    sizes = {"channels": ((4,), (3,) * 13), "phases": ((1,), (2,) * 13)}
    far = VQVAE(dataclasses.replace(SMALL, **sizes, hidden=((4,), (4,) * 13)))  # type: ignore[arg-type]
    assert reach(far.config, far.config.scales[-1]) > 30
    assert choice_reach(far.config, far.config.scales[-1]) > 25
