"""The threads of NumPy's part: strips or tiles at once, each with its products on its own thread.

PyTorch has a pool of threads, and so has BLAS; those that wait for work spin for a while: with as
many threads as cores, every change of hands would cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from vqcodec import threads
from vqcodec.forks import ForkSafeLock, in_child

Item = TypeVar("Item")

# Positions that are worked on at a time: what bounds the memory of float32. Fewer are not worth a
# thread of their own: grids of 3,000 took a fifth longer with two.
STRIP = 16384


class OneBlasThread:
    """A context that limits BLAS to one thread.

    The limit is the process's. Threads that code at the same time share it: the first to enter sets
    it, and the last to leave lifts it. A child process has none of them, and keeps the limit if
    there was one.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        self._users = 0
        self._limit = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._limit.enter_context(_libraries().limit(limits=1))
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.close()


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


one_blas_thread = OneBlasThread()


def in_strips(work: Callable[[slice], None], rows: int, width: int = 1) -> None:
    """Do `work` for all of so many rows, of `width` positions each, in strips of rows.

    As many at once as the calling thread may use, see `vqcodec.threads`.
    """
    at_once = max(1, min(threads.number(), rows * width // STRIP))
    size = max(1, min(STRIP // width, -(-rows // at_once)))
    strips = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    side_by_side(work, strips, at_once)
    if at_once > 1:
        threads.release_memory()


def side_by_side(work: Callable[[Item], None], items: Sequence[Item], at_once: int) -> None:
    """Do `work` for all items, so many at once."""
    if at_once == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(work, items):
            pass
