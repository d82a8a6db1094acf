"""Digits for training: MNIST as an .npz file, images made black and white anew at every pass."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.errors import DataError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

_BINARISED_SEED = 1


def load_digits(path: Path, part: str) -> Pixels:
    """Return the images called x_`part` ("train" or "test") in an .npz, uint8 `[N, H, W]`.

    Raises DataError if the file or the array is missing or of another kind.
    """
    images = _load(path, f"x_{part}")
    if images.dtype != np.uint8 or images.ndim != 3 or not images.size:
        raise DataError(f"x_{part} in {path} is {images.dtype} {images.shape}, not uint8 [N, H, W]")
    return images


def load_labels(path: Path, part: str, count: int) -> Labels:
    """Return the classes of `count` images, y_`part` in an .npz, whole numbers from 0, int64 `[N]`.

    Raises DataError if the file or the array is missing or of another kind.
    """
    labels = _load(path, f"y_{part}")
    if labels.dtype.kind not in "iu" or labels.shape != (count,) or labels.min() < 0:
        raise DataError(f"y_{part} in {path} is not the classes of {count} images")
    return labels.astype(np.int64)


def balanced(labels: Labels, count: int, draw: int) -> Labels:
    """Return the indices of `count` images, as many of each class, drawn with the seed `draw`.

    Raises DataError if the classes do not divide the count or one has too few images.
    """
    classes = int(labels.max()) + 1
    each, rest = divmod(count, classes)
    if rest:
        raise DataError(f"{count} labels are not as many of each of {classes} classes")
    if np.bincount(labels).min() < each:
        raise DataError(f"a class has fewer than {each} images")
    rng = np.random.default_rng(draw)
    chosen = [rng.choice(np.flatnonzero(labels == y), each, replace=False) for y in range(classes)]
    return np.concatenate(chosen)


def _load(path: Path, name: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except KeyError:
        raise DataError(f"{path} has no array {name}") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path} as .npz: {error}") from error


def binarised(images: Pixels, rng: np.random.Generator) -> Tensor:
    """Return `images` `[N, H, W]` as uint8 `[N, 1, H, W]`: 1 with probability value / 255."""
    ones = rng.integers(0, 255, images.shape, dtype=np.uint8) < images
    return torch.from_numpy(ones.view(np.uint8)[:, None])


def binarised_for_testing(images: Pixels) -> Tensor:
    """Return `images` binarised in the one way that all results of this project share.

    The seed is fixed and images are drawn in order, so that the first ones are always the same.
    """
    return binarised(images, np.random.default_rng(_BINARISED_SEED))


class RowSampler:
    """Batches of what is known of digits, which pass through all in a new order each time."""

    def __init__(self, rows: NDArray[Any], batch: int, seed: int) -> None:
        """`rows` is [N, ...]; a rest of less than a batch is left out of the pass."""
        if len(rows) < batch:
            raise DataError(f"a batch of {batch} images, but there are only {len(rows)}")
        self._rows = rows
        self._batch = batch
        self._seed = seed
        self.steps_per_pass = len(rows) // batch

    def batch(self, step: int, rank: int) -> Tensor:
        """Return [B, ...], typed as they are; each rank passes through in an order of its own."""
        return torch.from_numpy(self._chosen(step, rank))

    def _chosen(self, step: int, rank: int) -> NDArray[Any]:
        number, position = divmod(step, self.steps_per_pass)
        order = _order(len(self._rows), self._seed, number, rank)
        return self._rows[order[position * self._batch : (position + 1) * self._batch]]


class DigitSampler(RowSampler):
    """The same of images, uint8 [N, H, W], binarised anew each time."""

    def batch(self, step: int, rank: int) -> Tensor:
        """Return uint8 [B, 1, H, W] of 0 and 1."""
        drawn = np.random.default_rng((self._seed, step, rank, 1))
        return binarised(self._chosen(step, rank), drawn)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, number: int, rank: int) -> NDArray[np.int64]:
    """Return the order of a pass; kept, since it takes as long to make as a batch to train on."""
    return np.random.default_rng((seed, number, rank)).permutation(count)
