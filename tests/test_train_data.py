"""Image sources and the crop sampler: what is read, what is skipped, what is reproducible."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.data import CropSampler, Pixels, load_images, prefetch, whole_images
from train.errors import DataError


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))


def test_folder_is_read_recursively_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.png").write_bytes(png(noise(5, 7, 1)))
    (tmp_path / "a.png").write_bytes(png(noise(4, 6, 0)))
    (tmp_path / "notes.txt").write_text("no image")
    images = load_images([tmp_path])
    assert len(images) == 2
    np.testing.assert_array_equal(images[0], noise(4, 6, 0))
    np.testing.assert_array_equal(images[1], noise(5, 7, 1))


def test_shard_gives_the_images_of_its_members(tmp_path: Path) -> None:
    members = {"x/0.png": png(noise(4, 6, 0)), "x/0.json": b"{}", "1.png": png(noise(5, 7, 1))}
    write_shard(tmp_path / "s.tar", members)
    for source in (tmp_path, tmp_path / "s.tar"):
        images = load_images([source])
        assert [image.shape for image in images] == [(4, 6, 3), (5, 7, 3)]
        np.testing.assert_array_equal(images[0], noise(4, 6, 0))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(noise(8, 9)).convert(mode).save(tmp_path / "a.tif")
    (image,) = load_images([tmp_path])
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8


def test_images_beyond_memory_are_the_same_from_a_file(tmp_path: Path) -> None:
    expected = [noise(20 + i, 30, i) for i in range(4)]
    for index, pixels in enumerate(expected):
        (tmp_path / f"{index}.png").write_bytes(png(pixels))
    images = load_images([tmp_path], memory=expected[0].nbytes)
    assert [isinstance(image, np.memmap) for image in images] == [False, True, True, True]
    for image, pixels in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, pixels)


def test_unreadable_image_is_named_counted_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.png").write_bytes(png(noise(8, 8)))
    (tmp_path / "noise.jpg").write_bytes(b"no image at all")
    (tmp_path / "short.png").write_bytes(png(noise(64, 64))[:500])
    with caplog.at_level(logging.WARNING, "train"):
        images = load_images([tmp_path])
    assert [image.shape for image in images] == [(8, 8, 3)]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "noise.jpg" in messages[0]
    assert "short.png" in messages[1]
    assert messages[2].startswith("2 unreadable images skipped, 1 read")


def test_data_sets_without_a_usable_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_images([tmp_path / "missing"])
    with pytest.raises(DataError, match="it has no image"):
        load_images([tmp_path])
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        load_images([tmp_path])
    (tmp_path / "list.txt").write_text("text")
    with pytest.raises(DataError, match="neither an image nor a tar shard"):
        load_images([tmp_path / "list.txt"])


def test_broken_shards_are_errors(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    write_shard(shard, {"0.png": png(noise(64, 64))})
    shard.write_bytes(shard.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"cannot read tar shard .*s\.tar"):
        load_images([shard])
    shard.write_bytes(b"this is not a tar file" * 100)
    with pytest.raises(DataError, match=r"cannot read tar shard .*s\.tar"):
        load_images([shard])


def test_batch_does_not_depend_on_how_many_processes_share_it() -> None:
    images = [noise(80, 90, 0), noise(70, 60, 1)]
    whole = CropSampler(images, 32, 6, seed=5, drawn=0.5)
    thirds = CropSampler(images, 32, 2, seed=5, drawn=0.5)
    for step in (0, 7):
        parts = torch.cat([thirds.batch(step, rank) for rank in range(3)])
        assert torch.equal(parts, whole.batch(step, 0))
        assert len({int(crop.sum()) for crop in parts}) == 6


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


def test_whole_images_are_cut_to_multiples_and_grouped_by_shape() -> None:
    images = [noise(130, 200, 0), noise(70, 70, 1), noise(10, 300, 2), noise(128, 255, 3)]
    batches = whole_images(images, limit=10)
    assert [batch.shape for batch in batches] == [(2, 3, 128, 192), (1, 3, 64, 64)]
    cut = images[0][1:129, 4:196]
    np.testing.assert_array_equal(batches[0][0].permute(1, 2, 0).numpy(), cut)
    assert sum(len(batch) for batch in whole_images(images, limit=2)) == 2
    with pytest.raises(DataError, match="at least 64 pixels"):
        whole_images([noise(10, 300)], limit=10)
