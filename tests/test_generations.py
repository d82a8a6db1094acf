"""Generation loss: each picture is made from the one before, and measured against the original."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from benchmarks import codecs, generations, metrics


def run(*arguments: object) -> Result:
    return CliRunner().invoke(generations.main, [str(argument) for argument in arguments])


def again(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=6)
    return Image.open(stream).convert("RGB")


def test_a_generation_is_made_from_the_one_before(photo: Image.Image) -> None:
    size, decibels = generations.generations(codecs.build("webp"), 30, photo, 3)
    first = again(photo, 30)
    second = again(first, 30)
    third = again(second, 30)
    assert decibels == [metrics.psnr(photo, picture) for picture in (first, second, third)]
    assert size == len(codecs.build("webp").encode(photo, 30))
    assert len(set(decibels)) == 3


@pytest.mark.parametrize("size", [1, 700, 1500, 10**6])
def test_others_have_the_nearest_file(photo: Image.Image, size: int) -> None:
    webp = codecs.build("webp")
    setting = generations.nearest_setting(webp, photo, size)
    off = [abs(len(webp.encode(photo, quality)) - size) for quality in range(1, 101)]
    assert off[setting - 1] == min(off)


@pytest.mark.slow
def test_the_table_has_every_codec_at_its_first_bytes(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png")
    options = ("--quality", "60", "--generation", "1", "--generation", "3")
    result = run(tmp_path / "photo.png", *options)
    assert result.exit_code == 0, result.output
    rows = [re.findall(r"[^| ]+", line) for line in result.stdout.splitlines()[2:8]]
    assert [row[0] for row in rows] == ["vqcodec-psnr", "avif", "webp", "vqcodec", "avif", "webp"]
    for own, *others in (rows[:3], rows[3:]):
        assert own[1] == "60"
        for name, setting, *_ in others:
            nearest = generations.nearest_setting(codecs.build(name), photo, int(own[2]))
            assert setting == str(nearest)
    for row in rows:
        codec = codecs.build(row[0])
        data = codec.encode(photo, int(row[1]))
        assert row[2:4] == [str(len(data)), f"{metrics.psnr(photo, codec.decode(data)):.2f}"]
        assert float(row[4]) <= float(row[3]) + 0.1
    assert "photo.png, 96×64" in result.stdout


def test_what_is_no_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    result = run(tmp_path / "a.png")
    assert result.exit_code == 1
    assert "cannot identify image file" in result.stderr
    assert len(result.stderr.splitlines()) == 1
