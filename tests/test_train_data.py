"""The crop sampler: what it cuts from an image, and what is reproducible."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.data import CropSampler, Halved, first_crops, halve, in_ycc, prefetch, soften_colour
from train.photographs import Pixels


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_batch_does_not_depend_on_how_many_processes_share_it() -> None:
    images = [noise(80, 90, 0), noise(70, 60, 1)]
    whole = CropSampler(images, 32, 6, seed=5, drawn=0.5)
    thirds = CropSampler(images, 32, 2, seed=5, drawn=0.5)
    for step in (0, 7):
        parts = torch.cat([thirds.batch(step, rank) for rank in range(3)])
        assert torch.equal(parts, whole.batch(step, 0))
        assert len({int(crop.sum()) for crop in parts}) == 6


def test_first_crops_are_those_of_the_first_steps() -> None:
    images = [noise(80, 90)]
    whole = CropSampler(images, 16, 6, seed=5)
    crops = first_crops(whole, 9, processes=1)
    assert torch.equal(crops, torch.cat([whole.batch(0, 0), whole.batch(1, 0)[:3]]))
    assert torch.equal(crops, first_crops(CropSampler(images, 16, 2, seed=5), 9, processes=3))


def test_batch_depends_on_seed_step_and_rank_alone() -> None:
    images = [noise(80, 90, 0), noise(70, 60, 1)]
    first, second = (CropSampler(images, 32, 4, seed=5) for _ in range(2))
    second.batch(0, 0)
    batch = first.batch(7, 1)
    assert batch.shape == (4, 3, 32, 32)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, second.batch(7, 1))
    others = [first.batch(8, 1), first.batch(7, 0), CropSampler(images, 32, 4, 6).batch(7, 1)]
    assert not any(torch.equal(batch, other) for other in others)


def test_crops_that_are_not_enlarged_are_turned_pieces_of_the_image() -> None:
    # Every pixel value occurs once, so a crop tells where it is from and how it was turned.
    values = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    image = np.repeat(values[..., None], 3, axis=2)
    turns = set()
    for step in range(150):
        crop = CropSampler([image], 8, 1, 0).batch(step, 0)[0, 0].numpy().astype(int)
        right, down = int(crop[0, 1] - crop[0, 0]), int(crop[1, 0] - crop[0, 0])
        rows, columns = np.mgrid[:8, :8]
        if {abs(right), abs(down)} == {1, 16} and np.array_equal(
            crop, crop[0, 0] + right * columns + down * rows
        ):
            turns.add((right, down))
    assert turns == {
        (a * s, b * t) for a, b in ((1, 16), (16, 1)) for s in (1, -1) for t in (1, -1)
    }


def test_some_crops_are_enlarged() -> None:
    checker = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 255)[..., None], 3, axis=2)
    sampler = CropSampler([checker.astype(np.uint8)], 16, 1, 0)
    values = [sampler.batch(step, 0) for step in range(200)]
    enlarged = sum(bool(((batch != 0) & (batch != 255)).any()) for batch in values)
    assert 40 <= enlarged <= 80


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (3, 3), (1, 1)])
def test_images_smaller_than_the_crop_are_reflected(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    batch = CropSampler([image], 16, 2, 0).batch(0, 0)
    assert batch.shape == (2, 3, 16, 16)
    assert float(batch.float().std()) > 0 or shape == (1, 1)


def test_images_are_drawn_by_area() -> None:
    white, black = np.full((90, 100, 3), 255, np.uint8), np.zeros((10, 100, 3), np.uint8)
    batch = CropSampler([black, white], 8, 1000, 0).batch(0, 0)
    share = float((batch[:, 0, 0, 0] == 255).float().mean())
    assert 0.86 <= share <= 0.94


def test_prefetch_yields_the_steps_in_order() -> None:
    sampler = CropSampler([noise(40, 40)], 8, 1, 0)
    for threads in (1, 3):
        batches = list(prefetch(sampler, 2, 12, 1, threads))
        assert len(batches) == 10
        for step, batch in enumerate(batches, start=2):
            assert torch.equal(batch, sampler.batch(step, 1))


def test_halved_crops_do_not_depend_on_how_many_processes_share_them() -> None:
    images = [noise(80, 90, 0), noise(70, 60, 1)]
    whole = Halved(CropSampler(images, 32, 6, seed=5), 5, soft=0.4, ycc=0.3)
    thirds = Halved(CropSampler(images, 32, 2, seed=5), 5, soft=0.4, ycc=0.3)
    parts = torch.cat([thirds.batch(3, rank) for rank in range(3)])
    assert parts.shape == (6, 3, 16, 16)
    assert torch.equal(parts, whole.batch(3, 0))
    plain = Halved(CropSampler(images, 32, 6, seed=5), 5, soft=0.0, ycc=0.0).batch(3, 0)
    assert torch.equal(plain, halve(CropSampler(images, 32, 6, seed=5).batch(3, 0)))
    soft = [not torch.equal(one, other) for one, other in zip(parts, plain, strict=True)]
    assert 0 < sum(soft) < 6


def test_softened_colours_have_no_fine_details_and_luma_keeps_its_own() -> None:
    y, x = np.mgrid[:64, :64]
    gray = 128 + 40 * np.sin(x * 2.5) * np.cos(y * 2.2)
    # The red is lighter by as much as its luma asks for, so that luma is that of the gray.
    red = 30 * np.sign(np.sin(x * 3) * np.sin(y * 3))
    planes = np.stack([gray + red, gray - 0.299 / 0.587 * red, gray], -1)
    image = torch.from_numpy(planes.round().astype(np.uint8)).permute(2, 0, 1)
    soft = soften_colour(image, np.random.default_rng(0)).float()
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    luma, luma_before = (weights * soft).sum(0), (weights * image).sum(0)
    assert float((luma - luma_before).abs().max()) < 1.5
    colour, before = soft[0] - soft[2], (image[0] - image[2].float())
    assert float(before.std()) > 20
    assert float((colour - colour.mean()).std()) < 0.5 * float(before.std())
    fine = colour[:, 1:] - colour[:, :-1]
    assert float(fine.std()) < 0.3 * float((before[:, 1:] - before[:, :-1]).std())


def test_crops_in_ycc_come_from_rounded_integers_of_soft_colours() -> None:
    noise_ = torch.from_numpy(noise(64, 64, 3)).permute(2, 0, 1)
    fine = []
    for seed in range(12):
        planes = in_ycc(noise_, np.random.default_rng(seed)).int()
        colour = planes[0] - planes[1]
        fine.append(float((colour[:, 1:] - colour[:, :-1]).float().std() / colour.float().std()))
    # White noise has 1.41, and enlarged colours far less; one crop in five keeps what it has.
    assert sum(step < 0.8 for step in fine) >= 7
    assert sum(step > 1.2 for step in fine) >= 1
