"""The weights file: integers that add up, half precision, and nothing else in its place."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from train import export as script
from train.checkpoint import TRAINED_FOR, load_checkpoint, save_checkpoint
from train.export import export, frequencies, integer_arrays, model_card, trained_for
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.entropy.levels import CLASSES
from vqcodec.entropy.tables import FREQUENCY_BITS
from vqcodec.errors import ModelError
from vqcodec.model.config import Config
from vqcodec.model.prior import magnitude
from vqcodec.model.quantizer import Codebooks
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import CONFIG_KEY, NETWORK, TABLES, load

Arrays = dict[str, NDArray[Any]]


def stored(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays and metadata of a file, read by hand: its format is what others rely on."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    kinds = {"F16": "<f2", "I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4", "U32": "<u4"}
    arrays = {}
    for name, entry in header.items():
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        flat = np.frombuffer(data[start:stop], kinds[entry["dtype"]])
        arrays[name] = flat.reshape(entry["shape"])
    return arrays, metadata


def checkpoint(model: VQVAE, path: Path, data: str = "photos.tar") -> Path:
    """A checkpoint whose averaged weights are those of `model`, and the others not."""
    state = model.state_dict()
    last = {name: value + 1 for name, value in state.items()}
    before = {"command": "train first", "step": 3, "seconds": 1800.0, "pixels": 500_000_000}
    config = {
        "model": vars(model.config),
        "settings": {"data": [f"/somewhere/{data}"]},
        "commit": "c0ffee",
        "command": "train on",
        "stages": [before],
    }
    counts = {"step": 7, "seconds": 5400.0, "pixels": 2_000_000_000}
    save_checkpoint(path, {"model": last, "ema": state, "config": config, **counts})
    return path


# What is written


def test_tables_are_positive_and_sum_to_a_power_of_two(
    tiny_weights: Path, tiny_model: VQVAE
) -> None:
    arrays, _ = stored(tiny_weights)
    tables = {name: array for name, array in arrays.items() if name.startswith(TABLES)}
    groups = tiny_model.config.groups or ()
    assert {name: table.shape for name, table in tables.items()} == {
        f"{TABLES}{number}.{group}": (count, CLASSES, codewords)
        for number, level in enumerate(groups)
        for group, (_, codewords, count) in enumerate(level)
    }
    for table in tables.values():
        assert table.dtype == np.uint32
        assert (table > 0).all()
        assert (table.sum(-1, dtype=np.int64) == 1 << FREQUENCY_BITS).all()


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 50.0])
def test_frequencies_are_the_model_s_probabilities(sharpness: float) -> None:
    codebooks = Codebooks(2, 256, 3)
    with torch.no_grad():
        noise = torch.randn(codebooks.logits.shape, generator=torch.Generator().manual_seed(0))
        codebooks.logits.copy_(sharpness * noise)
        counts = frequencies(codebooks).astype(np.int64)
        centres = (torch.arange(CLASSES) * 2 + 0.5) / 16
        p = codebooks.log_p(centres.expand(3, -1)).exp().numpy()
    assert (counts > 0).all()
    assert (counts.sum(-1) == 1 << FREQUENCY_BITS).all()
    np.testing.assert_allclose(counts / 2**FREQUENCY_BITS, p, rtol=1e-3, atol=5e-5)


def test_the_network_is_in_half_precision_and_complete(
    tiny_weights: Path, tiny_model: VQVAE
) -> None:
    arrays, _ = stored(tiny_weights)
    network = {n.removeprefix(NETWORK): a for n, a in arrays.items() if n.startswith(NETWORK)}
    state = tiny_model.state_dict()
    assert network.keys() == {name for name in state if not name.startswith("prior.")}
    assert all(array.dtype == np.float16 for array in network.values())
    loaded = load(ModelInfo(tiny_weights)).network()
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-6)


def test_the_prior_is_in_integers(tiny_weights: Path, tiny_model: VQVAE) -> None:
    arrays, _ = stored(tiny_weights)
    prior = {name: array for name, array in arrays.items() if name.startswith("prior.")}
    assert all(np.issubdtype(array.dtype, np.integer) for array in prior.values())
    update = tiny_model.prior.levels[2][1].update
    weight = prior["prior.2.1.update.weight"]
    assert weight.dtype == np.int16
    assert weight.shape == (9, update.in_channels, 16)
    by_hand = update.weight.detach()[5, 3, 2, 0] * 512  # output, input, row, column
    assert abs(weight[2 * 3 + 0, 3, 5] - float(by_hand)) <= 0.5
    bias = prior["prior.2.1.update.bias"]
    np.testing.assert_allclose(bias, update.bias.detach() * 16 * 512, atol=0.51)


def test_codewords_as_the_prior_sees_them(tiny_model: VQVAE) -> None:
    arrays = integer_arrays(tiny_model)
    codewords = tiny_model.levels[0].codebooks.groups[0].codewords.detach()
    np.testing.assert_array_equal(arrays["prior.0.values.0"], codewords.round().clamp(-127, 127))
    seen = arrays["prior.0.magnitudes.0"]
    np.testing.assert_allclose(seen, magnitude(codewords) * 16, atol=0.51)
    assert seen.max() > 100


def test_the_config_comes_back(tiny_weights: Path, tiny_model: VQVAE) -> None:
    _, metadata = stored(tiny_weights)
    assert Config.from_dict(json.loads(metadata[CONFIG_KEY])) == tiny_model.config
    assert Config.from_dict(load(ModelInfo(tiny_weights)).config) == tiny_model.config


def test_the_file_holds_little_more_than_its_arrays(tiny_weights: Path, tiny_model: VQVAE) -> None:
    network = sum(v.numel() for n, v in tiny_model.state_dict().items() if "prior." not in n)
    groups = itertools.chain.from_iterable(tiny_model.config.groups or ())
    expected = 2 * network + 4 * CLASSES * sum(size * count for _, size, count in groups)
    assert expected < tiny_weights.stat().st_size < 1.2 * expected + 100_000


def test_the_model_id_is_that_of_the_bytes(tiny_model: VQVAE, tmp_path: Path) -> None:
    export(tiny_model, tmp_path / "a.safetensors", {"name": "one"})
    export(tiny_model, tmp_path / "b.safetensors", {"name": "two"})
    one, two = (ModelInfo(tmp_path / f"{name}.safetensors") for name in "ab")
    assert one.model_id == two.model_id
    assert (one.card, two.card) == ({"name": "one"}, {"name": "two"})
    data = bytearray(one.data)
    data[-1] ^= 1
    (tmp_path / "c.safetensors").write_bytes(data)
    assert ModelInfo(tmp_path / "c.safetensors").model_id != one.model_id


def test_integers_cannot_be_exported(tiny_integers: VQVAE, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no codebooks yet"):
        export(tiny_integers, tmp_path / "a.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_the_script_exports_the_averaged_weights_and_a_card(
    tiny_model: VQVAE, tiny_codec: Codec, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    source = checkpoint(tiny_model, tmp_path / "a.pt")
    assert CliRunner().invoke(script.main, [str(source), str(out)]).exit_code == 0
    assert ModelInfo(out).model_id == tiny_codec.model_id
    card = ModelInfo(out).card
    assert card["training data"] == ["photos.tar"]
    assert (card["steps"], card["hours"], card["gigapixels"]) == (10, 2.0, 2.5)
    assert card["stages"] == ["train first", "train on"]
    assert card["commit"] == "c0ffee"
    assert card["trained for"] == ["psnr"]


def test_the_script_sets_what_errors_are_tolerated(tiny_model: VQVAE, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    source = checkpoint(tiny_model, tmp_path / "a.pt")
    told = [str(source), str(out), "--tolerated-error", "3.5"]
    assert CliRunner().invoke(script.main, told).exit_code == 0
    assert load(ModelInfo(out)).sizes().tolerated_error == 3.5


@pytest.mark.parametrize(
    ("shares", "metrics"),
    [
        ({}, ["psnr"]),
        ({"structure": 0.0, "features": 0.6}, ["psnr"]),
        ({"structure": 0.4, "ssimulacra2": 0.5}, ["ms_ssim", "ssimulacra2"]),
        ({"structure": 0.25, "ssimulacra2": 0.3, "features": 0.35}, ["ms_ssim", "ssimulacra2"]),
        ({"structure": 0.2}, ["psnr", "ms_ssim"]),
    ],
)
def test_the_card_names_the_metrics_that_count(
    shares: dict[str, float], metrics: list[str]
) -> None:
    assert trained_for({"settings": shares}) == metrics
    # A run that leaves pictures as they are says what an earlier one was for.
    later = {"settings": {}, TRAINED_FOR: metrics}
    assert trained_for(later) == metrics


@pytest.mark.parametrize(
    ("data", "licence"),
    [("free-3.tar", "MIT"), ("photos.tar", "For research use"), ("free-valid.tar", "For research")],
)
def test_weights_are_free_if_the_photographs_were(
    data: str, licence: str, tiny_model: VQVAE, tmp_path: Path
) -> None:
    state = load_checkpoint(checkpoint(tiny_model, tmp_path / "a.pt", data), torch.device("cpu"))
    assert model_card(state, "a network")["licence"].startswith(licence)


def test_the_script_refuses_a_model_without_codebooks(tiny_integers: VQVAE, tmp_path: Path) -> None:
    source = checkpoint(tiny_integers, tmp_path / "a.pt")
    result = CliRunner().invoke(script.main, [str(source), str(tmp_path / "out.safetensors")])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "no codebooks yet" in result.stderr


# What is read


def without(name: str) -> Callable[[Arrays, dict[str, str]], None]:
    def damage(arrays: Arrays, metadata: dict[str, str]) -> None:
        del arrays[name]

    return damage


def replaced(name: str, make: Callable[[NDArray[Any]], Any]) -> Callable[..., None]:
    def damage(arrays: Arrays, metadata: dict[str, str]) -> None:
        arrays[name] = np.ascontiguousarray(make(arrays[name]))

    return damage


def configured(text: str) -> Callable[[Arrays, dict[str, str]], None]:
    def damage(arrays: Arrays, metadata: dict[str, str]) -> None:
        metadata[CONFIG_KEY] = text

    return damage


def reconfigured(**changes: Any) -> Callable[[Arrays, dict[str, str]], None]:
    def damage(arrays: Arrays, metadata: dict[str, str]) -> None:
        config = {**json.loads(metadata[CONFIG_KEY]), **changes}
        metadata[CONFIG_KEY] = json.dumps(config)

    return damage


DAMAGES = {
    "no network array": without("network.decoder.0.mix.weight"),
    "no prior array": without("prior.1.0.head.weight"),
    "no upsample": without("prior.upsample.0.weight"),
    "no values": without("prior.0.values.0"),
    "no codewords": without("prior.0.magnitudes.0"),
    "no table": without("tables.1.0"),
    "no phase": without("prior.2.2.update.weight"),
    "no level": without("prior.3.0.update.weight"),
    "network of another shape": replaced("network.decoder.0.mix.weight", lambda a: a[:-1]),
    "prior of another shape": replaced("prior.1.0.head.weight", lambda a: a[:, :-1]),
    "table of another shape": replaced("tables.0.0", lambda a: a[:, :-1]),
    "table with another sum": replaced("tables.0.0", lambda a: a + np.uint32(1)),
    "prior too large": replaced("prior.1.0.hidden.bias", lambda a: a + np.int32(1 << 24)),
    "slope too large": replaced("prior.0.0.slope", lambda a: a + np.int32(1 << 20)),
    "another program's": lambda arrays, metadata: metadata.clear(),
    "config that is not JSON": configured("{"),
    "config that is a list": configured("[]"),
    "config without phases": configured("{}"),
    "config with other fields": reconfigured(depth=3),
    "config with a phase less": reconfigured(phases=[[1, 1], [2, 2]]),
    "config with a phase more": reconfigured(phases=[[1, 1], [3, 3]]),
    "config with a level less": reconfigured(phases=[[1, 1], [3]]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_file_that_is_not_ours_is_refused(
    tiny_weights: Path, tmp_path: Path, damage: Callable[[Arrays, dict[str, str]], None]
) -> None:
    arrays, metadata = stored(tiny_weights)
    path = tmp_path / "damaged.safetensors"
    save_file(arrays, path, metadata)
    Codec.load(path, device="cpu")
    damage(arrays, metadata)
    save_file(arrays, path, metadata)
    with pytest.raises(ModelError):
        Codec.load(path, device="cpu")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not ours", bytes(64)])
def test_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="other"):
        Codec.load(path, device="cpu")


def test_a_truncated_file_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(tiny_weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="not a safetensors file"):
        Codec.load(path, device="cpu")


def test_a_file_too_large_is_refused_before_it_is_read(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(weights.MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(ModelError, match="larger than 64 MiB"):
        Codec.load(path, device="cpu")
    monkeypatch.setattr(weights, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="larger than"):
        Codec.load(tiny_weights, device="cpu")


def test_a_loaded_model_codes_an_image(tiny_codec: Codec) -> None:
    image = Image.new("RGB", (20, 10), (200, 30, 90))
    decoded = np.asarray(tiny_codec.decode(tiny_codec.encode(image, quality=90))).astype(float)
    assert np.abs(decoded.mean((0, 1)) - (200, 30, 90)).max() < 12
