"""The classical quantizer in the codec's codebooks, and the training script's option for it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from train.checkpoint import load_checkpoint, save_checkpoint
from train.loop import CHECKPOINT
from train.vqvae import LMBDA_UNIT, VQVAETask, main
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.config import QUALITIES, Config
from vqcodec.model.quantizer import CodebookQuantizer, Codebooks
from vqcodec.model.vqvae import VQVAE

TINY = Config(
    channels=((4,), (6,)),
    phases=((1,), (2,)),
    hidden=((4,), (4,)),
    hidden_between_phases=4,
    pixel_hidden=(4, 4),
    analysis_blocks=1,
    synthesis_blocks=1,
    prior_width=4,
    prior_head=4,
    groups=(((1, 256, 2), (2, 256, 1)), ((2, 256, 1), (4, 256, 1))),
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def one_codebook(codewords: list[list[float]]) -> ClassicalQuantizer:
    """A quantizer of one codebook with these codewords; the others are far away."""
    quantizer = ClassicalQuantizer([(len(codewords[0]), 256, 1)])
    codebooks = quantizer.groups[0]
    assert isinstance(codebooks, Codebooks)
    with torch.no_grad():
        codebooks.codewords.fill_(1e4)
        codebooks.codewords[0, : len(codewords)] = torch.tensor(codewords)
    return quantizer


@torch.no_grad()
def test_index_is_the_nearest_codeword_whatever_it_costs() -> None:
    quantizer = ClassicalQuantizer([(2, 256, 3)])
    codebooks = quantizer.groups[0]
    assert isinstance(codebooks, Codebooks)
    codebooks.codewords.add_(0.3 * torch.randn_like(codebooks.codewords))
    codebooks.logits.copy_(100 * torch.randn_like(codebooks.logits))
    y = 3 * torch.randn(2, 16, 6)
    (index,) = quantizer.indices(y, torch.ones(2, 1, 6), torch.zeros(2, 16, 3))
    (rows,) = quantizer.split(y)
    distance = (rows[:, :, None] - codebooks.codewords[:, None]).square().sum(-1)
    chosen = distance.gather(-1, index[..., None])[..., 0]
    torch.testing.assert_close(chosen, distance.amin(-1), rtol=0, atol=1e-4)


def test_gradient_is_straight_through_and_knows_no_rate() -> None:
    quantizer = ClassicalQuantizer([(1, 256, 2), (2, 256, 1)])
    y = torch.randn(2, 9, 4, requires_grad=True)
    z_q, bits = quantizer(y, torch.ones(2, 1, 4), 8 * torch.rand(2, 9, 3))
    gradient = torch.randn_like(y)
    (of_y,) = torch.autograd.grad(z_q, y, gradient, retain_graph=True)
    assert torch.equal(of_y, gradient)
    (of_rate,) = torch.autograd.grad(bits.sum(), y, allow_unused=True)
    assert of_rate is None


def test_auxiliary_loss_is_priced_squared_error_of_codewords_and_values() -> None:
    quantizer = one_codebook([[0.0, 0.0], [4.0, 0.0]])
    y = torch.tensor([[1.0, 2.0], [3.0, 0.0]])[:, None].requires_grad_()
    weight = torch.tensor([[2.0, 3.0], [5.0, 7.0]])[:, None]
    quantizer(y, weight, torch.ones(2, 1, 1))
    nats = quantizer.take_auxiliary_loss() * math.log(2)
    torch.testing.assert_close(nats, 1.25 * torch.tensor([2.0 * 1 + 3 * 4, 5.0 * 1]))
    codebooks = quantizer.groups[0]
    assert isinstance(codebooks, Codebooks)
    of_y, of_codewords = torch.autograd.grad(nats.sum(), (y, codebooks.codewords))
    expected = torch.tensor([[2 * 2.0 * 1, 2 * 3.0 * 2], [2 * 5.0 * -1, 0.0]])
    torch.testing.assert_close(of_y[:, 0], 0.25 * expected)
    torch.testing.assert_close(of_codewords[0, :2], -expected)
    assert float(of_codewords[0, 2:].abs().max()) == 0


def test_config_chooses_the_quantizer_and_both_hold_the_same_weights() -> None:
    plain, classical = VQVAE(TINY), VQVAE(dataclasses.replace(TINY, classical=True))
    for model, kind in ((plain, CodebookQuantizer), (classical, ClassicalQuantizer)):
        kinds = {type(module) for module in model.modules()}
        assert kinds & {CodebookQuantizer, ClassicalQuantizer} == {kind}
    classical.load_state_dict(plain.state_dict())


def test_training_loss_includes_the_auxiliary_loss_of_every_phase() -> None:
    config = dataclasses.replace(TINY, classical=True)
    model = VQVAE(config)
    batch = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    bits: list[Tensor] = []

    def note(_: object, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        error = inputs[1] * (inputs[0] - output[0]).square()
        bits.append(1.25 * error.sum() / math.log(2))

    for level in model.levels:
        level.quantizer.register_forward_hook(note)
    share = torch.tensor([0.3])
    terms = VQVAETask([], config).loss(model, batch, share)
    lmbda = config.lmbda(1 + (QUALITIES - 1) * share)
    assert len(bits) == 3
    auxiliary = torch.stack(bits).sum() / 64**2
    assert float(auxiliary.detach()) > 0.01
    expected = terms["bpp"] + auxiliary + lmbda * 255**2 * terms["mse"]
    torch.testing.assert_close(terms["loss"], (expected / (lmbda / LMBDA_UNIT).sqrt())[0])


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The arguments of one training step on one small picture."""
    Image.effect_noise((128, 128), 50).convert("RGB").save(tmp_path / "noise.png")
    data = ["--data", str(tmp_path), "--valid", str(tmp_path), "--out", str(tmp_path / "out")]
    return [*data, "--steps", "1", "--batch", "1", "--crop", "64", "--device", "cpu"]


@pytest.mark.parametrize(("quantizer", "classical"), [("classical", True), ("entropy", False)])
def test_script_trains_with_the_quantizer_it_is_told(
    arguments: list[str], quantizer: str, classical: bool, tmp_path: Path
) -> None:
    weights = VQVAE(TINY).state_dict()
    initial = {"model": weights, "ema": weights, "step": 0}
    config = dataclasses.asdict(dataclasses.replace(TINY, classical=not classical))
    save_checkpoint(tmp_path / "initial.pt", {**initial, "config": {"model": config}})
    arguments += ["--init", str(tmp_path / "initial.pt"), "--quantizer", quantizer]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    trained = load_checkpoint(tmp_path / "out" / CHECKPOINT, torch.device("cpu"))
    assert Config.from_dict(trained["config"]["model"]).classical is classical


def test_script_refuses_the_classical_quantizer_without_codebooks(
    arguments: list[str],
) -> None:
    result = CliRunner().invoke(main, [*arguments, "--quantizer", "classical"])
    assert result.exit_code == 1
    assert "error: --quantizer classical needs the --init of a network with codebooks" in (
        result.stderr
    )


@pytest.mark.parametrize("option", [[], ["--train-encoder"]])
def test_with_codebooks_the_encoder_rests_unless_told_otherwise(
    arguments: list[str], option: list[str], tmp_path: Path
) -> None:
    model = VQVAE(TINY)
    weights = model.state_dict()
    for name, value in weights.items():
        # At rest in an untrained network.
        if name.endswith((".project", ".unproject", ".out.weight")):
            torch.nn.init.normal_(value, std=0.1)
    initial = {"model": weights, "ema": weights, "step": 0}
    config = dataclasses.asdict(TINY)
    save_checkpoint(tmp_path / "initial.pt", {**initial, "config": {"model": config}})
    options = ["--warmup", "0", "--init", str(tmp_path / "initial.pt"), *option]
    assert CliRunner().invoke(main, [*arguments, *options]).exit_code == 0
    trained = load_checkpoint(tmp_path / "out" / CHECKPOINT, torch.device("cpu"))["model"]
    moved = {name for name, value in trained.items() if not torch.equal(value, weights[name])}
    gains = (level.gain_parameters() for level in model.levels)
    resting = set(map(id, itertools.chain(model.encoder_parameters(), *gains)))
    rest = {name for name, parameter in model.named_parameters() if id(parameter) in resting}
    assert rest & moved == (rest - {"levels.0.adapt.weight"} if option else set())
    assert any(name.startswith("synthesis.") for name in moved)
    assert any(name.endswith(".codewords") for name in moved)
    # The gains of the decoder's blocks learn, as all that is the decoder's.
    assert any(name.startswith("decoder.") and "log_gain" in name for name in moved)
