"""Python's garbage collector, which looks through PyTorch's modules for what is not there.

They are a few hundred thousand objects, all of them in use: while they are imported that takes a
sixth of a second, and when a program ends a third.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_rest() -> Iterator[None]:
    """Let the collector rest, unless it does so already."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def spare_at_exit() -> None:
    """Let the end of the program leave to the system what is in memory then."""
    atexit.register(gc.freeze)
