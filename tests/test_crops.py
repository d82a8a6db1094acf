"""Crops of several codecs in equal bytes: what is drawn, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import crops


@pytest.fixture
def photo_png(photo: Image.Image, tmp_path: Path) -> Path:
    photo.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(crops.main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_every_codec_keeps_to_the_budget(photo_png: Path, tmp_path: Path) -> None:
    out = tmp_path / "crops.png"
    options = ("--box", "8,4,20,10", "--bpp", "2", "--zoom", "3", "-c", "jpeg", "-c", "webp")
    code, output = run(photo_png, "-o", out, *options)
    assert code == 0, output
    image = Image.open(photo_png)
    sizes = re.findall(r"^(\w+): (\d+) bytes", output, re.MULTILINE)
    assert [name for name, _ in sizes] == ["jpeg", "webp"]
    assert all(int(size) <= 2 * image.width * image.height / 8 for _, size in sizes)
    sheet = Image.open(out)
    assert sheet.size == (3 * 60 + 2 * crops.GAP, 30 + crops.CAPTION)
    part = sheet.crop((0, 0, 60, 30)).resize((20, 10), Image.Resampling.NEAREST)
    assert part.tobytes() == image.convert("RGB").crop((8, 4, 28, 14)).tobytes()


def test_a_codec_without_so_small_a_file_is_named(photo_png: Path, tmp_path: Path) -> None:
    code, output = run(
        photo_png, "-o", tmp_path / "a.png", "--box", "0,0,8,8", "--bpp", "0.01", "-c", "jpeg"
    )
    assert code == 1
    assert "jpeg cannot go down to 0.01 bits per pixel" in output
    assert not (tmp_path / "a.png").exists()


def test_a_box_is_four_numbers(photo_png: Path, tmp_path: Path) -> None:
    code, output = run(photo_png, "-o", tmp_path / "a.png", "--box", "0,0,8")
    assert code == 2
    assert "is not four numbers" in output
