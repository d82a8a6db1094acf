"""How many threads work on an image, in PyTorch and in onnxruntime, and what they leave behind."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import local

from vqcodec.forks import forks

_of_this_thread = local()


def use(number: int | None) -> None:
    """Let the calling thread share its work with others, so that there are `number` in all.

    None stands for as many as there are by themselves; PyTorch keeps those that it has.
    """
    _of_this_thread.number = number
    if "torch" in sys.modules:
        share_with_torch()


def share_with_torch() -> None:
    """Tell PyTorch what the calling thread was told to use, if anything."""
    number: int | None = getattr(_of_this_thread, "number", None)
    if number is not None:
        import torch

        torch.set_num_threads(number)


def same_as_here() -> Callable[[], None]:
    """Return what lets another thread use as many as the calling one."""
    told: int | None = getattr(_of_this_thread, "number", None)

    def begin() -> None:
        _of_this_thread.number = told

    return begin


def number() -> int:
    """Return how many threads there are: as many as asked for, or as processors; one after a fork.

    OMP_NUM_THREADS, which PyTorch goes by, counts here too.
    """
    if forks():
        return 1
    told: int | None = getattr(_of_this_thread, "number", None)
    if told is not None:
        return told
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def release_memory() -> None:
    """Give back to the system what the C library keeps of freed memory, where it is glibc.

    What tiles and strips leave behind is in pieces too small to be given back by themselves.
    """
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
