"""Zarr arrays of .vqc chunks: read again elsewhere and in part, and refused where they are none."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pictures import SAMPLE
from PIL import Image

import vqcodec
from vqcodec import metrics

zarr = pytest.importorskip("zarr", reason="takes vqcodec[zarr]")

if TYPE_CHECKING:
    from vqcodec.fileformat.image import Pixels


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder; the package is the one that is installed."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pixels() -> Pixels:
    """A part of the sample, uint8 `[100, 130, 3]`: chunks of 64 do not divide it."""
    return np.asarray(Image.open(SAMPLE).convert("RGB"))[40:140, 60:190]


def create(pixels: Pixels, name: str = "photo.zarr", **options: Any) -> Any:
    """Write an array to a folder of that name in chunks of 64, and open it again."""
    from vqcodec.zarr import VqcCodec

    given: dict[str, Any] = {
        "chunks": (64, 64, *pixels.shape[2:]),
        "serializer": VqcCodec(quality=70),
        "compressors": None,
    }
    array = zarr.create_array(name, shape=pixels.shape, dtype=pixels.dtype, **given | options)
    array[:] = pixels
    return zarr.open_array(name, mode="r")


def apart(one: Any, other: Any) -> int:
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def test_the_installed_package_says_where_the_codec_is() -> None:
    (found,) = entry_points(group="zarr.codecs", name="vqcodec") or pytest.fail(
        "the package was installed before it had this entry point: pip install -e . again"
    )
    from vqcodec.zarr import VqcCodec

    assert found.load() is VqcCodec


def test_chunks_are_files_of_the_library(pixels: Pixels) -> None:
    array = create(pixels)
    data = Path("photo.zarr/c/0/1/0").read_bytes()
    assert data == vqcodec.encode(pixels[:64, 64:128], quality=70)
    assert np.array_equal(array[:64, 64:128], np.asarray(vqcodec.decode(data)))
    assert array.shape == pixels.shape
    assert 30 < metrics.psnr(pixels, array[:]) < 60
    assert array.nbytes_stored() < pixels.nbytes / 8


def test_metadata_say_that_it_is_lossy(pixels: Pixels) -> None:
    create(pixels[..., 0])
    (codec,) = json.loads(Path("photo.zarr/zarr.json").read_text())["codecs"]
    assert codec == {
        "name": "vqcodec",
        "configuration": {"lossy": True, "quality": 70, "tune": None},
    }


def test_a_process_of_its_own_reads_it(pixels: Pixels) -> None:
    colour = create(pixels)
    gray = create(pixels[..., 1], name="gray.zarr")
    program = (
        "import sys, zarr\n"
        "for name in ('photo.zarr', 'gray.zarr'):\n"
        "    sys.stdout.buffer.write(zarr.open_array(name)[:].tobytes())"
    )
    read = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
    assert apart(np.frombuffer(read[: pixels.size], np.uint8), colour[:].ravel()) <= 1
    assert apart(np.frombuffer(read[pixels.size :], np.uint8), gray[:].ravel()) <= 1
    assert metrics.psnr(pixels[..., 1], gray[:]) > 30


def test_quality_and_tune_count(pixels: Pixels) -> None:
    from vqcodec.zarr import VqcCodec

    options = (VqcCodec(10), VqcCodec(90), VqcCodec(90, "psnr"))
    arrays = [
        create(pixels, name=f"{number}.zarr", serializer=codec)
        for number, codec in enumerate(options)
    ]
    coarse, fine, exact = (metrics.psnr(pixels, array[:]) for array in arrays)
    assert coarse + 3 < fine < exact


def test_gray_values_in_colour_chunks_stay_colour_chunks(pixels: Pixels) -> None:
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    assert metrics.psnr(gray, create(gray)[:]) > 30


# In part


@pytest.mark.parametrize(
    "selection",
    [
        np.s_[10:20, 30:35],
        np.s_[60:70, 100:125],
        np.s_[5:95:7, ::9],
        np.s_[33, 44],
        np.s_[99, :],
        np.s_[70:80, 20, 2],
    ],
)
def test_a_part_is_that_part_of_the_whole(pixels: Pixels, selection: Any) -> None:
    array = create(pixels)
    part = array[selection]
    assert part.shape == pixels[selection].shape
    assert apart(part, array[:][selection]) <= 1


def test_chosen_rows_and_points(pixels: Pixels) -> None:
    array = create(pixels)
    whole = array[:]
    rows, columns = [3, 70, 71], [129, 5, 64]
    assert apart(array.oindex[rows, columns], whole[np.ix_(rows, columns)]) <= 1
    assert apart(array.vindex[rows, columns, [0, 2, 1]], whole[rows, columns, [0, 2, 1]]) <= 1
    mask = np.zeros(100, bool)
    mask[[0, 99]] = True
    assert apart(array.oindex[mask, 7:9], whole[mask, 7:9]) <= 1


def test_a_part_makes_no_more_than_that_region(
    pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = []

    def noted(data: bytes, *, region: Any) -> Image.Image:
        regions.append(region)
        return vqcodec.decode(data, region=region)

    monkeypatch.setattr("vqcodec.zarr.decode", noted)
    create(pixels)[70:74, 60:70]
    assert sorted(regions) == [(0, 6, 6, 4), (60, 6, 4, 4)]


def test_chunks_that_were_never_written_are_the_fill_value(pixels: Pixels) -> None:
    array = create(np.full_like(pixels, 9), fill_value=9)
    assert not Path("photo.zarr/c").exists()
    assert (array[3:5, 60:70] == 9).all()


def test_chunks_in_shards(pixels: Pixels) -> None:
    array = create(pixels, shards=(128, 128, 3))
    assert metrics.psnr(pixels, array[:]) > 30
    assert apart(array[60:70, 100:125], array[:][60:70, 100:125]) <= 1


def test_dask_reads_it_with_threads(pixels: Pixels) -> None:
    dask_array = pytest.importorskip("dask.array", reason="takes dask[array]")
    array = create(pixels)
    lazy = dask_array.from_zarr("photo.zarr")
    assert lazy.numblocks == (2, 3, 1)
    assert apart(lazy.compute(scheduler="threads", num_workers=4), array[:]) <= 1


# What it refuses


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("uint16", (64, 64)),
        ("float32", (64, 64, 3)),
        ("uint8", (64,)),
        ("uint8", (64, 64, 4)),
        ("uint8", (3, 64, 64)),
        ("uint8", (64, 64, 3, 1)),
    ],
)
def test_other_types_and_shapes(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 chunks \(y, x\) or \(y, x, 3\), not " + dtype):
        create(np.zeros(shape, dtype), chunks=shape)
    assert not Path("photo.zarr/zarr.json").exists()


def test_other_chunks_within_a_shard(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match=r"not uint8 \(64, 64, 1\)"):
        create(pixels, chunks=(64, 64, 1), shards=(128, 128, 3))


def test_arguments_that_make_no_sense() -> None:
    from vqcodec.zarr import VqcCodec

    with pytest.raises(ValueError, match="quality 101"):
        VqcCodec(quality=101)
    with pytest.raises(TypeError, match="quality"):
        VqcCodec(quality=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot tune for 'speed'"):
        VqcCodec(tune="speed")
    known = VqcCodec(quality=3, tune="psnr").to_dict()
    assert VqcCodec.from_dict(known) == VqcCodec(3, "psnr")
    for wrong in ({"lossy": False}, {"lossy": True, "lambda": 3}, {}):
        with pytest.raises(ValueError, match="not a configuration of the codec vqcodec"):
            VqcCodec.from_dict({"name": "vqcodec", "configuration": wrong})


def test_a_chunk_of_another_size_or_a_damaged_one(pixels: Pixels) -> None:
    array = create(pixels)
    path = Path("photo.zarr/c/0/0/0")
    path.write_bytes(vqcodec.encode(pixels[:30, :64]))
    with pytest.raises(vqcodec.CorruptError, match="64x30 pixels in place of a chunk"):
        array[:5, :5]
    path.write_bytes(vqcodec.encode(pixels[:64, :64])[:-1])
    with pytest.raises(vqcodec.TruncatedError):
        array[:5, :5]
