"""The quantizers of the codec: choice of codewords, bits, gradients, indices and back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.quantizer import (
    RANGE,
    TAIL,
    CodebookQuantizer,
    Codebooks,
    IntegerQuantizer,
    integer_log_p,
    small_codewords,
)

GROUPS = ((1, 256, 2), (1, 16, 2), (2, 256, 3), (4, 256, 1), (8, 256, 1))
CHANNELS = sum(dim * count for dim, _, count in GROUPS)
SYMBOLS = sum(count for _, _, count in GROUPS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_codebooks(kind: type[CodebookQuantizer]) -> CodebookQuantizer:
    """A quantizer whose codewords and tables have moved off the integers, as in training."""
    quantizer = kind(GROUPS)
    with torch.no_grad():
        for parameter in quantizer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return quantizer


def inputs(channels: int, symbols: int, weight: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Values of very different sizes, a price for each channel, and classes between the knots."""
    y = torch.randn(3, channels, 20).mT * torch.rand(3, 1, channels) * 4
    prices = weight * (0.5 + torch.rand(3, 1, channels))
    return y, prices, 8 * torch.rand(3, symbols, 20).mT


def best_costs(
    codebooks: Codebooks, y: Tensor, weight: Tensor, log_scale: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """The cost in nats of the chosen codewords and the least of all, by brute force."""
    error = (y[:, :, None] - codebooks.codewords[:, None]).double().square()
    cost = (weight[:, :, None] * error).sum(-1) - codebooks.log_p(log_scale)
    return cost.gather(-1, index[..., None])[..., 0], cost.amin(-1)


both_kinds = pytest.mark.parametrize("kind", [CodebookQuantizer, ClassicalQuantizer])


# The integers.


@torch.no_grad()
def test_integer_is_the_cheaper_neighbour_and_bits_are_its_information() -> None:
    y, weight, log_scale = inputs(6, 6)
    z_q, bits = IntegerQuantizer(6).eval()(y, weight, log_scale)
    k = z_q.round()
    torch.testing.assert_close(z_q, k, rtol=0, atol=1e-5)

    def cost(k: Tensor) -> Tensor:
        return weight * (y - k).square() - integer_log_p(k, log_scale)

    neighbours = torch.minimum(cost(y.floor()), cost(y.floor() + 1))
    torch.testing.assert_close(cost(k), neighbours)
    nats = -integer_log_p(k, log_scale)
    torch.testing.assert_close(bits, nats.sum((1, 2)) / math.log(2))


@torch.no_grad()
def test_integers_end_at_their_range() -> None:
    y = torch.tensor([-1e4, 0.1 - RANGE, RANGE - 0.1, 1e4]).view(1, 1, 4)
    z_q, bits = IntegerQuantizer(4).eval()(y, torch.full((1, 1, 4), 6.0), torch.full_like(y, 8.0))
    expected = torch.tensor([-RANGE, -RANGE, RANGE, RANGE], dtype=torch.float32)
    torch.testing.assert_close(z_q.flatten(), expected)
    assert bool(bits.isfinite())


def test_values_beyond_the_integers_do_not_pull() -> None:
    y = torch.tensor([-1e4, 0.1 - RANGE, RANGE - 0.1, 1e4]).view(1, 1, 4).requires_grad_()
    z_q, bits = IntegerQuantizer(4)(y, torch.ones(1, 1, 4), torch.full_like(y, 8.0))
    assert z_q.flatten().tolist() == [-RANGE, -RANGE, RANGE, RANGE]
    (of_value,) = torch.autograd.grad(z_q.sum(), y, retain_graph=True)
    assert of_value.flatten().tolist() == [0, 1, 1, 0]
    (of_rate,) = torch.autograd.grad(bits.sum(), y)
    assert (of_rate.flatten() != 0).tolist() == [False, True, True, False]


@torch.no_grad()
def test_integer_probabilities_sum_to_one_and_fall_away_from_zero() -> None:
    k = torch.arange(-RANGE, RANGE + 1.0)
    for log_scale in (0.0, 2.0, 4.0):
        log_p = integer_log_p(k, torch.tensor(log_scale))
        assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-3)
        assert torch.equal(log_p, log_p.flip(0))
        assert bool((log_p[RANGE:].diff() <= 0).all())


def test_integers_train_by_rounding_and_a_rate_that_pulls_towards_zero() -> None:
    y, weight, log_scale = inputs(6, 6)
    y.requires_grad_()
    z_q, bits = IntegerQuantizer(6)(y, weight, log_scale)
    torch.testing.assert_close(z_q, y.detach().round(), rtol=0, atol=1e-5)
    nats = -integer_log_p(z_q.round(), log_scale)
    torch.testing.assert_close(bits, nats.sum((1, 2)) / math.log(2))
    (of_value,) = torch.autograd.grad(z_q.sum(), y, retain_graph=True)
    assert torch.equal(of_value, torch.ones_like(y))
    (of_rate,) = torch.autograd.grad(bits.sum(), y)
    # The noise turns the gradient of a value near zero round now and then.
    towards = of_rate * y.detach()
    assert float(towards.sum()) > 0.5 * float(towards.abs().sum())


# The codewords and their tables.


SIZES = [(1, 256), (1, 64), (1, 32), (1, 16), (2, 256), (4, 256), (8, 256)]


@pytest.mark.parametrize(("dim", "count"), SIZES)
def test_first_codewords_are_distinct_integer_points_with_zero_first(dim: int, count: int) -> None:
    codewords = small_codewords(dim, count)
    assert codewords.shape == (count, dim)
    assert torch.equal(codewords, codewords.round())
    assert len(set(map(tuple, codewords.tolist()))) == count
    assert float(codewords[0].abs().sum()) == 0


@pytest.mark.parametrize(("dim", "count"), SIZES)
def test_most_first_codewords_are_the_points_of_smallest_length(dim: int, count: int) -> None:
    lengths = small_codewords(dim, count)[: count - max(count // 8, 4 * dim)].abs().sum(1)
    assert torch.equal(lengths, lengths.sort().values)
    shorter = int(lengths[-1]) - 1
    points = sum(math.comb(dim, k) * math.comb(shorter, k) * 2**k for k in range(dim + 1))
    assert int((lengths <= shorter).sum()) == points


@pytest.mark.parametrize(("dim", "count"), SIZES)
def test_an_eighth_of_the_first_codewords_lies_far_out_on_the_axes(dim: int, count: int) -> None:
    near, far = torch.split(small_codewords(dim, count), [count - count // 8, count // 8])
    assert bool(((far != 0).sum(1) == 1).all())
    assert near.abs().max() < far.abs().sum(1).min()
    assert float(far.abs().max()) <= RANGE + 1
    # As far along every axis, up and down.
    for points in (far, -far, far.roll(1, 1)):
        assert sorted(points.tolist()) == sorted(far.tolist())


@torch.no_grad()
def test_probabilities_are_normalised_and_their_tails_bounded() -> None:
    codebooks = Codebooks(2, 256, 3)
    codebooks.logits.copy_(1000 * torch.randn_like(codebooks.logits))
    log_p = codebooks.log_p(8 * torch.rand(3, 50))
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3, 50))
    assert float(log_p.min()) >= -(TAIL + math.log(256))


@torch.no_grad()
def test_tables_start_as_those_of_the_integers() -> None:
    codebooks = Codebooks(1, 256, 1)
    for knot in range(0, 11, 2):
        log_scale = torch.full((1, 1), knot / 2)
        codewords = codebooks.codewords[0, :, 0]
        theory = integer_log_p(codewords, log_scale[0, 0]).softmax(0)
        # The tails of narrow classes are lifted, by less than a thousandth in all.
        torch.testing.assert_close(
            codebooks.log_p(log_scale)[0, 0].exp(), theory, rtol=0, atol=3e-3
        )


# Both quantizers with codebooks.


@both_kinds
def test_join_undoes_split(kind: type[CodebookQuantizer]) -> None:
    quantizer = kind(GROUPS)
    y = torch.randn(3, 20, CHANNELS)
    groups = quantizer.split(y)
    expected = [(count, 60, dim) for dim, _, count in GROUPS]
    assert [tuple(group.shape) for group in groups] == expected
    assert torch.equal(quantizer.join(groups, 3), y)
    # A vector is consecutive channels at one position of one image.
    assert torch.equal(groups[2][2, 20 + 7], y[1, 7, 8:10])
    symbols = quantizer.split_symbols(torch.arange(SYMBOLS).expand(3, 20, -1))
    assert [group[:, 0].tolist() for group in symbols] == [[0, 1], [2, 3], [4, 5, 6], [7], [8]]


@both_kinds
@torch.no_grad()
def test_shared_codebooks_are_like_ones_that_are_the_same(kind: type[CodebookQuantizer]) -> None:
    shared, alone = kind(GROUPS, shared=True), kind(GROUPS)
    for source, target in zip(shared.parameters(), alone.parameters(), strict=True):
        assert len(source) == 1
        source.add_(0.2 * torch.randn_like(source))
        target.copy_(source.expand_as(target))
    arguments = inputs(CHANNELS, SYMBOLS)
    for one, other in zip(shared(*arguments), alone(*arguments), strict=True):
        torch.testing.assert_close(one, other)
    indices = shared.indices(*arguments)
    for one, other in zip(indices, alone.indices(*arguments), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(shared.lookup(indices, 3), alone.lookup(indices, 3))


@both_kinds
@torch.no_grad()
def test_values_are_the_codewords_of_the_indices(kind: type[CodebookQuantizer]) -> None:
    quantizer = random_codebooks(kind)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS)
    z_q, _ = quantizer(y, weight, log_scale)
    indices = quantizer.indices(y, weight, log_scale)
    assert quantizer.symbols == SYMBOLS == sum(len(index) for index in indices)
    values = quantizer.lookup(indices, 3)
    torch.testing.assert_close(z_q, values, rtol=0, atol=1e-5)
    rows = zip(quantizer.groups, quantizer.split(values), indices, strict=True)
    for codebooks, group, index in rows:
        for codewords, vectors, chosen in zip(codebooks.codewords, group, index, strict=True):
            assert torch.equal(codewords[chosen], vectors)


@both_kinds
@torch.no_grad()
def test_indices_do_not_depend_on_how_many_are_chosen_at_once(
    kind: type[CodebookQuantizer],
) -> None:
    quantizer = random_codebooks(kind)
    y = 3 * torch.randn(1, 2400, CHANNELS)  # too many for one piece
    weight, log_scale = torch.full((1, 1, CHANNELS), 2.0), 8 * torch.rand(1, 2400, SYMBOLS)
    whole = quantizer.lookup(quantizer.indices(y, weight, log_scale), 1)
    pieces = []
    for columns, classes in zip(torch.split(y, 30, 1), torch.split(log_scale, 30, 1), strict=True):
        pieces.append(quantizer.lookup(quantizer.indices(columns, weight, classes), 1))
    assert float((whole == torch.cat(pieces, 1)).float().mean()) > 0.999


@both_kinds
@torch.no_grad()
def test_bits_are_the_information_of_the_indices(kind: type[CodebookQuantizer]) -> None:
    quantizer = random_codebooks(kind)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS)
    _, bits = quantizer(y, weight, log_scale)
    expected = torch.zeros(3)
    rows = zip(
        quantizer.groups,
        quantizer.indices(y, weight, log_scale),
        quantizer.split_symbols(log_scale),
        strict=True,
    )
    for codebooks, index, classes in rows:
        log_p = codebooks.log_p(classes).gather(-1, index[..., None])
        expected -= log_p.view(len(index), 3, -1).sum((0, 2)) / math.log(2)
    # The entropy quantizer interpolates the normaliser.
    torch.testing.assert_close(bits, expected, rtol=0.02, atol=0)


@both_kinds
def test_prior_learns_from_the_indices(kind: type[CodebookQuantizer]) -> None:
    quantizer = random_codebooks(kind)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS)
    log_scale.requires_grad_()
    _, bits = quantizer(y, weight, log_scale)
    logits = [parameter for name, parameter in quantizer.named_parameters() if "logits" in name]
    of_log_scale, *of_logits = torch.autograd.grad(bits.sum(), [log_scale, *logits])
    assert float(of_log_scale.abs().max()) > 0
    with torch.no_grad():
        log_scale -= 0.01 * of_log_scale / of_log_scale.abs().max()
        for table, gradient in zip(logits, of_logits, strict=True):
            table.sub_(0.1 * gradient / gradient.abs().max())
        assert float(quantizer(y, weight, log_scale)[1].sum()) < float(bits.sum())


# The entropy-constrained choice alone.


@torch.no_grad()
def test_index_minimises_rate_and_distortion_by_brute_force() -> None:
    quantizer = random_codebooks(CodebookQuantizer)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS)
    rows = zip(
        quantizer.groups,
        quantizer.split(y),
        quantizer.split(weight.expand_as(y)),
        quantizer.split_symbols(log_scale),
        quantizer.indices(y, weight, log_scale),
        strict=True,
    )
    for codebooks, *group in rows:
        if codebooks.dim == 1:  # whose search counts on probabilities that fall, see below
            continue
        chosen, best = best_costs(codebooks, *group)
        torch.testing.assert_close(chosen, best, rtol=0, atol=1e-3)


def test_rate_gradient_moves_values_towards_fewer_bits() -> None:
    quantizer = random_codebooks(CodebookQuantizer)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS, weight=0.5)
    y.requires_grad_()
    _, bits = quantizer(y, weight, log_scale)
    (gradient,) = torch.autograd.grad(bits.sum(), y)
    # Every image and every group feels its rate.
    for group in quantizer.split(gradient):
        assert float(group.abs().amax((1, 2)).min()) > 0
    with torch.no_grad():
        _, fewer = quantizer(y - 0.5 * gradient, weight, log_scale)
    assert bool((fewer < 0.99 * bits.detach()).all())


def test_value_gradient_follows_the_values() -> None:
    quantizer = random_codebooks(CodebookQuantizer)
    y, weight, log_scale = inputs(CHANNELS, SYMBOLS)
    y.requires_grad_()
    z_q, _ = quantizer(y, weight, log_scale)
    direction = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((z_q * direction).sum(), y)
    # The posterior's Jacobian is a covariance, so it never turns a direction round.
    for along, moved in zip(quantizer.split(direction), quantizer.split(gradient), strict=True):
        assert bool(((along * moved).sum(-1) >= -1e-3).all())
    assert float((direction * gradient).sum()) > 0


@pytest.mark.parametrize("spread", [0.5, 12])  # most values rest at zero, and few do
@pytest.mark.parametrize("count", [1, 5])
@torch.no_grad()
def test_search_in_one_dimension_finds_the_best_of_all_codewords(count: int, spread: float) -> None:
    codebooks = Codebooks(1, 64, count)
    codebooks.codewords.add_(0.2 * torch.randn_like(codebooks.codewords))
    codebooks.logits[:, 9:, 0] -= 0.5  # zero is not always the likeliest codeword
    y = spread * torch.randn(count, 4000, 1)
    weight = 1 + 20 * torch.rand(count, 4000, 1)
    log_scale = 8 * torch.rand(count, 4000)
    best = codebooks.scores(y, weight, log_scale).argmax(-1)
    assert float((codebooks.search(y, weight, log_scale) == best).float().mean()) > 0.999
    assert len(set(best.flatten().tolist())) > 4 * spread
