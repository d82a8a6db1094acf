"""Streaming: what is drawn depends on the seed and the step alone, and memory is bounded."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train_photographs import noise, png, write_shard

from train.data import CropSampler, prefetch
from train.errors import DataError
from train.photographs import Photograph, find_photographs
from train.stream import Stream

SIDE = 8
NBYTES = 3 * SIDE**2


def flat(value: int, height: int = SIDE, width: int = SIDE) -> bytes:
    """Return a picture of one value, which tells every crop of it."""
    return png(np.full((height, width, 3), value, np.uint8))


@pytest.fixture
def photographs(tmp_path: Path) -> list[Photograph]:
    """Forty pictures of values 0 to 39, in two shards and a folder."""
    for shard in range(2):
        members = {f"{v}.png": flat(v) for v in range(15 * shard, 15 * shard + 15)}
        write_shard(tmp_path / f"{shard}.tar", members)
    for value in range(30, 40):
        (tmp_path / f"x{value}.png").write_bytes(flat(value))
    return find_photographs([tmp_path])


def values(stream: Stream, step: int, draws: int = 200) -> list[int]:
    rng, pool = np.random.default_rng(step), stream.pool(step)
    return [int(pool.draw(rng)[0, 0, 0]) for _ in range(draws)]


def test_window_moves_over_all_photographs_once_a_pass(photographs: list[Photograph]) -> None:
    stream = Stream(photographs, memory=10 * NBYTES, stride=NBYTES, seed=0)
    passes = []
    for start in (0, 40):
        seen = [set(values(stream, step)) for step in range(start, start + 32)]
        assert {len(window) for window in seen} == {9}
        assert set.union(*seen) == set(range(40))
        # At each step the one that has been in the window longest leaves it.
        left = [before - after for before, after in pairwise(seen)]
        assert {len(gone) for gone in left} == {1}
        passes.append([value for gone in left for value in gone])
        assert len(set(passes[-1])) == 31
    assert passes[0] != passes[1]


def test_photographs_are_decoded_once_and_no_more_than_memory_holds(
    photographs: list[Photograph],
) -> None:
    stream = Stream(photographs, memory=10 * NBYTES, stride=NBYTES, seed=0)
    for step in range(30):
        values(stream, step)
        assert len(stream._decoded) <= 10
    pool, rng = stream.pool(29), np.random.default_rng(0)
    assert len({id(pool.draw(rng)) for _ in range(200)}) == 9


def test_batches_are_the_same_wherever_a_run_begins_and_with_any_threads(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", {f"{i}.png": png(noise(20 + i, 40, i)) for i in range(12)})

    def sampler(batch: int, processes: int) -> CropSampler:
        return CropSampler.open([tmp_path], 10_000, 16, batch, 0, processes=processes)

    whole = list(prefetch(sampler(4, 1), 0, 30, 0, threads=1))
    resumed = list(prefetch(sampler(4, 1), 17, 30, 0, threads=4))
    assert all(torch.equal(a, b) for a, b in zip(whole[17:], resumed, strict=True))
    shared = [sampler(2, 2).batch(20, rank) for rank in range(2)]
    assert torch.equal(torch.cat(shared), whole[20])
    assert not torch.equal(whole[0], whole[1])


def test_only_what_exceeds_memory_is_streamed(
    photographs: list[Photograph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "train"):
        CropSampler.open([tmp_path], 40 * NBYTES, 8, 1, 0)
        assert "streamed" not in caplog.text
        CropSampler.open([tmp_path], 40 * NBYTES - 1, 8, 1, 0)
        assert "40 images are streamed" in caplog.text


def test_larger_photographs_are_drawn_more_often(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(flat(0, 8, 8))
    (tmp_path / "1.png").write_bytes(flat(1, 24, 8))
    stream = Stream(find_photographs([tmp_path]), memory=8 * NBYTES, stride=NBYTES, seed=0)
    share = np.mean([values(stream, step) for step in range(40)])
    assert 0.7 <= share <= 0.8


def test_unreadable_photograph_is_named_and_another_drawn(
    photographs: list[Photograph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "short.png").write_bytes(png(noise(SIDE, SIDE))[:80])
    found = find_photographs([tmp_path])
    assert len(found) == 41
    stream = Stream(found, memory=100 * NBYTES, stride=NBYTES, seed=0)
    assert set(values(stream, 0, 500)) == set(range(40))
    assert caplog.text.count("short.png") == 1


def test_data_sets_that_cannot_be_streamed_are_errors(tmp_path: Path) -> None:
    (tmp_path / "short.png").write_bytes(png(noise(SIDE, SIDE))[:80])
    found = find_photographs([tmp_path])
    with pytest.raises(DataError, match="none could be read"):
        values(Stream(found, memory=2 * NBYTES, stride=NBYTES, seed=0), 0)
    with pytest.raises(DataError, match=r"too little memory for images like .*short\.png"):
        Stream(found, memory=2 * NBYTES - 1, stride=NBYTES, seed=0)
