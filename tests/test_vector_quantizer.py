"""The classical vector quantizer: assignment, gradients, running means, start and restart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqcodec import VectorQuantizer
from vqcodec.model.vector_quantizer import k_means


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trained_by_hand(codebook: list[list[float]], ema_decay: float | None = None) -> VectorQuantizer:
    """A quantizer with these codewords and no restarts."""
    words = torch.tensor(codebook)
    quantizer = VectorQuantizer(*words.shape, ema_decay=ema_decay, dead_below=0.0)
    with torch.no_grad():
        quantizer.codebook.copy_(words)
        quantizer.sums.copy_(words / len(words))
    return quantizer


def test_indices_are_the_nearest_words() -> None:
    quantizer = VectorQuantizer(50, 3)
    z_e = 2 * torch.randn(4, 7, 5, 3)
    out = quantizer.eval()(z_e)
    distance = (z_e[..., None, :] - quantizer.codebook).square().sum(-1)
    assert out.indices.shape == (4, 7, 5)
    assert out.indices.dtype == torch.int64
    assert torch.equal(out.indices, distance.argmin(-1))
    assert torch.equal(out.indices, quantizer.encode(z_e))
    assert torch.equal(out.z_q, quantizer.codebook[out.indices])
    assert torch.equal(out.z_q, quantizer.decode(out.indices))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_straight_through_gradient_is_the_identity(ema_decay: float | None) -> None:
    quantizer = VectorQuantizer(8, 2, ema_decay=ema_decay)
    z_e = torch.randn(6, 2, requires_grad=True)
    gradient = torch.randn(6, 2)
    (of_input,) = torch.autograd.grad(quantizer(z_e).z_q, z_e, gradient)
    assert torch.equal(of_input, gradient)


def test_losses_pull_the_words_and_the_values_together() -> None:
    quantizer = trained_by_hand([[0.0, 0.0], [10.0, 0.0]])
    z_e = torch.tensor([[1.0, 2.0], [9.0, 0.0], [-1.0, 0.0], [0.0, 4.0]], requires_grad=True)
    loss = quantizer(z_e).loss
    # Squared distances 5, 1, 1, 16 count once for the words and a quarter for the values.
    assert float(loss.detach()) == pytest.approx(1.25 * 23 / 4)
    of_values, of_words = torch.autograd.grad(loss, (z_e, quantizer.codebook))
    offset = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [-1.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(of_values, 0.25 * 2 * offset / 4)
    torch.testing.assert_close(of_words, torch.tensor([[0.0, -12.0], [2.0, 0.0]]) / 4)


def test_with_running_means_the_loss_is_the_commitment_alone() -> None:
    quantizer = trained_by_hand([[0.0], [10.0]], ema_decay=0.9)
    z_e = torch.tensor([[1.0], [8.0]], requires_grad=True)
    loss = quantizer(z_e).loss
    assert float(loss.detach()) == pytest.approx(0.25 * (1 + 4) / 2)
    assert not list(quantizer.parameters())


def test_running_means_equal_a_hand_computation() -> None:
    quantizer = trained_by_hand([[0.0, 0.0], [10.0, 0.0], [99.0, 99.0]], ema_decay=0.75)
    quantizer(torch.tensor([[1.0, 1.0], [2.0, 0.0], [9.0, 4.0], [12.0, -4.0]]))
    # usage: 3/4 * 1/3 + 1/4 * 1/2, and 3/4 * 1/3 for the word that was not used
    torch.testing.assert_close(quantizer.usage, torch.tensor([0.375, 0.375, 0.25]))
    expected = [
        [0.25 * 3 / 4 / 0.375, 0.25 * 1 / 4 / 0.375],
        [(0.75 * 10 / 3 + 0.25 * 21 / 4) / 0.375, 0.0],
        [99.0, 99.0],
    ]
    torch.testing.assert_close(quantizer.codebook, torch.tensor(expected))


def test_running_means_converge_to_the_means_of_the_cells() -> None:
    quantizer = trained_by_hand([[-1.0], [1.0]], ema_decay=0.5)
    z_e = torch.tensor([[-5.0], [-3.0], [2.0], [4.0], [6.0]])
    for _ in range(40):
        quantizer(z_e)
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[-4.0], [4.0]]))


def test_a_word_that_is_never_used_stays_where_it_is() -> None:
    quantizer = trained_by_hand([[0.0], [50.0]], ema_decay=0.1)
    for _ in range(60):  # usage underflows to zero
        quantizer(torch.zeros(3, 1))
    assert float(quantizer.usage[1]) < 1e-40
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[0.0], [50.0]]))


def test_evaluation_changes_nothing() -> None:
    quantizer = VectorQuantizer(16, 2, ema_decay=0.5, dead_below=1.0).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(32, 2))
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name])


def separated_clusters(count: int) -> tuple[Tensor, Tensor]:
    """Centres on a circle of radius 100, and 20 points within 1 of each."""
    angle = 2 * math.pi * torch.arange(count) / count
    centres = 100 * torch.stack([angle.cos(), angle.sin()], 1)
    return centres, centres.repeat(20, 1) + torch.rand(20 * count, 2) - 0.5


@pytest.mark.parametrize("ema_decay", [None, 0.99])
def test_k_means_start_recovers_separated_clusters(ema_decay: float | None) -> None:
    centres, points = separated_clusters(12)
    quantizer = VectorQuantizer(12, 2, ema_decay=ema_decay)
    quantizer.initialise(points[torch.randperm(len(points))].view(10, 24, 2))
    distance = torch.cdist(centres, quantizer.codebook.detach())
    assert sorted(distance.argmin(1).tolist()) == list(range(12))
    assert float(distance.amin(1).max()) < 0.5
    torch.testing.assert_close(quantizer.usage, torch.full((12,), 1 / 12))
    # The running means agree with the words, so the first update does not throw them back.
    quantizer(points)
    assert float(torch.cdist(centres, quantizer.codebook.detach()).amin(1).max()) < 0.5


def test_k_means_takes_repeated_vectors() -> None:
    x = torch.tensor([[1.0], [1.0], [5.0], [5.0]])
    centres, usage = k_means(x, 3)
    assert set(centres.flatten().tolist()) == {1.0, 5.0}
    assert float(usage.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_dead_word_is_moved_onto_a_vector_of_the_batch(ema_decay: float | None) -> None:
    quantizer = VectorQuantizer(3, 1, ema_decay=ema_decay, dead_below=0.1)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0], [10.0], [1000.0]]))
        quantizer.sums.copy_(quantizer.codebook / 3)
    z_e = torch.tensor([[-1.0], [1.0], [7.0], [13.0]])
    steps = 0
    while float(quantizer.codebook[2].detach()) == pytest.approx(1000.0):
        assert steps < 1000
        quantizer(z_e)
        steps += 1
    # Its usage falls from 1/3 to a tenth of that.
    assert steps == math.ceil(math.log(0.1) / math.log(ema_decay or 0.99))
    assert float(quantizer.codebook[2].detach()) in z_e.flatten().tolist()
    # The running means agree with the new place.
    assert float(quantizer.usage[2]) == pytest.approx(1 / 3)
    torch.testing.assert_close(quantizer.sums[2], quantizer.codebook[2].detach() / 3)
    # Alive, and used from now on.
    assert int((quantizer(z_e).indices == 2).sum()) >= 1


def test_restart_is_deterministic_given_the_generator() -> None:
    codebooks = []
    z_e = torch.randn(200, 4)
    for _ in range(2):
        torch.manual_seed(5)
        quantizer = VectorQuantizer(64, 4, dead_below=10.0)
        quantizer(z_e)
        codebooks.append(quantizer.codebook.detach())
    assert torch.equal(*codebooks)
    # All were dead, so all are distinct vectors of the batch.
    rows = (codebooks[0][:, None] == z_e).all(-1)
    assert torch.equal(rows.sum(1), torch.ones(64, dtype=torch.int64))
    assert int(rows.sum(0).max()) == 1


def test_restart_does_not_disturb_the_gradient_of_the_step() -> None:
    quantizer = VectorQuantizer(32, 2, dead_below=10.0)
    before = quantizer.codebook.detach().clone()
    z_e = torch.randn(8, 2)
    out = quantizer(z_e)
    (gradient,) = torch.autograd.grad(out.loss, quantizer.codebook)
    expected = torch.zeros(32, 2).index_add_(0, out.indices, 2 * (before[out.indices] - z_e) / 8)
    torch.testing.assert_close(gradient, expected)


def test_perplexity_of_uniform_usage_is_the_number_of_words() -> None:
    quantizer = VectorQuantizer(24, 3).eval()
    words = quantizer.codebook.detach()
    assert float(quantizer(words.repeat(5, 1)).perplexity) == pytest.approx(24, rel=1e-5)
    assert float(quantizer(words[:6].repeat(5, 1)).perplexity) == pytest.approx(6, rel=1e-5)
    assert float(quantizer(words[3].expand(9, 3)).perplexity) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(), (3,), (5, 3), (4, 2, 1)])
def test_wrong_dimension_is_refused(shape: tuple[int, ...]) -> None:
    quantizer = VectorQuantizer(4, 4)
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 4\], got"):
        quantizer(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 4\], got"):
        quantizer.initialise(torch.zeros(shape))


def test_too_few_vectors_to_start_from_are_refused() -> None:
    with pytest.raises(ValueError, match="3 vectors are too few for 4 codewords"):
        VectorQuantizer(4, 2).initialise(torch.randn(3, 2))


@pytest.mark.parametrize(
    ("size", "dim", "options"),
    [
        (0, 1, {}),
        (1, 0, {}),
        (1, 1, {"ema_decay": 0.0}),
        (1, 1, {"ema_decay": 1.0}),
        (1, 1, {"commitment": -1.0}),
        (1, 1, {"dead_below": -1.0}),
    ],
)
def test_impossible_settings_are_refused(size: int, dim: int, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not"):
        VectorQuantizer(size, dim, **options)
