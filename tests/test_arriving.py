"""Levels that arrive while others work on the first: what is waited for, what is raised."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

import numpy as np
import pytest

from vqcodec import threads
from vqcodec.codec.arriving import Arriving
from vqcodec.codec.profiler import Profiler
from vqcodec.entropy.levels import Symbols
from vqcodec.errors import CorruptError


def level(number: int) -> Symbols:
    return [np.full((1, 4), number, np.uint8)]


def test_a_level_is_there_before_the_next_one_is() -> None:
    go_on = Event()

    def walk() -> Iterator[Symbols]:
        yield level(0)
        assert go_on.wait(60)
        yield level(1)

    with Arriving(walk(), 2, Profiler()) as levels:
        assert levels[0][0].tolist() == level(0)[0].tolist()
        go_on.set()
        assert [groups[0][0, 0] for groups in levels] == [0, 1]
        assert [groups[0][0, 0] for groups in levels[1:]] == [1]


def test_what_a_walk_raises_is_raised_where_the_level_is_missing() -> None:
    def walk() -> Iterator[Symbols]:
        yield level(0)
        raise CorruptError("the index stream is not valid")

    with Arriving(walk(), 3, Profiler()) as levels:
        assert levels[0]
        with pytest.raises(CorruptError, match="not valid"):
            levels[1]


def test_the_walk_ends_with_the_context() -> None:
    visited = []

    def walk() -> Iterator[Symbols]:
        for number in range(100):
            visited.append(number)
            time.sleep(0.2)
            yield level(number)

    with Arriving(walk(), 100, Profiler()):
        pass
    assert len(visited) < 100


def test_the_walk_uses_as_many_threads_as_its_caller_may() -> None:
    def walk() -> Iterator[Symbols]:
        yield level(threads.number())

    threads.use(3)
    try:
        with Arriving(walk(), 1, Profiler()) as levels:
            assert levels[0][0][0, 0] == 3
    finally:
        threads.use(None)
