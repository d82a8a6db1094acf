"""Conformance: the golden files decode to the same indices and pixels, however they are decoded."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import FOLDER, cases, stored_indices
from numpy.typing import NDArray
from pictures import SAMPLE
from PIL import Image
from reference import Reference, parse

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.entropy.schedule import ONE_TILE
from vqcodec.fileformat.container import ChunkTag, read_header, unpack
from vqcodec.threads import use

NAMES = sorted(path.stem for path in FOLDER.glob("*.vqc"))
# PyTorch takes its time for pixels, and tiles are a matter of indices alone.
SMALL = [name for name in NAMES if name != "tiles"]


@pytest.fixture(scope="module")
def in_torch() -> Codec:
    """The shipped model, which decodes in PyTorch too."""
    return Codec.load(device="cpu", dtype=torch.float32)


def data_of(name: str) -> bytes:
    return (FOLDER / f"{name}.vqc").read_bytes()


def same_indices(indices: Sequence[Sequence[NDArray[Any]]], name: str) -> None:
    for own, stored in zip(indices, stored_indices()[name], strict=True):
        for part, expected in zip(own, stored, strict=True):
            np.testing.assert_array_equal(part, expected)


def check(codec: Codec, name: str, *, off_by: int = 1) -> None:
    data = data_of(name)
    same_indices(codec.file_tokens(data).indices, name)
    picture = Image.open(FOLDER / f"{name}.png")
    decoded = codec.decode(data)
    assert (decoded.mode, decoded.size) == (picture.mode, picture.size)
    off = abs(np.array(decoded, int) - np.array(picture, int))
    assert off.max() <= off_by
    chunks = unpack(data).chunks
    if ChunkTag.ALPHA in chunks:
        assert not off[..., -1].any()  # opacity is stored as it is
    assert decoded.info.get("icc_profile") == chunks.get(ChunkTag.ICC)
    assert decoded.info.get("exif", b"").removeprefix(b"Exif\0\0") == chunks.get(ChunkTag.EXIF, b"")
    assert decoded.info.get("xmp") == chunks.get(ChunkTag.XMP)


def test_the_files_cover_the_format() -> None:
    assert len(NAMES) >= 40
    assert sorted(case.name for case in cases()) == NAMES == sorted(stored_indices())
    files = [unpack(data_of(name)) for name in NAMES]
    assert {file.header.model_id for file in files} == {weights.find(weights.DEFAULT).model_id}
    assert {file.header.gray for file in files} == {file.header.cut for file in files} == {0, 1}
    assert {tag for file in files for tag in file.chunks} == set(ChunkTag)
    assert {1, 50, 100} < {file.header.quality for file in files}
    assert any(not file.payload for file in files)
    assert any(file.header.width % 64 == 0 for file in files)
    assert any(file.header.width * file.header.height > 64 * ONE_TILE for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_indices_and_pixels(codec: Codec, name: str) -> None:
    check(codec, name)


def check_all(codec: Codec, names: list[str]) -> None:
    for name in names:
        check(codec, name)


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_of_threads(codec: Codec, in_torch: Codec, count: int) -> None:
    with ThreadPoolExecutor(1, initializer=use, initargs=(count,)) as pool:
        for each, names in ((codec, NAMES), (in_torch, SMALL)):
            pool.submit(check_all, each, names).result()


def test_without_onednn(in_torch: Codec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TF32, which nobody asked for
        with torch.backends.mkldnn.flags(enabled=False):
            check_all(in_torch, SMALL)


def test_double_precision() -> None:
    check_all(Codec.load(device="cpu", dtype=torch.float64), SMALL)


def test_bfloat16_keeps_the_indices_and_coarser_pixels() -> None:
    # Eight bits of mantissa are too few for eight bits a pixel: they were off by 4 at most.
    codec = Codec.load(device="cpu", dtype=torch.bfloat16)
    for name in SMALL:
        check(codec, name, off_by=12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu() -> None:
    check_all(Codec.load(device="cuda"), NAMES)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(weights.find(weights.DEFAULT).path)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_decoder_reads_the_same(reference: Reference, name: str) -> None:
    data = data_of(name)
    same_indices(reference.indices(data), name)
    assert parse(data).model_id == reference.model_id
    file, (header, _) = parse(data), read_header(data)
    assert (file.width, file.height, file.quality) == (header.width, header.height, header.quality)
    assert (file.gray, file.cut, file.model_id) == (header.gray, header.cut, header.model_id)
    assert file.chunks == unpack(data).chunks


@pytest.mark.parametrize("name", NAMES)
def test_a_second_decoder_shows_the_same(reference: Reference, name: str) -> None:
    same_pixels(reference.pixels(data_of(name)), Image.open(FOLDER / f"{name}.png"))


def same_pixels(pixels: NDArray[Any], picture: Image.Image) -> None:
    expected = np.array(picture, int)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (150, 100)])
def test_the_second_decoder_reads_the_other_tune(size: tuple[int, int]) -> None:
    tuned = Codec.load(weights.TUNED["psnr"], device="cpu")
    photo = Image.open(SAMPLE).convert("RGB").resize(size)
    chosen = tuned.tokenize(photo, quality=60).indices
    data = tuned.encode(photo, quality=60)
    second = Reference(weights.find(weights.TUNED["psnr"]).path)
    for level, stored in zip(chosen, tuned.file_tokens(data).indices, strict=True):
        assert all(np.array_equal(*groups) for groups in zip(level, stored, strict=True))
    for level, read in zip(chosen, second.indices(data), strict=True):
        assert all(np.array_equal(*groups) for groups in zip(level, read, strict=True))
    same_pixels(second.pixels(data), tuned.decode(data))


def test_the_second_decoder_shares_nothing_with_the_first() -> None:
    files = list(Path(__file__).with_name("reference").glob("*.py"))
    assert files
    for path in files:
        source = path.read_text(encoding="utf-8")
        imports = [line for line in source.splitlines() if line.startswith(("import", "from"))]
        assert not [line for line in imports if "vqcodec" in line or "torch" in line]
        for node in ast.walk(ast.parse(source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in names:
                assert name.split(".")[0] in {"numpy", "PIL", *sys.stdlib_module_names}
