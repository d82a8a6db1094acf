"""Labels spread over a graph of neighbours: the dense is of one class, however far it reaches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.spreading import ALPHA, NEIGHBOURS, Graph


def moons(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two arcs, one inside the other, `count` points of each: near in space, apart in density."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, np.pi, (2, count))
    outer = np.stack([np.cos(turn[0]), np.sin(turn[0])], 1)
    inner = np.stack([1 - np.cos(turn[1]), 0.5 - np.sin(turn[1])], 1)
    x = np.concatenate([outer, inner]) + rng.normal(0, 0.04, (2 * count, 2))
    return x, np.repeat([0, 1], count)


def test_a_label_each_is_enough_for_two_arcs() -> None:
    x, y = moons(300, 0)
    known = np.array([0, 300])
    graph = Graph(x)
    shares = graph.spread(known, y[known])
    nearest = np.linalg.norm(x[:, None] - x[known], axis=2).argmin(1)
    assert (nearest != y).mean() > 0.1
    assert (shares.argmax(1) != y).mean() < 0.01
    other, expected = moons(200, 1)
    assert (graph.classify(other, shares) != expected).mean() < 0.01


def test_shares_solve_the_equations_of_the_paper() -> None:
    x, y = moons(20, 2)
    known = np.array([3, 7, 25])
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, 1)[:, :NEIGHBOURS]
    reach = np.take_along_axis(distances, near, 1)[:, -1]
    alike = np.zeros_like(distances)
    for one in range(len(x)):
        for other in near[one]:
            weight = np.exp(-(distances[one, other] ** 2) / (reach[one] * reach[other]))
            alike[one, other] = alike[other, one] = weight
    root = np.sqrt(alike.sum(1))
    system = np.eye(len(x)) - ALPHA * alike / root / root[:, None]
    labels = np.zeros((len(x), 2))
    labels[known, y[known]] = 1
    expected = np.linalg.solve(system, labels)
    expected /= expected.sum(0)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(Graph(x).spread(known, y[known]), expected, atol=1e-3)


def test_points_in_one_place_and_points_out_of_reach_are_no_trouble() -> None:
    far = np.full((20, 2), 1e3)
    x = np.concatenate([np.zeros((20, 2)), far])
    shares = Graph(x).spread(np.array([0, 1]), np.array([1, 1]))
    assert np.isfinite(shares).all()
    assert (shares[:20] == [0, 1]).all()
    assert (shares[20:] == 0).all()
    assert Graph(x[:2]).spread(np.array([0]), np.array([0])).shape == (2, 1)
