"""Drawn pictures for training: of every kind, and the same for the same random numbers."""

from __future__ import annotations

import numpy as np

from train.data import CropSampler
from train.drawings import drawn, on_page


def test_drawings_are_pictures_of_many_kinds() -> None:
    rng = np.random.default_rng(0)
    pictures = [drawn(rng, 48) for _ in range(80)]
    assert all(picture.shape == (48, 48, 3) and picture.dtype == np.uint8 for picture in pictures)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in pictures]
    assert colours.count(1) > 4
    assert colours.count(2) > 8
    assert max(colours) > 40
    # Of one-pixel patterns every pixel differs from the next.
    steps = [(np.diff(picture.astype(int), axis=1) != 0).any(2).mean() for picture in pictures]
    assert max(steps) == 1


def test_an_object_on_a_page_keeps_its_pixels() -> None:
    photograph = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    page = on_page(np.random.default_rng(2), photograph)
    kept = (page == photograph).all(2)
    assert 0.02 < kept.mean() < 0.98
    assert len(np.unique(page[~kept], axis=0)) == 1


def test_some_crops_are_drawn_and_all_are_repeatable() -> None:
    images = [np.full((90, 90, 3), 107, np.uint8)]
    sampler, again = (CropSampler(images, 32, 50, seed=4, drawn=0.1) for _ in range(2))
    batch = sampler.batch(7, 0)
    assert (batch == again.batch(7, 0)).all()
    other = (batch != 107).flatten(1).any(1)
    assert 0 < other.sum() < 20
    assert (CropSampler(images, 32, 50, seed=4).batch(7, 0) == 107).all()
