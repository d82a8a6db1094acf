"""The closed loop: training, the encoder and the decoder go through the same states."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from train.codebooks import with_codebooks
from train.export import export
from train.vqvae import rest_encoder
from vqcodec.codec.codec import Codec
from vqcodec.codec.tokens import Tokens
from vqcodec.model.closed_loop import Phase, decode_level
from vqcodec.model.config import Config
from vqcodec.model.initialise import initialise
from vqcodec.model.vqvae import VQVAE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


QUALITY = 60


@pytest.fixture(scope="module")
def pixels(scenes: Tensor) -> NDArray[np.uint8]:
    """A picture of whole positions of the coarsest grid, `[64, 128, 3]`."""
    pixels: NDArray[np.uint8] = scenes[0, 0, :, :64, :128].permute(1, 2, 0).numpy()
    return pixels


@pytest.fixture(scope="module")
def tokens(tiny_codec: Codec, pixels: NDArray[np.uint8]) -> Tokens:
    return tiny_codec.tokenize(pixels, quality=QUALITY)


@pytest.fixture
def network(tiny_model: VQVAE) -> VQVAE:
    """The small network with what a file holds of it, in half precision."""
    return copy.deepcopy(tiny_model).half().float()


@pytest.fixture
def phases(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Phase, Tensor]]:
    """The phases that are gone through, and the state after each."""
    seen: list[tuple[Phase, Tensor]] = []
    decoded = Phase.decoded

    def note(phase: Phase, z_q: Tensor) -> Tensor:
        t = decoded(phase, z_q)
        seen.append((phase, t.clone()))  # the loop goes on to change it
        return t

    monkeypatch.setattr(Phase, "decoded", note)
    return seen


@pytest.fixture(scope="module", params=["two scales", "three scales"])
def any_codec(
    request: pytest.FixtureRequest,
    tiny_codec: Codec,
    scenes: Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Codec:
    """The small network, or one of three scales as training finds it, with codebooks."""
    if request.param == "two scales":
        return tiny_codec
    config = Config(
        strides=(2, 4, 8),
        transforms=("dct", "dct", "lapped"),
        channels=((4,), (6, 8), (4, 12)),
        phases=((2,), (2, 1), (3, 2)),
        hidden=((8,), (8, 8), (8, 8)),
    )
    model = VQVAE(config)
    initialise(model, scenes[0].float() / 255)
    ranges = [torch.full((len(level.project),), 30.0) for level in model.levels]
    path = tmp_path_factory.mktemp("scales") / "three.safetensors"
    export(with_codebooks(model, ranges), path, {})
    return Codec.load(path, device="cpu")


def indices_of(tokens: Tokens, number: int) -> list[Tensor]:
    return [torch.from_numpy(group.astype(np.int64)) for group in tokens.indices[number]]


def picture(network: VQVAE, tokens: Tokens) -> Tensor:
    """The picture of tokens, `[1, 3, H, W]`."""
    weights = network.quality_weights(tokens.quality)
    t = network.start(weights, *network.config.grid(0, tokens.height, tokens.width))
    for scale, numbers in enumerate(network.config.scales):
        if scale:
            t = network.enter(network.means(t, scale), weights, scale)
        for number in numbers:
            t = decode_level(network, weights, t, number, indices_of(tokens, number))
    return network.synthesise(t, weights)


def in_torch(codec: Codec) -> Codec:
    """The codec, which decodes in PyTorch too, where phases are noted."""
    return Codec(codec._loaded, "cpu", torch.float32)


def same(phases: list[tuple[Phase, Tensor]], others: list[tuple[Phase, Tensor]]) -> None:
    for (phase, t), (other, other_t) in zip(phases, others, strict=True):
        assert (phase.number, phase.phase) == (other.number, other.phase)
        torch.testing.assert_close(phase.gain, other.gain, rtol=1e-4, atol=0)
        torch.testing.assert_close(t, other_t, rtol=0, atol=5e-5)


def test_encoder_and_decoder_go_through_the_same_states(
    any_codec: Codec, pixels: NDArray[np.uint8], phases: list[tuple[Phase, Tensor]]
) -> None:
    encoded = any_codec.encode_pixels(pixels, QUALITY, with_picture=True)
    coded = phases.copy()
    phases.clear()
    height, width = pixels.shape[:2]
    shapes = any_codec.token_shapes(width, height)
    tokens = Tokens(encoded.indices, shapes, width, height, QUALITY, any_codec.model_id)
    decoded = np.asarray(in_torch(any_codec).render(tokens), int)
    assert len(coded) == sum(map(sum, any_codec.config.phases))
    same(coded, phases)
    assert encoded.picture is not None
    for picture in (decoded, np.asarray(any_codec.render(tokens), int)):
        assert abs(encoded.picture.astype(int) - picture).max() <= 1


@torch.no_grad()
def test_training_and_decoder_go_through_the_same_states(
    network: VQVAE,
    tiny_codec: Codec,
    tokens: Tokens,
    pixels: NDArray[np.uint8],
    phases: list[tuple[Phase, Tensor]],
) -> None:
    decoded = np.asarray(in_torch(tiny_codec).render(tokens), float)
    read, values = phases.copy(), []
    for phase, _ in read:
        chosen = [group[:, phase.positions] for group in indices_of(tokens, phase.number)]
        values.append(network.levels[phase.number].codebooks.lookup(chosen, 1))
    phases.clear()

    def tell(module: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> Any:
        return values[len(phases)], output[1]

    for level in network.levels:
        level.quantizer.register_forward_hook(tell)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    x_hat = network(x, torch.tensor([float(QUALITY)])).x_hat
    same(phases, read)
    torch.testing.assert_close(x_hat, picture(network, tokens), rtol=0, atol=1e-4)
    shown = (x_hat[0].permute(1, 2, 0).clamp(0, 1) * 255).round().numpy()
    assert abs(shown - decoded).max() <= 1


# What belongs to the encoder


@torch.no_grad()
def test_the_parameters_of_the_encoder_are_those_that_decoding_does_without(
    network: VQVAE, tokens: Tokens
) -> None:
    generator = torch.Generator().manual_seed(0)
    before = picture(network, tokens)
    unused = set()
    for name, parameter in network.named_parameters():
        kept = parameter.clone()
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        if torch.equal(picture(network, tokens), before):
            unused.add(name)
        parameter.copy_(kept)
    names = {parameter: name for name, parameter in network.named_parameters()}
    encoder = {names[parameter] for parameter in network.encoder_parameters()}
    bits = {name for name in names.values() if name.startswith("prior.") or "logits" in name}
    assert unused == encoder | bits


def test_resting_the_encoder_rests_it_and_the_gains_of_levels_alone(tiny_model: VQVAE) -> None:
    model = copy.deepcopy(tiny_model)
    rest_encoder(model)
    names = {name for name, _ in model.named_parameters()}
    resting = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    encoder = {
        name
        for name in names
        if name.startswith(("encoder.", "enhance.", "analysis.")) or name.endswith(".project")
    }
    gains = {
        f"levels.{number}.{name}"
        for number in range(len(model.levels))
        for name in ("log_gain.table", "adapt.weight", "adapt.bias")
    }
    # By the finest analysis what a block changes on the picture comes back into the state.
    assert resting == encoder - {"analysis.1.basis"} | gains
    # The blocks of phases, of the way to the finer scale and of the decoder, those on the picture.
    tables = [name for name in names - resting if name.endswith("log_gain.table")]
    assert len(tables) == (2 + 1 + 3 + 2) + 1 + 2 + 2
