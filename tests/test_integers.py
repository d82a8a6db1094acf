"""From codebooks back to integers: the same network as far as integers can be it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pictures import SAMPLE
from PIL import Image
from torch import Tensor

from train import integers
from train.checkpoint import load_model, runs_of
from train.export import export, model_card, trained_for
from train.integers import class_offsets, with_integers
from vqcodec.codec.codec import Codec
from vqcodec.model.quantizer import Codebooks, IntegerQuantizer
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import ModelInfo, find
from vqcodec.weights.store import load


def bits_and_mse(model: VQVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        output = model.eval()(x, torch.full((len(x),), 60.0))
    return output.bits, output.mse


@pytest.fixture(scope="module")
def x(scenes: Tensor) -> Tensor:
    return scenes[0].float() / 255


def test_codewords_become_integers_and_nothing_else_changes(
    tiny_model: VQVAE, tiny_weights: Path, x: Tensor
) -> None:
    model = with_integers(load(ModelInfo(tiny_weights)), 1, 1)
    assert model.config.groups is None
    assert all(isinstance(level.quantizer, IntegerQuantizer) for level in model.levels)
    for level, phases in zip(tiny_model.levels, model.prior.levels, strict=True):
        assert all(phase.head.out_channels == len(level.project) for phase in phases)
    theirs = tiny_model.state_dict()
    for name, value in model.state_dict().items():
        if ".head." not in name and not name.endswith(".slope"):
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1 / 512)
    (bits, mse), (bits_before, mse_before) = bits_and_mse(model, x), bits_and_mse(tiny_model, x)
    assert (bits < 1.05 * bits_before).all()
    torch.testing.assert_close(mse, mse_before, rtol=0.05, atol=0)


def test_channels_that_share_their_codewords_keep_classes_of_their_own() -> None:
    shipped = find("photo-6-psnr")
    model, codec = with_integers(load(shipped), 1, 1), Codec.load(shipped.path, device="cpu")
    image = Image.open(SAMPLE).convert("RGB").crop((0, 0, 192, 192))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    coded = sum(codec.bits(codec.tokenize(image, quality=60)))
    assert model.config.shared_codebooks
    assert float(bits_and_mse(model, x)[0]) == pytest.approx(coded, rel=0.05)


def test_added_blocks_begin_as_the_identity(tiny_weights: Path, x: Tensor) -> None:
    shipped = load(ModelInfo(tiny_weights))
    same, deeper = with_integers(shipped, 1, 1), with_integers(shipped, 3, 4)
    assert (deeper.config.analysis_blocks, deeper.config.synthesis_blocks) == (3, 4)
    for value, other in zip(bits_and_mse(deeper, x), bits_and_mse(same, x), strict=True):
        torch.testing.assert_close(value, other)


def test_a_channel_is_wider_than_its_class_by_what_its_codewords_say() -> None:
    codebooks = Codebooks(1, 256, 2)  # integers, with tables to match
    with torch.no_grad():
        # Tables of a class further, at every class but the last.
        codebooks.logits[1, :-2] = codebooks.logits[1, 2:].clone()
    plain, wider = class_offsets(codebooks)[:, 0].tolist()
    assert plain == pytest.approx(0, abs=0.02)
    assert wider == pytest.approx(1, abs=0.02)


def test_the_script_writes_a_checkpoint_to_start_from(tiny_weights: Path, tmp_path: Path) -> None:
    out, weights = tmp_path / "start.pt", tmp_path / "tiny.safetensors"
    shutil.copy(tiny_weights, weights)
    weights.with_suffix(".json").write_text('{"trained for": ["ms_ssim"]}')
    arguments = [str(weights), str(out), "--synthesis-blocks", "4"]
    assert CliRunner().invoke(integers.main, arguments).exit_code == 0
    model, state = load_model(out, VQVAE.from_dict)
    assert model.config.synthesis_blocks == 4
    assert state["step"] == 0
    assert trained_for(state["config"]) == ["ms_ssim"]


def test_a_card_counts_the_runs_before_the_weights_that_a_run_began_with() -> None:
    card = {"stages": ["first", "second"], "steps": 300, "hours": 0.5, "gigapixels": 0.25}
    config = {"stages": runs_of(card), "command": "third", "settings": {}}
    state = {"config": config, "step": 100, "seconds": 360}
    counted = model_card(state | {"pixels": 50_000_000}, "tiny")
    assert counted["stages"] == ["first", "second", "third"]
    assert (counted["steps"], counted["hours"], counted["gigapixels"]) == (400, 0.6, 0.3)


def test_it_can_be_turned_into_codebooks_again(
    tiny_weights: Path, tmp_path: Path, x: Tensor
) -> None:
    from train.codebooks import measure_ranges, with_codebooks

    model = with_integers(load(ModelInfo(tiny_weights)), 1, 1).eval()
    batch = (x * 255).to(torch.uint8)[None]
    again = with_codebooks(model, measure_ranges(model, batch)).eval()
    export(again, tmp_path / "again.safetensors", {})
    assert load(ModelInfo(tmp_path / "again.safetensors")).config["groups"]
