"""Levels of indices that are decoded while others work on the first of them.

Entropy decoding needs no pixels, and synthesis of a level none of the bits after it: on two
processors the one hides behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

from vqcodec import threads
from vqcodec.codec.profiler import Profiler
from vqcodec.entropy.levels import Symbols


class Arriving(Sequence[Symbols]):
    """The first `count` levels of a walk, which a thread goes as long as the context lasts.

    A level that is not there yet is waited for, and what the walk raises there is raised.
    """

    def __init__(self, walk: Iterator[Symbols], count: int, profiler: Profiler) -> None:
        self._walk, self._profiler = walk, profiler
        self._pool = ThreadPoolExecutor(1, initializer=threads.same_as_here())
        self._levels = [self._pool.submit(self._next) for _ in range(count)]

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._levels)

    @overload
    def __getitem__(self, number: int) -> Symbols: ...
    @overload
    def __getitem__(self, number: slice) -> list[Symbols]: ...
    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [level.result() for level in self._levels[number]]
        return self._levels[number].result()

    def _next(self) -> Symbols:
        with self._profiler.stage("entropy"):
            return next(self._walk)
