"""What a file's size and a picture's decibels are expected to be, and how that is fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from train.forecast import (
    LEAST_LOSS,
    QUALITIES,
    UNLIKE,
    enlarged,
    fitted,
    fitted_loss,
    joined,
    main,
    reached,
    unlike,
)
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.image import prepare
from vqcodec.rate_control.forecast import FEATURES, Squares, activity, squares
from vqcodec.rate_control.targets import PSNR, SIZE, SSIMULACRA2
from vqcodec.weights import ModelInfo


def noise(height: int, width: int, amount: float) -> Image.Image:
    return Image.effect_noise((width, height), amount).convert("RGB")


def test_squares_are_those_of_the_image_alone(codec: Codec) -> None:
    """A square's numbers do not depend on where it lies, but for what overlaps it."""
    pixels = np.array(noise(128, 192, 40))
    one = squares(codec, pixels, (128, 192))
    assert one.bits.shape == one.errors.shape == (100, 6)
    assert one.features.shape == (100, 6, len(FEATURES))
    assert one.pixels.tolist() == 6 * [64 * 64]
    quiet = pixels.copy()
    quiet[:, 128:] = 100
    other = squares(codec, quiet, (128, 192))
    ratio = other.bits / one.bits
    assert (ratio[:, [0, 3]] == 1).all()
    assert (ratio[49, [2, 5]] < 0.3).all()


def test_the_bits_of_padding_count_and_its_errors_do_not(codec: Codec) -> None:
    pixels = np.array(noise(64, 72, 40))
    seen = squares(codec, pixels, (64, 72))
    assert seen.pixels.tolist() == [64 * 64, 64 * 8]
    padded = np.pad(pixels, ((0, 0), (0, 56), (0, 0)), "edge")
    assert np.array_equal(SIZE.forecast(codec, pixels), SIZE.forecast(codec, padded))
    assert (PSNR.forecast(codec, pixels) < PSNR.forecast(codec, padded)).all()


def test_tiles_make_no_difference(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.array(noise(320, 448, 30))
    whole = PSNR.forecast(codec, pixels)
    monkeypatch.setattr("vqcodec.codec.tiles.ONE_TILE", 0)
    monkeypatch.setattr("vqcodec.codec.tiles.SIDE", 15)
    assert PSNR.forecast(codec, pixels) == pytest.approx(whole, abs=1e-3)


def test_more_is_expected_of_higher_qualities(codec: Codec) -> None:
    pixels = np.array(noise(64, 64, 40))
    for quantity in (SIZE, PSNR):
        assert (np.diff(quantity.forecast(codec, pixels)) > 0).all()


def test_activity_is_how_much_neighbours_differ() -> None:
    pixels = np.zeros((64, 70, 3), np.uint8)
    pixels[:, 1:64:2] = 10
    expected = 30.0
    assert activity(pixels).tolist() == [[expected, 0]]


def test_what_squares_give_is_fitted(codec: Codec) -> None:
    truth = torch.tensor([0.3, -0.2, 0.1, 0.4, -0.5, 0.2]).double()
    examples = []
    for amount in (2, 5, 10, 20, 40):
        pixels = np.array(noise(64, 128, amount))
        pixels[:, 64:] //= 4
        own = squares(codec, pixels, (64, 128))
        examples.append((own, own.psnr(truth).numpy()[np.array(QUALITIES) - 1]))
    found = torch.tensor(fitted(Squares.psnr, examples)).double()
    for own, values in examples:
        assert own.psnr(found).numpy()[np.array(QUALITIES) - 1] == pytest.approx(values, abs=0.02)


def test_it_is_fitted_to_real_files(codec: Codec) -> None:
    prepared = prepare(noise(64, 64, 30))
    for quantity in (SIZE, PSNR):
        values = reached(quantity, codec, prepared)
        assert values.shape == (len(QUALITIES),)
        assert (np.diff(values) > 0).all()


def test_the_script_writes_into_the_card(
    tiny_weights: Path, tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = (20, 80)
    for name in ("QUALITIES", "SCORED"):
        monkeypatch.setattr(f"train.forecast.{name}", qualities)
    model = tmp_path / "tiny.safetensors"
    model.write_bytes(tiny_weights.read_bytes())
    model.with_suffix(".json").write_text('{"steps": 7}')
    photos = [tmp_path / f"{turned}.png" for turned in range(0, 360, 90)]
    for turned, path in zip(range(0, 360, 90), photos, strict=True):
        photo.rotate(turned, expand=True).resize((192, 192)).save(path)
    result = CliRunner().invoke(main, [str(model), *map(str, photos), "--images", "4"])
    assert (result.exit_code, result.output) == (0, "")
    card = ModelInfo(model).card
    assert card["steps"] == 7
    fitted = card["forecast"]
    assert [len(fitted[name]) for name in ("log_bytes", "psnr")] == 2 * [len(FEATURES)]
    assert fitted["sample_log_bytes"] != 0 != fitted["sample_psnr"]
    assert fitted["sample_ssimulacra2"] != 0
    assert [quality for quality, _ in fitted["ssimulacra2"]] == [20, 80]
    # Nothing that any photograph did is unlike one.
    assert fitted["unlike_log_bytes"] >= SIZE.unlike
    assert fitted["unlike_psnr"] >= PSNR.unlike
    least, rise = fitted["requantized_psnr"]
    assert 0 < least < 3
    assert 0 <= rise < 3
    # What it says is expected, and without it what a pure transform codec would give.
    codec = Codec.load(model, "cpu")
    image = prepare(photo.resize((192, 192)))
    error = SIZE.forecast(codec, image.pixels)[np.array(qualities) - 1] - reached(
        SIZE, codec, image
    )
    assert np.abs(error).max() < 0.3


def test_the_card_says_what_is_unlike_a_photograph_and_what_requantising_loses(
    tiny_weights: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.safetensors"
    model.write_bytes(tiny_weights.read_bytes())
    unknown = Codec.load(model, "cpu")
    assert PSNR.unlike_of(unknown) == PSNR.unlike
    assert PSNR.goal(unknown) is PSNR
    card = {"unlike_psnr": 11.0, "unlike_log_bytes": 2.0, "requantized_psnr": [0.2, 0.4]}
    model.with_suffix(".json").write_text(json.dumps({"forecast": card}))
    known = Codec.load(model, "cpu")
    assert (PSNR.unlike_of(known), SIZE.unlike_of(known)) == (11.0, 2.0)
    loss = PSNR.goal(known).loss
    assert loss is not None
    assert [loss(100), loss(15)] == pytest.approx([0.2, 0.6])
    assert SIZE.goal(known) is SIZE


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((0.2, 0.3, 0.5), (0.183, 0.15)),
        ((0.3, 0.3, 0.1), (0.233, 0.0)),
        ((0.0, 0.0, 0.0), (LEAST_LOSS, 0.0)),
    ],
)
def test_losses_never_fall_with_the_coarseness(
    losses: tuple[float, ...], expected: tuple[float, float]
) -> None:
    assert fitted_loss(list(zip((0.0, 1.0, 2.0), losses, strict=True))) == expected
    assert fitted_loss([]) == (LEAST_LOSS, 0.0)


def test_scores_are_those_of_the_card_or_rise_from_end_to_end(
    codec: Codec, tiny_codec: Codec
) -> None:
    pixels = np.array(noise(64, 64, 40))
    known = SSIMULACRA2.forecast(codec, pixels)
    points = weights.find(weights.DEFAULT).card["forecast"]["ssimulacra2"]
    assert [known[quality - 1] for quality, _ in points] == [score for _, score in points]
    unknown = SSIMULACRA2.forecast(tiny_codec, pixels)
    assert (np.diff(unknown) > 0).all()
    assert np.ptp(np.diff(unknown)) == pytest.approx(0)


def test_what_is_unlike_a_photograph_is_more_than_any_photograph_falls_short_by(
    codec: Codec,
) -> None:
    numbers = len(FEATURES) * [0.0]
    column = torch.tensor(numbers).double()
    own = squares(codec, np.array(noise(64, 64, 30)), (64, 64))
    chosen = np.array(QUALITIES) - 1
    size, psnr = own.log_bytes(column).numpy()[chosen], own.psnr(column).numpy()[chosen]
    assert unlike(SIZE, [(own, size + 2)], numbers) == UNLIKE * 2
    assert unlike(PSNR, [(own, psnr - 7)], numbers) == UNLIKE * 7
    # What is shorter or better than expected says nothing.
    assert unlike(SIZE, [(own, size - 2)], numbers) == SIZE.unlike
    assert unlike(PSNR, [(own, psnr + 7)], numbers) == PSNR.unlike


def test_without_a_card_a_pure_transform_codec_is_expected(tiny_codec: Codec) -> None:
    pixels = np.array(noise(64, 64, 40))
    of_image = squares(tiny_codec, pixels, (64, 64))
    bits = of_image.bits[:, 0] * 64 * 64
    assert SIZE.forecast(tiny_codec, pixels) == pytest.approx((bits / 8).log().numpy())


def test_joined_photographs_are_cut_to_the_smallest() -> None:
    rng = np.random.default_rng(0)
    four = [rng.integers(0, 256, (20 + n, 30 - n, 3), np.uint8) for n in range(4)]
    (large,) = joined([*four, four[0]])
    assert large.shape == (40, 54, 3)
    assert np.array_equal(large[20:, 27:], four[3][:20, :27])


def test_enlarged_photographs_are_smooth() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    (large,) = enlarged([noise])
    assert large.shape == (64, 64, 3)
    assert np.abs(np.diff(large.astype(int), axis=1)).mean() < 60
