"""Data sets larger than memory: a window that moves over the photographs in a random order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError
from train.photographs import Photograph, Pixels

_ATTEMPTS = 1000


class Pool:
    """Images to cut crops from, drawn in proportion to their areas."""

    def __init__(
        self, areas: Sequence[int] | NDArray[np.int64], pixels: Callable[[int], Pixels | None]
    ) -> None:
        """`pixels` returns the image at a place, uint8 [H, W, 3], None if it is unreadable."""
        self._edges = np.cumsum(areas) / np.sum(areas)
        self._pixels = pixels

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Return one of the images; raises DataError if it seems that none can be read."""
        for _ in range(_ATTEMPTS):
            place = int(np.searchsorted(self._edges, rng.random(), side="right"))
            pixels = self._pixels(place)
            if pixels is not None:
                return pixels
        raise DataError(f"{_ATTEMPTS} images drawn, and none could be read")


class Stream:
    """Photographs of which no more are held decoded than memory allows.

    Think of all of them laid end to end by their decoded bytes, in a new order at every pass. A
    window on them moves on by as much at each step as crops are cut at a step, so that a pass shows
    as many pixels as there are. It is thus a function of the seed and the step, and a resumed run
    needs nothing but the step. A photograph is decoded when the first crop is cut from it, by the
    thread that cuts it, and forgotten when the window has left it.
    """

    def __init__(
        self, photographs: Sequence[Photograph], memory: int, stride: int, seed: int
    ) -> None:
        """`memory` bounds the window, `stride` is what it moves on at a step, both in bytes.

        Raises DataError if `memory` does not hold any two of the photographs.
        """
        largest = max(photographs, key=lambda photograph: photograph.nbytes)
        if memory < 2 * largest.nbytes:
            raise DataError(
                f"too little memory for images like {largest.name}: decoded it takes "
                f"{largest.nbytes / 2**30:.2g} GiB, give --memory twice as much"
            )
        self._photographs = photographs
        self._nbytes = np.array([photograph.nbytes for photograph in photographs], np.int64)
        self._total = int(self._nbytes.sum())
        # Of what begins within this reach, the last one ends within the memory.
        self._reach = memory - largest.nbytes
        self._stride = stride
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._new_order)
        self._decoded: dict[int, Pixels | None] = {}
        self._lock = Lock()

    def pool(self, step: int) -> Pool:
        """Return what crops are cut from at `step`; may be called by several threads at once."""
        window = self._window(step)
        with self._lock:
            for index in self._decoded.keys() - set(window.tolist()):
                del self._decoded[index]
        return Pool(self._nbytes[window], lambda place: self._pixels(int(window[place])))

    def _window(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the photographs that begin in the window of `step`."""
        first = step * self._stride
        last = first + self._reach
        parts = []
        for number in range(first // self._total, last // self._total + 1):
            order, starts = self._order(number)
            bounds = np.array([first, last]) - number * self._total
            begin, end = np.searchsorted(starts, bounds)
            parts.append(order[begin:end])
        return np.concatenate(parts)

    def _new_order(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the photographs in the order of a pass, and where each begins, in bytes."""
        seed = np.random.SeedSequence((self._seed, number), spawn_key=(1,))
        order = np.random.default_rng(seed).permutation(len(self._nbytes))
        ends = np.cumsum(self._nbytes[order])
        return order, ends - self._nbytes[order]

    def _pixels(self, index: int) -> Pixels | None:
        with self._lock:
            if index in self._decoded:
                return self._decoded[index]
        pixels = self._photographs[index].pixels()
        with self._lock:
            self._decoded[index] = pixels
        return pixels
