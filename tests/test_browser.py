"""The decoder for browsers, run in Node, and its page: what it reads and refuses is what ours does."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from golden import FOLDER, stored_indices
from hatchling.builders.wheel import WheelBuilder
from numpy.typing import NDArray
from PIL import Image
from reference import Reference, Refused
from test_container import header_of, sealed
from test_format_page import CHUNKS, UNKNOWN_CHUNK, WITH_CHUNKS
from test_format_page import png as pillow_png
from test_scales import path as other_weights  # noqa: F401  # a fixture: networks of other shapes

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.errors import CorruptError
from vqcodec.fileformat.container import ChunkTag, pack, unpack

if TYPE_CHECKING:
    from chromium import Chromium

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vqcodec" / "browser"
NAMES = sorted(path.stem for path in FOLDER.glob("*.vqc"))
OLDEST_NODE = 20

Levels = Sequence[Sequence[NDArray[Any]]]


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("npm")
    if program is None:
        pytest.skip("there is no program called npm")
    return subprocess.run([program, *arguments], cwd=PACKAGE, capture_output=True, text=True)


@pytest.fixture(scope="session")
def node() -> str:
    """The program, the package being built."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no program called node")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version.strip()}, older than {OLDEST_NODE}")
    if not (PACKAGE / "node_modules").is_dir():
        done = npm("ci", "--no-audit", "--no-fund")
        if done.returncode:
            pytest.skip(f"{PACKAGE}/node_modules is not there, and npm ci failed: {done.stderr}")
    built = npm("run", "library")
    assert built.returncode == 0, built.stdout + built.stderr
    return program


def told(
    node: str,
    model: Path,
    out: Path,
    files: Mapping[str, bytes],
    *,
    engine: str = "onnx",
    extent: str = "whole",
) -> dict[str, dict[str, Any]]:
    """What the decoder tells of files; pixels are `pixels`, uint8 `[H, W, 4]`."""
    paths = [out / f"{name}.vqc" for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    command = [node, "test/dump.mjs", engine, extent, model, out, *paths]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))
    for name, answer in result.items():
        if "width" in answer:
            shape = answer["height"], answer["width"], 4
            answer["pixels"] = np.fromfile(out / f"{name}.rgba", np.uint8).reshape(shape)
    return result


def same_indices(read: Sequence[Sequence[list[int]]], expected: Levels) -> None:
    for level, groups in zip(read, expected, strict=True):
        for group, other in zip(level, groups, strict=True):
            np.testing.assert_array_equal(group, other.ravel())


def same_pixels(answer: dict[str, Any], picture: Image.Image) -> None:
    """No more than one code value away, and opacity that is stored as it is the same."""
    assert answer["alpha"] == (picture.mode in ("LA", "RGBA"))
    assert answer["gray"] == (picture.mode in ("L", "LA"))
    expected = np.array(picture.convert("RGBA"), int)
    assert answer["pixels"].shape == expected.shape
    assert abs(answer["pixels"] - expected).max() <= 1


# the golden files


@pytest.fixture(scope="module")
def golden(node: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    files = {name: (FOLDER / f"{name}.vqc").read_bytes() for name in NAMES}
    model = weights.find(weights.DEFAULT).path
    return told(node, model, tmp_path_factory.mktemp("golden"), files)


@pytest.mark.parametrize("name", NAMES)
def test_indices_pixels_and_chunks(golden: dict[str, dict[str, Any]], name: str) -> None:
    answer = golden[name]
    assert "error" not in answer
    same_indices(answer["indices"], stored_indices()[name])
    same_pixels(answer, Image.open(FOLDER / f"{name}.png"))
    file = unpack((FOLDER / f"{name}.vqc").read_bytes())
    assert (answer["quality"], answer["cut"]) == (file.header.quality, file.header.cut)
    named = {"icc": ChunkTag.ICC, "exif": ChunkTag.EXIF, "xmp": ChunkTag.XMP}
    kept = {named[kind]: bytes.fromhex(data) for kind, data in answer["chunks"]}
    assert kept == {tag: data for tag, data in file.chunks.items() if tag in named.values()}
    if ChunkTag.ALPHA in file.chunks:
        stored = np.array(Image.open(FOLDER / f"{name}.png").getchannel("A"))
        np.testing.assert_array_equal(answer["pixels"][..., 3], stored)


@pytest.mark.parametrize("engine", ["plain", "strips"])
def test_any_engine_shows_the_same(node: str, tmp_path: Path, engine: str) -> None:
    names = ("size-100x37", "gray-75", "cut-200")
    files = {name: (FOLDER / f"{name}.vqc").read_bytes() for name in names}
    model = weights.find(weights.DEFAULT).path
    for name, answer in told(node, model, tmp_path, files, engine=engine).items():
        same_pixels(answer, Image.open(FOLDER / f"{name}.png"))


def test_a_preview_is_the_picture_that_the_coarse_levels_are(
    golden: dict[str, dict[str, Any]], codec: Codec, node: str, tmp_path: Path
) -> None:
    data = (FOLDER / "size-64x64.vqc").read_bytes()
    (answer,) = told(node, weights.find(weights.DEFAULT).path, tmp_path, {"a": data}).values()
    width, height = answer["preview"]
    preview = np.fromfile(tmp_path / "a.preview", np.uint8).reshape(height, width, 4)[..., :3]
    scale = 2 * 64 // width
    halved = preview.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    expected = np.array(codec.decode(data, scale=scale).convert("RGB"), float)
    assert abs(halved - expected).max() <= 1.5
    # Colours that opacity hides are not to be seen in a preview either.
    assert not any("preview" in answer for answer in golden.values() if answer.get("alpha"))


# networks and files of other kinds


@pytest.mark.parametrize("size", [(170, 118), (1, 1)])
@pytest.mark.slow
def test_networks_of_other_shapes(
    node: str,
    other_weights: Path,  # noqa: F811
    tmp_path: Path,
    photo: Image.Image,
    size: tuple[int, int],
) -> None:
    codec = Codec.load(other_weights, device="cpu")
    data = codec.encode(photo.resize(size), quality=70)
    parts = {"whole": data, "half": data[: len(data) // 2], "header": data[:40]}
    answers = told(node, other_weights, tmp_path, parts, extent="partial")
    for name, part in parts.items():
        same_pixels(answers[name], codec.decode(part, partial=True))
    same_indices(answers["whole"]["indices"], codec.file_tokens(data).indices)


def test_groups_of_codebooks(
    node: str, tiny_codec: Codec, tiny_weights: Path, tmp_path: Path, photo: Image.Image
) -> None:
    data = tiny_codec.encode(photo, quality=90)
    (answer,) = told(node, tiny_weights, tmp_path, {"a": data}).values()
    same_indices(answer["indices"], tiny_codec.file_tokens(data).indices)
    same_pixels(answer, tiny_codec.decode(data))


def test_what_is_there_of_a_truncated_file(node: str, codec: Codec, tmp_path: Path) -> None:
    whole = (FOLDER / "quality-80.vqc").read_bytes()
    files = {str(size): whole[:size] for size in (14, 15, 40, 60, 150, len(whole) - 1)}
    model = weights.find(weights.DEFAULT).path
    answers = told(node, model, tmp_path, files, extent="partial")
    for name, data in files.items():
        assert answers[name]["cut"]
        same_pixels(answers[name], codec.decode(data, partial=True))


@pytest.mark.parametrize("cut", [False, True])
def test_any_stream_is_read_alike(node: str, codec: Codec, tmp_path: Path, cut: bool) -> None:
    rng = np.random.default_rng(2)
    header = replace(unpack(CHUNKS).header, width=1, height=1, cut=cut)
    frame = replace(unpack(CHUNKS), header=header, chunks={})
    streams = [rng.bytes(size) for size in (0, 1, 7, 8, 30, 300)]
    streams += [b"\xff" * 8, b"\xff" * 41, b"\0" * 9 + b"\xff" * 40]
    files = {str(n): pack(replace(frame, payload=stream)) for n, stream in enumerate(streams)}
    answers = told(node, weights.find(weights.DEFAULT).path, tmp_path, files)
    for name, data in files.items():
        try:
            expected = codec.file_tokens(data).indices
        except CorruptError:
            assert answers[name]["error"] == CorruptError.__name__
            continue
        same_indices(answers[name]["indices"], expected)


# what is refused


def damaged() -> Iterable[bytes]:
    """Prefixes, changes that checksums fit and do not fit, and what follows the end."""
    yield from (CHUNKS[:size] for size in range(len(CHUNKS)))
    yield from (UNKNOWN_CHUNK[:size] for size in range(len(UNKNOWN_CHUNK) + 1))
    for offset in range(len(UNKNOWN_CHUNK)):
        for change in (1, 2, 0x80, 0xFF):
            data = bytearray(UNKNOWN_CHUNK)
            data[offset] ^= change
            yield bytes(data)
            changed = header_of(data[:12].hex()) + data[14:]
            yield sealed(bytes(changed[:-4]))
            yield sealed(bytes(changed[:-6]))
            yield bytes(changed) + b"."
    sizes = ("0032 818004 01", "0032 01 818004", "0032 808004 808004", "0032 ffffffff0f 01")
    for flags_and_size in (*sizes, "0032 ffffffff1f 01", "0032 8000 01", "0032 ffffffffff01 01"):
        yield sealed(header_of("56514301 deadbeef" + flags_and_size) + b"\x01S")
    yield sealed(header_of(WITH_CHUNKS) + b"\x01\x01\xff\xff\xff\xff\x0f")
    yield CHUNKS + b"."


def refused_as(reference: Reference, data: bytes) -> str | None:
    try:
        reference.pixels(data)
    except Refused as refused:
        return refused.error
    return None


def test_what_is_damaged_is_refused_alike(node: str, tmp_path: Path) -> None:
    model = weights.find(weights.DEFAULT).path
    reference = Reference(model)
    files = {str(number): data for number, data in enumerate(damaged())}
    errors = {
        name: answer.get("error") for name, answer in told(node, model, tmp_path, files).items()
    }
    assert errors == {name: refused_as(reference, data) for name, data in files.items()}
    known = {"NotVqcError", "UnsupportedVersionError", "CorruptError", "TruncatedError"}
    assert set(errors.values()) == known | {"TooLargeError", "UnknownModelError"}


def test_weights_that_are_none(node: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    for data in (b"", b"\xff" * 20, (12).to_bytes(8, "little") + b"{not a JSON}"):
        other.write_bytes(data)
        script = (
            "import { readFileSync } from 'node:fs';"
            "import { loadWeights } from './dist/index.js';"
            f"await loadWeights(readFileSync({json.dumps(str(other))}))"
            ".catch((error) => console.log(error.name, error.code));"
        )
        command = [node, "--input-type=module", "--eval", script]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
        assert done.stdout == "VqcError ModelError\n"


# opacity


def png(pixels: NDArray[np.uint8], *, interlaced: bool) -> bytes:
    """A PNG of 8-bit gray, whose rows have one filter after the other."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    packed = b""
    for x, y, across, down in passes:
        part = pixels[y::down, x::across].astype(int)
        up = np.pad(part, ((1, 0), (0, 0)))[:-1]
        left = np.pad(part, ((0, 0), (1, 0)))[:, :-1]
        corner = np.pad(up, ((0, 0), (1, 0)))[:, :-1]
        near = np.stack([left, up, corner])
        closest = abs(left + up - corner - near).argmin(0)
        paeth = np.take_along_axis(near, closest[None], 0)[0]
        predicted = np.stack([0 * part, left, up, (left + up) // 2, paeth])
        for row in range(len(part) if part.size else 0):
            rest = (part[row] - predicted[row % 5, row]) % 256
            packed += bytes([row % 5, *rest.tolist()])
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    data = zlib.compress(packed)
    contents = [(b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(each)) + name + each + struct.pack(">I", zlib.crc32(name + each))
        for name, each in contents
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (40, 30)])
def test_opacity_of_any_png(node: str, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    opacity = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    file = unpack(CHUNKS)
    header = replace(file.header, width=width, height=height, cut=True)
    images = {"plain": png(opacity, interlaced=False), "interlaced": png(opacity, interlaced=True)}
    images["Pillow"] = pillow_png(Image.fromarray(opacity))
    for data in images.values():
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), opacity)
    files = {
        name: pack(replace(file, header=header, chunks={ChunkTag.ALPHA: data}, payload=b""))
        for name, data in images.items()
    }
    for answer in told(node, weights.find(weights.DEFAULT).path, tmp_path, files).values():
        np.testing.assert_array_equal(answer["pixels"][..., 3], opacity)


def test_opacity_of_another_kind_is_refused(node: str, tmp_path: Path) -> None:
    file = unpack(CHUNKS)
    size = file.header.width, file.header.height
    good = pillow_png(Image.new("L", size, 7))
    modes = ("1", "P", "LA", "RGB", "I;16")
    alphas = [pillow_png(Image.new(mode, size)) for mode in modes]
    alphas += [pillow_png(Image.new("L", size[::-1], 7)), good[:20], good[:60], b"no PNG"]
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    chunks = [{ChunkTag.ALPHA: alpha} for alpha in (*alphas, bytes(flipped))]
    chunks += [
        {ChunkTag.COARSE_ALPHA: alpha} for alpha in (b"", b"\0", b"\x65.", b"2" + b"\xff" * 9)
    ]
    chunks += [{ChunkTag.ALPHA: good, ChunkTag.COARSE_ALPHA: b"2"}]
    header = replace(file.header, cut=True)
    files = {
        str(number): pack(replace(file, header=header, chunks=each, payload=b""))
        for number, each in enumerate(chunks)
    }
    answers = told(node, weights.find(weights.DEFAULT).path, tmp_path, files)
    assert {answer.get("error") for answer in answers.values()} == {CorruptError.__name__}


# the page, and the wheel


@pytest.mark.slow
def test_the_page_shows_a_file(node: str, browser: Chromium) -> None:
    built = npm("run", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    browser.open(PACKAGE / "dist" / "page" / "index.html")
    status = "document.querySelector('[role=status]').textContent"
    browser.choose("input", FOLDER / "chunks.vqc")
    deadline = time.monotonic() + 300
    while not (shown := browser.evaluate(status)).startswith("chunks.vqc: "):
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    assert "quality 50" in shown
    url = browser.evaluate("document.querySelector('canvas').toDataURL()")
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))), int)
    expected = np.array(Image.open(FOLDER / "chunks.png").convert("RGBA"), int)
    assert abs(pixels - expected).max() <= 1
    browser.choose("input", ROOT / "samples" / "photo.png")
    while not (shown := browser.evaluate(status)).startswith("photo.png: "):
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    assert shown == "photo.png: not a .vqc file"
    assert not [each for each in browser.complaints() if not each.startswith("requested blob:")]


def test_the_wheel_has_nothing_of_it() -> None:
    files = WheelBuilder(str(ROOT)).recurse_included_files()
    paths = {Path(each.distribution_path) for each in files}
    assert Path("vqcodec/__init__.py") in paths
    assert not [path for path in paths if path.parts[:2] == ("vqcodec", "browser")]
