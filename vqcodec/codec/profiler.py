"""Where the time of a call goes: a profiler that is passed in, so that a codec keeps no state."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Profiler:
    """Adds up the seconds of the stages of calls: analysis, quantize, entropy, synthesis.

    One serves one call at a time. Stages may overlap: decoding does entropy and synthesis at once.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
