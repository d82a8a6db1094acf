"""Keeps NumPy's matrix products on the calling thread while they alternate with PyTorch's.

Each library has a pool of threads of its own, and those that wait for work spin for a while: with
as many threads as cores, every change of hands would cost milliseconds.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache

from threadpoolctl import ThreadpoolController

from vqcodec.forks import ForkSafeLock, in_child


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
