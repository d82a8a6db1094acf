"""The natural look: one file, two pictures, whatever is decoded and by whatever."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import SAMPLE
from PIL import Image
from program import vqcodec_
from reference import Reference
from safetensors.numpy import load_file, save_file
from test_tiles import make_tiles_small

import vqcodec
from train.export_natural import export
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.codec.noise import noise
from vqcodec.errors import ModelError
from vqcodec.fileformat.container import unpack
from vqcodec.fileformat.truncate import truncate
from vqcodec.model.natural import NaturalBlock
from vqcodec.weights.store import NATURAL, NATURAL_KEY

NATURAL_LOOK = "natural"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model in a folder of its own, with a natural look of random weights."""
    info = weights.find(weights.DEFAULT)
    path = tmp_path_factory.mktemp("natural") / "model.safetensors"
    shutil.copy(info.path, path)
    config = Codec.load(path).config
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        block = NaturalBlock(config, 8)
        for layer in (block.out, block.strength, block.grain):
            torch.nn.init.normal_(layer.weight, std=0.05)
    export(block.state_dict(), weights.find(path), {})
    return path


@pytest.fixture(scope="module")
def drawing(path: Path) -> Codec:
    return Codec.load(path, device="cpu")


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    return Image.open(SAMPLE).convert("RGB").crop((20, 30, 20 + 131, 30 + 93))


@pytest.fixture(scope="module")
def file(drawing: Codec, sample: Image.Image) -> bytes:
    return drawing.encode(sample, quality=20)


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.array(image, np.int64)


def test_both_looks_are_of_one_file_and_differ(drawing: Codec, file: bytes) -> None:
    faithful, natural = (drawing.decode(file, look=look) for look in ("faithful", NATURAL_LOOK))
    assert pixels(faithful).tolist() == pixels(drawing.decode(file)).tolist()
    off = abs(pixels(faithful) - pixels(natural))
    assert natural.size == faithful.size
    assert off.mean() > 0.5
    again = drawing.decode(file, look=NATURAL_LOOK)
    assert pixels(again).tolist() == pixels(natural).tolist()


def test_by_pytorch_and_by_the_page(path: Path, drawing: Codec, file: bytes) -> None:
    natural = pixels(drawing.decode(file, look=NATURAL_LOOK))
    in_torch = Codec.load(path, device="cpu", dtype=torch.float32)
    assert abs(pixels(in_torch.decode(file, look=NATURAL_LOOK)) - natural).max() <= 1
    by_page = Reference(path).pixels(file, natural=weights.find(path).natural.path)
    assert abs(by_page.astype(int) - natural).max() <= 1


def test_the_look_that_ships_is_that_of_the_page(codec: Codec, sample: Image.Image) -> None:
    data = codec.encode(sample, quality=10)
    natural = pixels(codec.decode(data, look=NATURAL_LOOK))
    info = weights.find(weights.DEFAULT)
    by_page = Reference(info.path).pixels(data, natural=info.natural.path)
    assert abs(by_page.astype(int) - natural).max() <= 1


def test_tiles_and_regions_change_nothing(
    drawing: Codec, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    natural = pixels(drawing.decode(file, look=NATURAL_LOOK))
    region = 37, 21, 60, 41
    part = pixels(drawing.decode(file, look=NATURAL_LOOK, region=region))
    assert abs(part - natural[21 : 21 + 41, 37 : 37 + 60]).max() <= 1
    make_tiles_small(monkeypatch)
    monkeypatch.setattr("vqcodec.codec.tiles.PIECE_SIDE", 6)
    monkeypatch.setattr("vqcodec.codec.tiles.ONE_TILE", 6)
    assert abs(pixels(drawing.decode(file, look=NATURAL_LOOK)) - natural).max() <= 1


def test_smaller_pictures_and_alpha_are_faithful(drawing: Codec, sample: Image.Image) -> None:
    image = sample.copy()
    opacity = np.linspace(0, 255, sample.width).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(opacity, (sample.height, 1))))
    data = drawing.encode(image, quality=20, alpha_quality=20)
    faithful, natural = (drawing.decode(data, look=look) for look in ("faithful", NATURAL_LOOK))
    assert (pixels(faithful)[..., 3] == pixels(natural)[..., 3]).all()
    assert (pixels(faithful) != pixels(natural)).any()
    half = [pixels(drawing.decode(data, scale=2, look=look)) for look in ("faithful", NATURAL_LOOK)]
    assert (half[0] == half[1]).all()


def test_truncated_and_cut_files(drawing: Codec, file: bytes) -> None:
    cut = truncate(file, 2 * len(file) // 3)[0]
    seeds = [unpack(data, partial=True).crc for data in (file, cut, file[: len(file) // 2])]
    assert seeds[0] == int.from_bytes(file[-4:], "little")
    assert len(set(seeds)) == 3
    assert seeds[2] == 0
    drawn = drawing.decode(file[: len(file) // 2], partial=True, look=NATURAL_LOOK)
    assert drawn.size == drawing.decode(cut, look=NATURAL_LOOK).size


def mixed(h: int) -> int:
    h ^= h >> 16
    h = h * 0x7FEB352D % 2**32
    h ^= h >> 15
    h = h * 0x846CA68B % 2**32
    return h ^ h >> 16


def test_noise_is_that_of_the_page() -> None:
    seed, top, left = 0xDEADBEEF, 6, 123456
    planes = noise(seed, slice(top, top + 4), slice(left, left + 8))
    assert planes.shape == (1, 4, 2, 4)
    for row in range(4):
        for column in range(8):
            first = mixed((top + row) * 0x9E3779B1 % 2**32 ^ seed)
            word = mixed(first ^ (left + column) * 0x85EBCA6B % 2**32)
            expected = (sum(word.to_bytes(4, "little")) - 510) / 148
            plane = 2 * (row % 2) + column % 2
            assert planes[0, plane, row // 2, column // 2] == pytest.approx(expected)


def test_noise_is_white_and_of_unit_variance() -> None:
    planes = noise(7, slice(0, 512), slice(0, 512))[0]
    assert planes.mean() == pytest.approx(0, abs=0.01)
    assert planes.std() == pytest.approx(1, abs=0.01)
    power = abs(np.fft.fft2(planes[0])) ** 2 / planes[0].size
    rows = power.mean(1)[1:]  # of 256 frequencies each: their mean deviates by a sixteenth
    assert abs(rows - 1).max() < 5 / 16
    assert abs(power.mean(0)[1:] - 1).max() < 5 / 16


def test_pillow_and_the_command(
    path: Path, drawing: Codec, file: bytes, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    natural = pixels(drawing.decode(file, look=NATURAL_LOOK))
    Path("photo.vqc").write_bytes(file)
    arguments = ("photo.vqc", "--model", str(path), "--look", NATURAL_LOOK)
    assert vqcodec_("decode", *arguments).exit_code == 0
    assert pixels(Image.open("photo.png")).tolist() == natural.tolist()
    monkeypatch.setattr("vqcodec.api.codec_of", lambda *_: drawing)
    opened = Image.open(io.BytesIO(file))
    opened.info["look"] = NATURAL_LOOK
    assert pixels(opened).tolist() == natural.tolist()
    assert pixels(vqcodec.decode(file, look=NATURAL_LOOK)).tolist() == natural.tolist()


def test_a_look_that_there_is_not(drawing: Codec, file: bytes) -> None:
    with pytest.raises(ValueError, match="faithful or natural, not 'grainy'"):
        drawing.decode(file, look="grainy")
    done = vqcodec_("decode", "x.vqc", "--look", "grainy")
    assert done.exit_code == 2
    assert "grainy" in done.stderr
    done = vqcodec_("decode", "x.vqc", "--look", NATURAL_LOOK, "--scale", "1/2")
    assert done.exit_code == 2
    assert "leave out --look or --scale" in done.stderr


def test_a_model_without_one(tiny_codec: Codec, photo: Image.Image, tiny_weights: Path) -> None:
    data = tiny_codec.encode(photo)
    with pytest.raises(ModelError, match="tiny has no natural look"):
        tiny_codec.decode(data, look=NATURAL_LOOK)


@pytest.mark.parametrize("fault", ["model", "shape", "missing", "nan", "bytes", "kind"])
def test_damaged_weights(path: Path, file: bytes, tmp_path: Path, fault: str) -> None:
    copied = tmp_path / path.name
    shutil.copy(path, copied)
    info = weights.find(copied)
    arrays = load_file(weights.find(path).natural.path)
    key, model_id = NATURAL_KEY, info.model_id.hex()
    if fault == "model":
        model_id = "01234567"
    elif fault == "shape":
        arrays[f"{NATURAL}out.bias"] = arrays[f"{NATURAL}out.bias"][:5]
    elif fault == "missing":
        del arrays[f"{NATURAL}enter.bias"]
    elif fault == "nan":
        arrays[f"{NATURAL}out.bias"][0] = np.nan
    elif fault == "kind":
        key = "vqcodec_config"
    save_file(arrays, info.natural.path, {key: json.dumps(model_id)})
    if fault == "bytes":
        info.natural.path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"model\.natural\.safetensors"):
        Codec.load(copied).decode(file, look=NATURAL_LOOK)


def test_a_look_is_no_model_of_its_own(path: Path) -> None:
    assert all("natural" not in info.name for info in weights.available())
    with pytest.raises(ModelError, match="not the weights of a vqcodec model"):
        Codec.load(weights.find(path).natural.path)
