"""Networks of other shapes: more scales, other transforms. A config, and nothing else changes."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference import Reference

from train.codebooks import measure_ranges, with_codebooks
from train.export import export
from train.vqvae import VQVAETask, parameter_groups
from vqcodec.codec import tiles
from vqcodec.codec.codec import Codec
from vqcodec.codec.tokens import from_flat
from vqcodec.model.config import Config
from vqcodec.model.initialise import initialise
from vqcodec.model.vqvae import VQVAE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Levels = Sequence[Sequence[NDArray[Any]]]

SIZES: dict[str, Any] = {
    "prior_width": 8,
    "prior_head": 8,
    "hidden_between_phases": 4,
    "pixel_hidden": (4, 4, 4),
}
LIGHT = Path(__file__).parents[1] / "train" / "runs" / "light.json"
SHAPES = {
    "three scales": Config(
        strides=(4, 2, 8),
        transforms=("dct", "dct", "lapped"),
        channels=((6, 8), (12,), (6, 20)),
        phases=((3, 1), (2,), (3, 2)),
        hidden=((8, 8), (8,), (8, 8)),
        **SIZES,
    ),
    "four scales": Config(
        strides=(2, 2, 2, 8),
        transforms=("dct", "dct", "dct", "lapped"),
        channels=((8,), (8,), (12,), (6, 20)),
        phases=((3,), (2,), (1,), (1, 2)),
        hidden=((8,), (8,), (8,), (8, 8)),
        picture_layers=1,
        activation="relu",
        block_inputs=48,
        shared_codebooks=True,
        **SIZES,
    ),
    # The grids, phases and activation of the light network, of fewer and narrower levels.
    "light": Config.from_dict(
        json.loads(LIGHT.read_text(encoding="utf-8"))
        | {
            "channels": ((12,), (12,), (12,), (6, 10, 12)),
            "phases": ((3,), (3,), (3,), (3, 2, 2)),
            "hidden": ((8,), (8,), (8,), (8, 8, 8)),
            "block_inputs": 24,
            **SIZES,
        }
    ),
    "blocks of 4": Config(
        strides=(4, 4, 4),
        transforms=("dct", "dct", "dct"),
        channels=((10,), (20,), (8, 12)),
        phases=((1,), (2,), (2, 1)),
        hidden=((8,), (8,), (8, 8)),
        **SIZES,
    ),
    "blocks of 16": Config(
        strides=(4, 16),
        transforms=("dct", "dct"),
        channels=((10,), (8, 40)),
        phases=((1,), (2, 1)),
        hidden=((8,), (8, 8)),
        **SIZES,
    ),
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=list(SHAPES))
def path(
    request: pytest.FixtureRequest, scenes: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The weights file of a network of another shape, trained for a few steps."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VQVAE(request.param)
        initialise(model, scenes[0].float() / 255)
        task = VQVAETask([], model.config)
        optimizer = torch.optim.Adam(parameter_groups(model, 3e-3))
        batch, losses = scenes[0, :, :, :64, :128], []
        for _ in range(6):
            loss = task.loss(model.train(), batch, torch.rand(len(batch)))["loss"]
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert all(np.isfinite(losses))
    model = with_codebooks(model.eval(), measure_ranges(model, scenes)).eval()
    path = tmp_path_factory.mktemp("shapes") / "shape.safetensors"
    export(model, path, {"architecture": "another"})
    return path


@pytest.fixture(scope="module")
def codec(path: Path) -> Codec:
    return Codec.load(path, device="cpu")


@pytest.fixture
def picture(scenes: Tensor) -> Image.Image:
    """RGB, 170x118: no multiple of anything."""
    pixels = scenes[1, 0].permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).crop((3, 5, 173, 123))


def same(indices: Levels, others: Levels) -> None:
    for level, other in zip(indices, others, strict=True):
        for group, other_group in zip(level, other, strict=True):
            np.testing.assert_array_equal(group, other_group)


def test_an_image_goes_through_files(codec: Codec, picture: Image.Image) -> None:
    data = codec.encode(picture, quality=70)
    same(codec.tokenize(picture, quality=70).indices, codec.file_tokens(data).indices)
    decoded = codec.decode(data)
    assert decoded.size == picture.size
    error = np.asarray(decoded, float) - np.asarray(picture, float)
    blind = np.asarray(picture, float) - np.asarray(picture, float).mean((0, 1))
    assert np.square(error).mean() < 0.5 * np.square(blind).mean()
    assert decoded.tobytes() == codec.render(codec.file_tokens(data)).tobytes()


def test_onnxruntime_shows_what_pytorch_shows(
    codec: Codec, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = codec.encode(picture, quality=70)
    in_torch = Codec(codec._loaded, "cpu", torch.float32)
    for side in (tiles.PIECE_SIDE, 6):
        monkeypatch.setattr(tiles, "PIECE_SIDE", side)
        monkeypatch.setattr(tiles, "ONE_TILE", side**2)
        for scale in (1, 2, 8):
            pictures = [np.array(each.decode(data, scale=scale), int) for each in (codec, in_torch)]
            assert abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.parametrize("size", [(170, 118), (64, 3), (1, 1)])
def test_a_second_decoder_reads_and_shows_the_same(
    codec: Codec, path: Path, picture: Image.Image, size: tuple[int, int]
) -> None:
    second = Reference(path)
    data = codec.encode(picture.crop((0, 0, *size)), quality=70)
    same(codec.file_tokens(data).indices, second.indices(data))
    assert abs(second.pixels(data) - np.array(codec.decode(data), int)).max() <= 1
    for kept in (40, len(data) // 2, len(data) - 1):
        preview = np.array(codec.decode(data[:kept], partial=True), int)
        assert abs(second.pixels(data[:kept], partial=True) - preview).max() <= 1


def test_tiles_change_nothing(
    codec: Codec, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = codec.encode(picture, quality=70)
    decoded = np.array(codec.decode(data), int)
    monkeypatch.setattr(tiles, "SIDE", 6)
    monkeypatch.setattr(tiles, "PIECE_SIDE", 6)
    monkeypatch.setattr(tiles, "ONE_TILE", 6**2)
    assert codec.encode(picture, quality=70) == data
    assert abs(np.array(codec.decode(data), int) - decoded).max() <= 1
    encoded = codec.encode_pixels(np.array(picture), 70, with_picture=True)
    assert encoded.picture is not None
    assert abs(encoded.picture.astype(int) - decoded).max() <= 1


def test_regions_scales_and_cut_streams(codec: Codec, picture: Image.Image) -> None:
    data = codec.encode(picture, quality=70)
    whole = np.array(codec.decode(data), int)
    region = np.array(codec.decode(data, region=(60, 40, 50, 30)), int)
    assert abs(region - whole[40:70, 60:110]).max() <= 1
    for scale in (2, 4, 8, 16, 32, 64):
        small, expected = codec.decode(data, scale=scale), picture.reduce(scale)
        assert small.size == expected.size
        error = np.asarray(small, float) - np.asarray(expected, float)
        assert np.square(error).mean() < 0.5 * np.asarray(expected, float).var()
    assert codec.decode(data[: len(data) // 2], partial=True).size == picture.size


def test_bits_are_those_of_the_stream(codec: Codec, picture: Image.Image) -> None:
    tokens = codec.tokenize(picture, quality=70)
    stream = codec.encode_pixels(np.array(picture), 70).stream
    assert sum(codec.bits(tokens)) / 8 == pytest.approx(len(stream), rel=0.02)


def test_a_shape_that_does_not_fit_is_refused() -> None:
    one = {name: (getattr(Config(), name)[-1],) for name in ("strides", "channels", "phases")}
    changes: list[dict[str, object]] = [
        {"strides": (8,)},
        {"transforms": ("lapped", "wavelet")},
        {"strides": (2, 8)},
        {**one, "hidden": (Config().hidden[-1],), "transforms": ("lapped",)},
    ]
    for changed in changes:
        with pytest.raises(ValueError, match=r"strides|transforms|of a stride of|two scales"):
            VQVAE(Config.from_dict(changed))


def test_tokens_have_the_shapes_of_the_config(codec: Codec, picture: Image.Image) -> None:
    tokens = codec.tokenize(picture, quality=60)
    assert tokens.shapes == codec.token_shapes(*picture.size)
    config = codec.config
    assert [shape.phases for shape in tokens.shapes] == list(itertools.chain(*config.phases))
    for shape, groups in zip(tokens.shapes, config.groups or (), strict=True):
        assert [(n, count) for _, n, count in groups] == list(
            zip(shape.codewords, shape.codebooks, strict=True)
        )
    again = replace(tokens, indices=from_flat(tokens.flat(), tokens.shapes))
    decoded = codec.decode(codec.encode(picture, quality=60))
    assert codec.render(again).tobytes() == decoded.tobytes()
