"""Measuring an image: its bounds, its map, tiles, lossless rivals, and the weights file."""

from __future__ import annotations

import io
import json
import math
import subprocess
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
from vqcodec.density.ladder import Ladder, Scale
from vqcodec.density.lossless import file_sizes
from vqcodec.density.measure import bit_map, colour_range, draw_map, measure
from vqcodec.density.store import CONFIG_KEY, load
from vqcodec.density.windows import PositionNoise
from vqcodec.density.ycc import Seen, as_stored
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


@pytest.fixture(scope="module")
def seen(pixels: Pixels) -> Seen:
    """The scene as it is stored."""
    return as_stored(pixels)


def test_bounds_are_those_of_the_model(model: Ladder, pixels: Pixels, seen: Seen) -> None:
    density = measure(model, seen, 5)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        samples = [model.maps(x, noise=PositionNoise(0, number)) for number in range(5)]
    log_w = torch.stack(
        [maps.reconstruction.sum() - sum(kl.sum() for kl in maps.kl) for maps in samples]
    ).double()
    unit = pixels.size * math.log(2)
    log_w -= math.log(3)  # for the way that the image is seen, of three
    assert density.elbo == pytest.approx(-float(log_w.mean()) / unit, rel=1e-6)
    assert density.elbo_error == pytest.approx(float(log_w.std()) / 5**0.5 / unit, rel=1e-3)
    iwae = float(torch.logsumexp(log_w, 0)) - math.log(5)
    assert density.iwae == pytest.approx(-iwae / unit, rel=1e-6)
    assert density.iwae <= density.elbo
    assert density.elbo == pytest.approx(density.reconstruction + sum(density.kl), rel=1e-6)
    assert sum(density.kl_of_scales()) == pytest.approx(sum(density.kl))
    assert len(density.kl_of_scales()) == 1 + model.config.scales
    assert density == measure(model, seen, 5)


def test_gaps_are_what_samples_of_one_layer_gain(model: Ladder, pixels: Pixels, seen: Seen) -> None:
    unit = pixels.size * math.log(2)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        samples = [model.maps(x, noise=PositionNoise(0, number)) for number in range(4)]
    density = measure(model, seen, 4)
    assert len(density.gaps) == len(density.kl)
    assert min(density.gaps) >= 0
    for layer in (0, 7, len(density.gaps) - 1):
        log_w = torch.stack([-maps.kl[layer].double().sum() for maps in samples])
        gap = float(torch.logsumexp(log_w, 0) - math.log(4) - log_w.mean()) / unit
        assert density.gaps[layer] == pytest.approx(gap, rel=1e-3, abs=1e-9)
    assert measure(model, seen, 1).gaps == pytest.approx([0.0] * len(density.kl))


def test_one_sample_has_no_error(model: Ladder, seen: Seen) -> None:
    density = measure(model, seen, 1)
    assert density.elbo == density.iwae
    assert density.elbo_error is density.iwae_error is None


def test_global_random_numbers_are_left_alone(model: Ladder, seen: Seen) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    measure(model, seen, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gray_has_a_third_of_the_dimensions(model: Ladder, pixels: Pixels) -> None:
    gray = np.repeat(pixels[:, :, :1], 3, 2)
    seen = as_stored(gray)
    as_gray, as_colour = measure(model, seen, 1, gray=True), measure(model, seen, 1)
    assert as_gray.elbo == pytest.approx(3 * as_colour.elbo)


def test_tiles_give_the_bits_of_the_whole(
    model: Ladder, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, bits = measure(model, seen, 2), bit_map(model, seen)
    monkeypatch.setattr(measuring, "TILE", 32)
    tiled = measure(model, seen, 2)
    assert tiled.elbo == pytest.approx(whole.elbo, rel=1e-6)
    assert tiled.kl == pytest.approx(whole.kl, rel=1e-4)
    np.testing.assert_allclose(bit_map(model, seen), bits, atol=2e-3)
    # With no margin the neighbours are unknown, and that shows.
    monkeypatch.setattr(Scale, "reach", lambda self: 0)
    assert float(np.abs(bit_map(model, seen) - bits).max()) > 0.5


def test_map_holds_all_the_bits(model: Ladder, seen: Seen) -> None:
    bits = bit_map(model, seen)
    assert bits.shape == (83, 121)
    assert bits.dtype == np.float32
    assert float(bits.mean()) == pytest.approx(measure(model, seen, 1).elbo, rel=1e-5)


def test_map_shows_where_the_noise_is(model: Ladder) -> None:
    pixels = np.full((64, 96, 3), 90, np.uint8)
    pixels[:, 48:] = np.random.default_rng(0).integers(0, 256, (64, 48, 3))
    bits = bit_map(model, as_stored(pixels))
    assert float(bits[:, 56:].min()) > float(bits[:, :40].max())
    image = Image.open(io.BytesIO(draw_map(bits)))
    assert image.size == (96, 64)
    brightness = np.asarray(image.convert("L"), float)
    assert brightness[:, 56:].mean() > 3 * brightness[:, :40].mean()


def test_one_dear_pixel_does_not_darken_the_others() -> None:
    bits = np.linspace(1, 3, 10_000, dtype=np.float32).reshape(100, 100)
    bits[50, 50] = 900
    assert colour_range(bits) == pytest.approx((1.01, 2.99), abs=1e-3)
    brightness = np.asarray(Image.open(io.BytesIO(draw_map(bits))).convert("L"), float)
    assert brightness[0].mean() < 20
    assert brightness[50, 50] == brightness[99].max() > 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory as Linux tells it")
def test_memory_hardly_grows_with_the_image(tiny_density: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from benchmarks.machine import peak_memory
from vqcodec.density.measure import measure
from vqcodec.density.store import load
from vqcodec.density.ycc import as_stored
from vqcodec.weights import ModelInfo
pixels = np.random.default_rng(0).integers(0, 256, (4000, int(sys.argv[2]), 3), np.uint8)
measure(load(ModelInfo(Path(sys.argv[1]))), as_stored(pixels), 1)
print(peak_memory() - pixels.nbytes)
"""
    peaks = []
    for width in (1200, 6000):
        command = [sys.executable, "-c", program, str(tiny_density), str(width)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    small, large = peaks
    assert large < small * 1.25
    assert large < 1.5e9


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
    model: Ladder, tiny_density: Path, seen: Seen, tmp_path: Path
) -> None:
    arrays = load_file(tiny_density)
    assert all(array.dtype == np.float16 for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) < tiny_density.stat().st_size
    state = {name: v + 2e-4 * v * torch.randn_like(v) for name, v in model.state_dict().items()}
    shaken = Ladder(model.config)
    shaken.load_state_dict(state)
    expected = measure(model, seen, 1).elbo
    assert measure(shaken, seen, 1).elbo == pytest.approx(expected, abs=0.01)


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
    weights.shipped.cache_clear()
    try:
        assert weights.shipped() == ()
        assert [each.name for each in weights.densities()] == ["density-9"]
        assert weights.find_density("density-9").path == tmp_path / "density-9.safetensors"
    finally:
        weights.shipped.cache_clear()


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
            assert min(bits) >= 0  # the finest channels are silent at low qualities
            assert sum(bits) == pytest.approx(8 * len(unpack(data).payload), rel=0.01)
    assert min(bits) > 0
