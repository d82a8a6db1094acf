"""Few labels spread over a graph of neighbours: the classes of all points (Zhou et al. 2004).

What is dense is of one class, however far it reaches. Points are alike by exp(-d² / (s s')), where
s is how far the last neighbour of either is (Zelnik-Manor and Perona 2004), what all points have of
a class is the same for all classes (Zhu et al. 2003), and a point that was not there has the
classes of its neighbours (Delalleau et al. 2005).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import cg
from sklearn.neighbors import NearestNeighbors

from train.digits import Labels

Array = NDArray[np.float64]

NEIGHBOURS = 7
# Of the classes of a point so much is its neighbours', the rest its own label's.
ALPHA = 0.99
TOLERANCE = 1e-6  # of the solution of the linear equations
_TINY = 1e-30


class Graph:
    """Points `[N, d]`, each tied to those nearest to it."""

    def __init__(self, x: Array) -> None:
        count = min(NEIGHBOURS, len(x) - 1)
        self._nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(x)
        distances, near = self._nearest.kneighbors()
        reach = np.maximum(distances[:, -1], _TINY)
        alike = np.exp(-(distances**2) / (reach[:, None] * reach[near]))
        rows = np.repeat(np.arange(len(x)), count)
        ties = csr_array((alike.ravel(), (rows, near.ravel())), shape=(len(x), len(x)))
        ties = ties.maximum(ties.T)
        scale = diags_array(1 / np.sqrt(np.maximum(ties.sum(1), _TINY)))
        self._ties = scale @ ties @ scale

    def spread(self, known: Labels, y: Labels) -> Array:
        """Return how much of each class a point is, float64 `[N, classes]`, rows of sum 1.

        The points `known` `[n]` are of the classes `y` `[n]`. A point that no label reaches is 0.
        """
        labels = np.zeros((self._ties.shape[0], int(y.max()) + 1))
        labels[known, y] = 1
        system = eye_array(len(labels)) - ALPHA * self._ties
        shares = np.stack([cg(system, of, rtol=TOLERANCE)[0] for of in labels.T], 1).clip(0)
        shares /= np.maximum(shares.sum(0), _TINY)
        return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), _TINY))

    def classify(self, x: Array, shares: Array) -> Labels:
        """Return the classes `[M]` of other points `[M, d]`, where `spread` gave these shares."""
        distances, near = self._nearest.kneighbors(x)
        reach = np.maximum(distances[:, -1:], _TINY)
        alike = np.exp(-((distances / reach) ** 2))
        return np.asarray((alike[:, :, None] * shares[near]).sum(1).argmax(1))
