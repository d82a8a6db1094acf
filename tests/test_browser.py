"""The decoder for browsers, run in Node, and its page: they read what ours reads, as ours does."""

from __future__ import annotations

import base64
import io
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from golden import FOLDER, stored_indices
from hatchling.builders.wheel import WheelBuilder
from in_node import PACKAGE, npm, same_indices, same_pixels, told
from numpy.typing import NDArray
from PIL import Image
from test_format_page import CHUNKS
from test_scales import path as other_weights  # noqa: F401  # a fixture: networks of other shapes

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.errors import CorruptError
from vqcodec.fileformat.container import ChunkTag, pack, unpack

if TYPE_CHECKING:
    from benchmarks.chromium import Chromium

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in FOLDER.glob("*.vqc"))
MODEL = weights.find(weights.DEFAULT).path


# the golden files


@pytest.fixture(scope="module")
def golden(node: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    files = {name: (FOLDER / f"{name}.vqc").read_bytes() for name in NAMES}
    return told(node, MODEL, tmp_path_factory.mktemp("golden"), files)


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


@pytest.mark.parametrize(("engine", "tile"), [("plain", 1024), ("onnx", 32)])
def test_any_engine_shows_the_same(node: str, tmp_path: Path, engine: str, tile: int) -> None:
    names = ("size-100x37", "gray-75", "cut-200", "alpha-coarse")
    files = {name: (FOLDER / f"{name}.vqc").read_bytes() for name in names}
    for name, answer in told(node, MODEL, tmp_path, files, engine=engine, tile=tile).items():
        same_pixels(answer, Image.open(FOLDER / f"{name}.png"))


@pytest.mark.parametrize("size", [(384, 64), (60, 330)])
def test_tiles_come_out_as_the_whole_does(
    node: str, codec: Codec, tmp_path: Path, photo: Image.Image, size: tuple[int, int]
) -> None:
    files = {"a": codec.encode(photo.resize(size), quality=70)}
    # Engines that sum in the same order wherever a position is give the very same pixels.
    whole, tiled = (
        told(node, MODEL, tmp_path, files, engine="plain", tile=tile)["a"]["pixels"]
        for tile in (1024, 64)
    )
    np.testing.assert_array_equal(tiled, whole)
    same = codec.decode(files["a"])
    assert abs(whole[..., :3] - np.array(same, int)).max() <= 1


def test_a_preview_is_the_picture_that_the_coarse_levels_are(
    golden: dict[str, dict[str, Any]], codec: Codec, node: str, tmp_path: Path
) -> None:
    data = (FOLDER / "size-64x64.vqc").read_bytes()
    (answer,) = told(node, MODEL, tmp_path, {"a": data}).values()
    width, height = answer["preview"]
    preview = np.fromfile(tmp_path / "a.preview", np.uint8).reshape(height, width, 4)[..., :3]
    scale = 2 * 64 // width
    halved = preview.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    expected = np.array(codec.decode(data, scale=scale).convert("RGB"), float)
    assert abs(halved - expected).max() <= 1.5
    # Colours that opacity hides are not to be seen in a preview either.
    assert not any("preview" in answer for answer in golden.values() if answer.get("alpha"))


def test_a_preview_takes_the_first_bytes_alone(
    node: str, codec: Codec, tmp_path: Path, photo: Image.Image
) -> None:
    data = codec.encode(photo, quality=80)
    bits = codec.bits(codec.tokenize(photo, quality=80))
    coarse = sum(bits[: codec.config.scales[-1].start]) / 8
    end = math.ceil(coarse) + 32  # a header, and what a range decoder reads ahead
    assert end < len(data) / 2
    parts = {"whole": data, "front": data[:end]}
    answers = told(node, MODEL, tmp_path, parts, extent="partial")
    whole, front = (np.fromfile(tmp_path / f"{name}.preview", np.uint8) for name in parts)
    np.testing.assert_array_equal(front, whole)
    assert (answers["whole"]["pixels"] != answers["front"]["pixels"]).any()


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
    parts = {"whole": data, "half": data[: max(16, len(data) // 2)]}
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
    answers = told(node, MODEL, tmp_path, files, extent="partial")
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
    answers = told(node, MODEL, tmp_path, files)
    for name, data in files.items():
        try:
            expected = codec.file_tokens(data).indices
        except CorruptError:
            assert answers[name]["error"] == CorruptError.__name__
            continue
        same_indices(answers[name]["indices"], expected)


def test_the_ends_of_intervals_belong_where_exact_numbers_say(node: str) -> None:
    done = subprocess.run([node, "test/intervals.mjs"], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# the page, and the wheel


@pytest.fixture(scope="module")
def page(node: str) -> Path:
    """The folder of the page, as `npm run build` makes it."""
    built = npm("run", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    return PACKAGE / "dist" / "page"


@pytest.fixture(params=["file", "server"])
def address(request: pytest.FixtureRequest, page: Path) -> Iterator[Path | str]:
    """Where the page is: a file, or what a server of files has."""
    if request.param == "file":
        yield page / "index.html"
        return
    handler = partial(SimpleHTTPRequestHandler, directory=str(page))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def said(browser: Chromium, start: str) -> str:
    """What the page says at last of a file; previews are not the last."""
    deadline = time.monotonic() + 900  # a busy machine is no failure
    while True:
        shown = str(browser.evaluate("document.querySelector('[role=status]').textContent"))
        if shown.startswith(start) and "preview" not in shown:
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def canvas(browser: Chromium) -> NDArray[np.int64]:
    url = browser.evaluate("document.querySelector('canvas').toDataURL()")
    image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
    return np.array(image.convert("RGBA"), np.int64)


def test_the_page_is_small(page: Path) -> None:
    files = [path for path in page.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"index.html", "page.js"}
    assert sum(path.stat().st_size for path in files) <= 12_000_000


@pytest.mark.slow
def test_the_page_shows_a_file(browser: Chromium, address: Path | str, tmp_path: Path) -> None:
    browser.open(address)
    browser.choose("input", FOLDER / "chunks.vqc")
    assert "quality 50" in said(browser, "chunks.vqc: ")
    expected = np.array(Image.open(FOLDER / "chunks.png").convert("RGBA"), int)
    assert abs(canvas(browser) - expected).max() <= 1
    browser.drop(600, 110, ROOT / "samples" / "photo.png")
    assert said(browser, "photo.png: ") == "photo.png: not a .vqc file"
    browser.drop(600, 110, tmp_path)  # a folder
    assert "could not be" in said(browser, f"{tmp_path.name}: ")
    own = ("requested blob:", f"requested {address}")
    assert not [each for each in browser.complaints() if not each.startswith(own)]


@pytest.mark.slow
def test_the_page_shows_every_model_that_ships(
    browser: Chromium, page: Path, tmp_path: Path, photo: Image.Image
) -> None:
    browser.open(page / "index.html")
    for tune, name in weights.TUNED.items():
        codec = Codec.load(name)
        data = codec.encode(photo.resize((90, 70)), quality=60)
        file = tmp_path / f"{tune}.vqc"
        file.write_bytes(data)
        browser.choose("input", file)
        assert said(browser, file.name).endswith("quality 60")
        expected = np.array(codec.decode(data).convert("RGBA"), int)
        assert abs(canvas(browser) - expected).max() <= 1


@pytest.mark.slow
def test_the_page_shows_large_files_by_tiles(
    browser: Chromium, page: Path, codec: Codec, tmp_path: Path
) -> None:
    # Long and narrow: the fewest pixels that are more than one tile.
    gray = np.add.outer(np.arange(25700) // 120 % 256, np.arange(8)).astype(np.uint8)
    data = codec.encode(Image.fromarray(gray), quality=30)
    file = tmp_path / "long.vqc"
    file.write_bytes(data)
    browser.open(page / "index.html")
    browser.choose("input", file)
    assert said(browser, "long.vqc: ") == "long.vqc: 8×25700, quality 30"
    expected = np.array(codec.decode(data).convert("RGBA"), int)
    assert abs(canvas(browser) - expected).max() <= 1


def test_the_wheel_has_nothing_of_it() -> None:
    files = WheelBuilder(str(ROOT)).recurse_included_files()
    paths = {Path(each.distribution_path) for each in files}
    assert Path("vqcodec/__init__.py") in paths
    assert not [path for path in paths if path.parts[:2] == ("vqcodec", "browser")]
