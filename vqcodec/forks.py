"""What a forked child process begins with: locks that are free, and PyTorch on one thread.

A fork copies the thread that calls it and no other. A lock that another thread held stays held in
the child, and a pool of threads waits for ever for those that only the parent has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from threading import Lock

_forked_with_torch = False
_forks = 0


class ForkSafeLock:
    """A lock for as long as the program runs, of which a child process gets a free one."""

    def __init__(self) -> None:
        self._lock = Lock()
        in_child(self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = Lock()


def in_child(work: Callable[[], object]) -> None:
    """Have `work` done in every child process right after the fork, where there are forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=work)


@cache
def keep_torch_to_one_thread() -> None:
    """Let PyTorch have one thread in every child process, and in this one if it is such a child.

    To be called by what loads a model: other programs may fork too, with PyTorch unused so far.
    """
    import torch

    def limit() -> None:
        torch.set_num_threads(1)

    in_child(limit)
    if _forked_with_torch:
        limit()


def forks() -> int:
    """Return how many forks there are between this process and the program's first."""
    return _forks


def _remember() -> None:
    global _forked_with_torch, _forks
    _forked_with_torch = _forked_with_torch or "torch" in sys.modules
    _forks += 1


in_child(_remember)
