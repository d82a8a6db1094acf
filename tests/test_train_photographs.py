"""Image sources: what is read, what is skipped, what is an error."""

from __future__ import annotations

import io
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import CropSampler, whole_images
from train.errors import DataError
from train.photographs import Pixels, find_photographs, spread


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as shard:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))


def load(paths: list[Path]) -> list[Pixels]:
    photographs = find_photographs(paths)
    return spread(photographs, len(photographs))


def test_folder_is_read_recursively_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.png").write_bytes(png(noise(5, 7, 1)))
    (tmp_path / "a.png").write_bytes(png(noise(4, 6, 0)))
    (tmp_path / "notes.txt").write_text("no image")
    images = load([tmp_path])
    assert len(images) == 2
    np.testing.assert_array_equal(images[0], noise(4, 6, 0))
    np.testing.assert_array_equal(images[1], noise(5, 7, 1))


@pytest.mark.parametrize("name", ["s.tar", "s.tgz"])
def test_shard_gives_the_images_of_its_members(tmp_path: Path, name: str) -> None:
    members = {"x/0.png": png(noise(4, 6, 0)), "x/0.json": b"{}", "1.png": png(noise(5, 7, 1))}
    shard = tmp_path / name
    write_shard(shard, members)
    for source in (tmp_path, shard):
        images = load([source])
        assert [image.shape for image in images] == [(4, 6, 3), (5, 7, 3)]
        np.testing.assert_array_equal(images[0], noise(4, 6, 0))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(noise(8, 9)).convert(mode).save(tmp_path / "a.tif")
    (image,) = load([tmp_path])
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8


def test_unreadable_image_is_named_counted_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.png").write_bytes(png(noise(8, 8)))
    (tmp_path / "noise.jpg").write_bytes(b"no image at all")
    (tmp_path / "short.png").write_bytes(png(noise(64, 64))[:500])
    with caplog.at_level(logging.WARNING, "train"):
        images = load([tmp_path])
    assert [image.shape for image in images] == [(8, 8, 3)]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    assert "noise.jpg" in messages[0]
    assert messages[1] == "1 unreadable images skipped, 2 read"
    assert "short.png" in messages[2]
    assert messages[3] == "1 unreadable images skipped, 1 read"


def test_data_sets_without_a_usable_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load([tmp_path / "missing"])
    with pytest.raises(DataError, match="it has no image"):
        load([tmp_path])
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        load([tmp_path])
    (tmp_path / "list.txt").write_text("text")
    with pytest.raises(DataError, match="neither an image nor a tar shard"):
        load([tmp_path / "list.txt"])


def test_broken_shards_are_errors(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    write_shard(shard, {"0.png": png(noise(64, 64))})
    shard.write_bytes(shard.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"cannot read tar shard .*s\.tar"):
        load([shard])
    shard.write_bytes(b"this is not a tar file" * 100)
    with pytest.raises(DataError, match=r"cannot read tar shard .*s\.tar"):
        load([shard])


def test_data_sets_that_only_have_headers_are_errors(tmp_path: Path) -> None:
    (tmp_path / "short.png").write_bytes(png(noise(64, 64))[:500])
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        CropSampler.open([tmp_path], 1 << 20, 16, 1, 0)


def test_whole_images_are_cut_to_multiples_and_grouped_by_shape(tmp_path: Path) -> None:
    images = [noise(130, 200, 0), noise(70, 70, 1), noise(10, 300, 2), noise(128, 255, 3)]
    for number, image in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(png(image))
    photographs = find_photographs([tmp_path])
    batches = whole_images(photographs, limit=10)
    assert [batch.shape for batch in batches] == [(2, 3, 128, 192), (1, 3, 64, 64)]
    cut = images[0][1:129, 4:196]
    np.testing.assert_array_equal(batches[0][0].permute(1, 2, 0).numpy(), cut)
    assert sum(len(batch) for batch in whole_images(photographs, limit=2)) == 2
    with pytest.raises(DataError, match="at least 64 pixels"):
        whole_images(photographs[2:3], limit=10)
