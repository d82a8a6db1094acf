"""Measuring an image: its bounds, its map, tiles, lossless rivals, and the weights file."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import Tensor

from train import export_density
from train.checkpoint import save_checkpoint
from vqcodec import weights
from vqcodec.density import measure as measuring
from vqcodec.density.ladder import Ladder
from vqcodec.density.lossless import file_sizes
from vqcodec.density.measure import block_map, draw_map, measure
from vqcodec.density.store import CONFIG_KEY, load
from vqcodec.errors import ModelError
from vqcodec.fileformat.image import Pixels
from vqcodec.weights import ModelInfo


@pytest.fixture(scope="module")
def model(tiny_density: Path) -> Ladder:
    return load(ModelInfo(tiny_density))


@pytest.fixture(scope="module")
def pixels(scenes: Tensor) -> Pixels:
    """A scene of 121x83 pixels, which no power of two divides."""
    return scenes[1, 0, :, :83, :121].permute(1, 2, 0).contiguous().numpy()


def test_bounds_are_those_of_the_model(model: Ladder, pixels: Pixels) -> None:
    density = measure(model, pixels, 5)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    torch.manual_seed(0)
    with torch.no_grad():
        log_w = torch.cat([model(x).log_w[0] for _ in range(5)]).double()
    unit = pixels.size * math.log(2)
    assert density.elbo == pytest.approx(-float(log_w.mean()) / unit, rel=1e-6)
    assert density.elbo_error == pytest.approx(float(log_w.std()) / 5**0.5 / unit, rel=1e-3)
    iwae = float(torch.logsumexp(log_w, 0)) - math.log(5)
    assert density.iwae == pytest.approx(-iwae / unit, rel=1e-6)
    assert density.iwae <= density.elbo
    assert density.elbo == pytest.approx(density.reconstruction + sum(density.kl), rel=1e-6)
    assert sum(density.kl_of_scales()) == pytest.approx(sum(density.kl))
    assert len(density.kl_of_scales()) == 1 + model.config.scales
    assert density == measure(model, pixels, 5)


def test_one_sample_has_no_error(model: Ladder, pixels: Pixels) -> None:
    density = measure(model, pixels, 1)
    assert density.elbo == density.iwae
    assert density.elbo_error is density.iwae_error is None


def test_global_random_numbers_are_left_alone(model: Ladder, pixels: Pixels) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    measure(model, pixels, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gray_has_a_third_of_the_dimensions(model: Ladder, pixels: Pixels) -> None:
    gray = np.repeat(pixels[:, :, :1], 3, 2)
    as_gray, as_colour = measure(model, gray, 1, gray=True), measure(model, gray, 1)
    assert as_gray.elbo == pytest.approx(3 * as_colour.elbo)


def test_tiles_cost_little_and_count_every_pixel(
    model: Ladder, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(model, pixels, 1)
    monkeypatch.setattr(measuring, "TILE", 64)
    tiled = measure(model, pixels, 1)
    assert tiled.elbo == pytest.approx(whole.elbo, rel=0.1)
    assert block_map(model, pixels).shape == (11, 16)


def test_map_holds_all_the_bits(model: Ladder, pixels: Pixels) -> None:
    blocks = block_map(model, pixels)
    assert blocks.shape == (11, 16)
    height, width = (np.minimum(8, n - np.arange(0, n, 8)) for n in pixels.shape[:2])
    bits = float((blocks * np.outer(height, width) * 3).sum())
    assert bits == pytest.approx(measure(model, pixels, 1).elbo * pixels.size, rel=1e-5)


def test_map_shows_where_the_noise_is(model: Ladder) -> None:
    pixels = np.full((64, 96, 3), 90, np.uint8)
    pixels[:, 48:] = np.random.default_rng(0).integers(0, 256, (64, 48, 3))
    blocks = block_map(model, pixels)
    assert float(blocks[:, 7:].min()) > float(blocks[:, :5].max())
    image = Image.open(io.BytesIO(draw_map(blocks, 96, 64)))
    assert (image.size, image.mode) == ((96, 64), "RGB")
    brightness = np.asarray(image.convert("L"), float)
    assert brightness[:, 56:].mean() > 3 * brightness[:, :40].mean()


def test_rivals_are_real_files_of_the_same_pixels(
    pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(pixels)
    sizes, notes = file_sizes(image)
    assert {"png", "webp"} <= sizes.keys()
    assert set(sizes) | {note.split()[0] for note in notes} == {"png", "webp", "jxl"}
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    assert sizes["png"] == len(stream.getvalue())
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    sizes, notes = file_sizes(image)
    assert "jxl" not in sizes
    assert notes == [
        "jxl left out: pillow-jxl-plugin is not installed (pip install 'vqcodec[bench]')"
    ]


def test_a_side_too_long_for_webp_is_said() -> None:
    sizes, notes = file_sizes(Image.new("L", (16384, 1)))
    assert "webp" not in sizes
    assert "webp left out: a side is at most 16383 pixels" in notes


# The weights file


def test_half_precision_costs_next_to_nothing(
    model: Ladder, tiny_density: Path, pixels: Pixels, tmp_path: Path
) -> None:
    arrays = load_file(tiny_density)
    assert all(array.dtype == np.float16 for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) < tiny_density.stat().st_size
    state = {name: v + 2e-4 * v * torch.randn_like(v) for name, v in model.state_dict().items()}
    shaken = Ladder(model.config)
    shaken.load_state_dict(state)
    expected = measure(model, pixels, 1).elbo
    assert measure(shaken, pixels, 1).elbo == pytest.approx(expected, abs=0.01)


def test_script_exports_the_averaged_weights(model: Ladder, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    last = {name: value + 1 for name, value in state.items()}
    settings = {"settings": {"data": ["/somewhere/photos.tar"]}, "commit": "c0ffee"}
    counts = {"step": 7, "seconds": 5400.0, "pixels": 2_000_000_000}
    checkpoint = {"model": last, "ema": state, **counts}
    config = {"config": {"model": vars(model.config), **settings}}
    save_checkpoint(tmp_path / "a.pt", checkpoint | config)
    out = tmp_path / "out.safetensors"
    arguments = [str(tmp_path / "a.pt"), str(out)]
    assert CliRunner().invoke(export_density.main, arguments).exit_code == 0
    for name, value in load(ModelInfo(out)).state_dict().items():
        torch.testing.assert_close(value, state[name])
    card = ModelInfo(out).card
    assert (card["training data"], card["hours"]) == (["photos.tar"], 1.5)


def reconfigured(**changes: object) -> Callable[[dict[str, str]], None]:
    def damage(metadata: dict[str, str]) -> None:
        metadata[CONFIG_KEY] = json.dumps({"scales": 3, "width": 8, "blocks": 1} | changes)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda metadata: metadata.clear(),
        lambda metadata: metadata.update({CONFIG_KEY: "{"}),
        lambda metadata: metadata.update({CONFIG_KEY: "[]"}),
        reconfigured(scales=4),
        reconfigured(scales=10**9),
        reconfigured(width="wide"),
        reconfigured(depth=3),
    ],
)
def test_a_file_that_is_not_ours_is_refused(
    tiny_density: Path, tmp_path: Path, damage: Callable[[dict[str, str]], None]
) -> None:
    metadata: dict[str, str] = {}
    reconfigured()(metadata)
    path = tmp_path / "x.safetensors"
    arrays = load_file(tiny_density)
    save_file(arrays, path, metadata)
    load(ModelInfo(path))
    damage(metadata)
    save_file(arrays, path, metadata)
    with pytest.raises(ModelError, match=r"x\.safetensors"):
        load(ModelInfo(path))


def test_other_files_are_refused(tmp_path: Path, tiny_weights: Path, tiny_density: Path) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(tiny_density.read_bytes()[:-100])
    for path in (short, tiny_weights):
        with pytest.raises(ModelError):
            load(ModelInfo(path))
    with pytest.raises(ModelError, match="no density model called nothing"):
        weights.find_density("nothing")


def test_density_models_are_no_models_of_the_codec(
    tiny_density: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "density-9.safetensors").write_bytes(tiny_density.read_bytes())
    monkeypatch.setattr(weights, "_FOLDER", tmp_path)
    weights.available.cache_clear()
    try:
        assert weights.available() == ()
        assert [each.name for each in weights.densities()] == ["density-9"]
        assert weights.find_density("density-9").path == tmp_path / "density-9.safetensors"
    finally:
        weights.available.cache_clear()


# The prior over code indices is a density too


def test_codes_cost_what_the_real_file_takes() -> None:
    from vqcodec.codec.codec import Codec
    from vqcodec.fileformat.container import unpack

    codec = Codec.load(device="cpu")
    with Image.open(Path(__file__).parents[1] / "samples" / "photo.png") as image:
        for quality in (30, 90):
            data = codec.encode(image, quality=quality)
            bits = codec.bits(codec.file_tokens(data))
            assert len(bits) == sum(map(len, codec.config.channels))
            assert min(bits) > 0
            assert sum(bits) == pytest.approx(8 * len(unpack(data).payload), rel=0.01)
