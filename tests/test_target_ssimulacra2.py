"""Pictures of at least so good a score, by the package that measures it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import SAMPLE
from PIL import Image

import vqcodec
import vqcodec.VqcImagePlugin
from vqcodec import metrics
from vqcodec.codec.codec import Codec
from vqcodec.codec.target import Target
from vqcodec.commands.main import cli
from vqcodec.errors import TargetError, VqcWarning
from vqcodec.fileformat.container import unpack
from vqcodec.fileformat.image import prepare
from vqcodec.rate_control import encode_to_ssimulacra2


@pytest.fixture
def photo() -> Image.Image:
    """A part of the sample photograph, RGB, 128x128."""
    return Image.open(SAMPLE).convert("RGB").crop((128, 64, 256, 192))


def score(x: Image.Image, x_hat: Image.Image) -> float:
    return metrics.ssimulacra2(np.asarray(x), np.asarray(x_hat))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_score_is_met_and_the_quality_below_falls_short(
    codec: Codec, photo: Image.Image, mode: str
) -> None:
    photo = photo.convert(mode)
    data, notes = encode_to_ssimulacra2(codec, prepare(photo), 65)
    assert not notes
    assert 65 <= score(photo, codec.decode(data)) < 68
    smaller = codec.encode(photo, quality=unpack(data).header.quality - 2)
    assert score(photo, codec.decode(smaller)) < 65


def test_functions_of_the_package_and_the_plugin(photo: Image.Image) -> None:
    data = vqcodec.encode(photo, ssimulacra2=30, device="cpu")
    assert score(photo, vqcodec.decode(data)) >= 30
    stream = io.BytesIO()
    photo.save(stream, "VQC", ssimulacra2=30)
    assert unpack(stream.getvalue()).header == unpack(data).header


def test_a_score_out_of_reach_gives_the_best_there_is(photo: Image.Image) -> None:
    small = photo.crop((0, 0, 64, 64))
    with pytest.warns(VqcWarning, match="SSIMULACRA2 of 99 is out of reach, wrote"):
        data = vqcodec.encode(small, ssimulacra2=99, device="cpu")
    best = vqcodec.encode(small, quality=100, device="cpu")
    assert score(small, vqcodec.decode(data)) >= score(small, vqcodec.decode(best))


def test_an_image_that_is_too_small_has_no_score(photo: Image.Image) -> None:
    with pytest.raises(TargetError, match="8 pixels a side"):
        vqcodec.encode(photo.crop((0, 0, 7, 40)), ssimulacra2=50)


def test_one_target_at_a_time_and_a_number_within_range() -> None:
    with pytest.raises(ValueError, match="one at a time"):
        Target(psnr=30, ssimulacra2=50)
    with pytest.raises(ValueError, match="ssimulacra2 101 is not within"):
        Target(ssimulacra2=101)


def test_without_the_package_the_message_says_how_to_get_it(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    photo.save("a.png")
    result = CliRunner().invoke(cli, ["encode", "a.png", "--ssimulacra2", "50"])
    assert (result.exit_code, Path("a.vqc").exists()) == (2, False)
    assert "pip install 'vqcodec[ssimulacra2]'" in result.stderr
    assert vqcodec.encode(photo, quality=5)
