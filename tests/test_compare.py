"""Comparing codecs at equal bytes: the search, who is left out, and the command."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pictures import psnr
from PIL import Image, features

from vqcodec.commands.comparison import (
    OPTIONS,
    Contender,
    compare,
    photo_page,
    pillow_contenders,
    squeeze,
)
from vqcodec.commands.main import cli
from vqcodec.errors import ImageError
from vqcodec.fileformat.image import prepare

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec


def made(name: str, sizes: list[int]) -> Contender:
    """A codec whose files have the sizes given, one a setting; its picture tells the setting."""

    def encode(image: Image.Image, setting: float) -> bytes:
        return bytes([round(setting)]) * sizes[round(setting)]

    def decode(data: bytes) -> Image.Image:
        return Image.new("RGB", (40, 20), (data[0], 0, 0))

    return Contender(name, range(len(sizes)), encode, decode)


def embedded(page: str) -> list[tuple[str, bytes]]:
    """Type and bytes of every picture in a page."""
    found = re.findall(r'src="data:([^;]+);base64,([^"]*)"', page)
    return [(mime, base64.b64decode(data)) for mime, data in found]


BLACK = Image.new("RGB", (40, 20))


@pytest.mark.parametrize(("budget", "setting"), [(10, 0), (19, 0), (20, 1), (39, 2), (999, 4)])
def test_squeeze_takes_the_best_setting_within_the_budget(budget: int, setting: int) -> None:
    result = squeeze(made("a", [10, 20, 30, 40, 50]), BLACK, budget)
    assert result is not None
    assert (result.setting, len(result.data)) == (setting, 10 + 10 * setting)
    error = setting**2 / 3  # one channel of three differs
    assert result.psnr == pytest.approx(10 * math.log10(255**2 / error) if error else math.inf)


def test_squeeze_never_goes_over_the_budget_though_sizes_jump_about() -> None:
    sizes = [int(size) for size in np.random.default_rng(3).integers(1, 99, 50)]
    for budget in range(1, 99):
        result = squeeze(made("a", sizes), BLACK, budget)
        assert result is None or len(result.data) <= budget


def test_squeeze_finds_nothing_where_all_is_too_large() -> None:
    assert squeeze(made("a", [10, 20]), BLACK, 9) is None


def test_who_cannot_take_part_is_named_and_the_others_are_compared() -> None:
    def refuse(image: Image.Image, setting: float) -> bytes:
        raise ValueError("too wide")

    codecs = [
        made("fits", [10, 90, 110]),
        made("large", [200, 300]),
        Contender("narrow", range(3), refuse, made("", []).decode),
        made("small", [10, 20]),
    ]
    (table, slider), notes = compare(BLACK, codecs, 1.0)  # 100 bytes
    assert notes == [
        "large left out: it cannot go down to 100 bytes",
        "narrow left out: too wide",
        "small is at its best setting and does not fill the budget",
    ]
    assert re.findall(r'scope="row">(\w+)<', table) == ["fits", "small"]
    assert "<td>90</td><td>90.0 %</td><td>0.9000</td>" in table
    assert re.findall(r'data-name="(\w+)"', slider) == ["original", "fits", "small"]


def test_a_budget_that_nobody_meets_is_an_error() -> None:
    reason = "nothing to show: a left out: it cannot go down to 5 bytes; b left out"
    with pytest.raises(ImageError, match=reason):
        compare(BLACK, [made("a", [10]), made("b", [20])], 0.05)


def test_the_page_shows_the_very_files_and_the_original_pixel_by_pixel(photo: Image.Image) -> None:
    codecs, absent = pillow_contenders(["jpeg", "webp"])
    assert absent == []
    page, _ = photo_page("photo", prepare(photo), codecs, 2.0, [])
    original, jpeg, webp = embedded(page.decode())
    assert (jpeg[0], webp[0]) == ("image/jpeg", "image/webp")
    for codec, (_, data) in zip(codecs, (jpeg, webp), strict=True):
        result = squeeze(codec, photo, 96 * 64 * 2 // 8)
        assert result is not None
        assert data == result.data
        assert f"<td>{len(data):,}</td>" in page.decode()
    with Image.open(io.BytesIO(original[1])) as shown:
        assert shown.convert("RGB").tobytes() == photo.tobytes()


def test_a_codec_that_browsers_cannot_show_is_shown_by_its_pixels() -> None:
    (_, slider), _ = compare(BLACK, [made("a", [10, 20, 30])], 0.3)
    mime, data = embedded(slider)[1]
    assert mime in ("image/webp", "image/png")
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.convert("RGB").getpixel((0, 0)) == (2, 0, 0)


def test_gray_pictures_are_compared_too(photo: Image.Image) -> None:
    codecs, _ = pillow_contenders(["jpeg", "webp"])
    page, _ = photo_page("gray", prepare(photo.convert("L")), codecs, 1.0, [])
    values = [float(text) for text in re.findall(r"([\d.]+) dB</option>", page.decode())]
    assert min(values) > 25


def test_what_the_page_leaves_out_of_the_photograph_is_said(photo: Image.Image) -> None:
    photo = photo.resize((40, 20))
    photo.putalpha(128)
    page, notes = photo_page("photo", prepare(photo), [made("a", [10])], 1.0, ["b left out"])
    assert notes[:2] == ["opacity left out", "b left out"]
    assert "<li>opacity left out</li><li>b left out</li>" in page.decode()


@pytest.mark.parametrize("name", OPTIONS)
def test_codecs_of_pillow_are_there_or_named(name: str, photo: Image.Image) -> None:
    found, notes = pillow_contenders([name, name])
    if not features.check("jpg" if name == "jpeg" else name):
        assert (found, len(notes)) == ([], 1)
        return
    (codec,) = found
    small, large = (codec.encode(photo, setting) for setting in (5, 80))
    assert len(small) < len(large)
    assert psnr(photo, codec.decode(small)) < psnr(photo, codec.decode(large))


# The command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--with", "webp,gif"], "no codec named 'gif'; there are jpeg, webp, avif"),
        (["--with", ""], "no codec named ''"),
        (["--bpp", "0"], "--bpp"),
        (["--bpp", "much"], "--bpp"),
    ],
)
def test_arguments_that_make_no_sense_are_code_2(arguments: list[str], reason: str) -> None:
    result = run("photo.png", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr.splitlines()[-1]


def test_bad_input_is_one_line_and_no_page() -> None:
    Path("bad.png").write_bytes(b"no picture")
    for name, reason in (("bad.png", "not an image that Pillow can read"), ("x", "no such file")):
        result = run(name, "-o", "page.html")
        assert result.exit_code == 1
        line, summary = result.stderr.splitlines()
        assert (line, summary[:17]) == (f"{name}: {reason}", "0 files, 1 failed")
    assert [path.name for path in Path().iterdir()] == ["bad.png"]


def test_an_existing_page_is_not_overwritten_and_the_photo_never(photo: Image.Image) -> None:
    photo.save("photo.png")
    Path("photo.html").write_text("mine")
    result = run("photo.png")
    assert result.exit_code == 1
    assert "photo.html exists already (--force overwrites it)" in result.stderr
    assert Path("photo.html").read_text() == "mine"
    result = run("photo.png", "-o", "photo.png", "--force")
    assert result.exit_code == 1
    assert "would replace the input" in result.stderr


def test_a_photo_becomes_a_page(codec: Codec, photo: Image.Image) -> None:
    photo.save("photo.png")
    result = run("photo.png", "--bpp", "1.5", "--with", "webp,jpeg")
    assert result.exit_code == 0, result.stderr
    page = Path("photo.html").read_text(encoding="utf-8")
    assert re.findall(r'scope="row">(\w+)<', page) == ["vqcodec", "webp", "jpeg"]
    budget = 96 * 64 * 1.5 / 8
    labels = re.findall(r"([\d,]+) bytes, [\d.]+ dB</p>", page)
    sizes = [int(text.replace(",", "")) for text in labels]
    assert len(sizes) == 3
    assert max(sizes) <= budget
    assert min(sizes) > 0.8 * budget
    _, data = embedded(page)[1]
    with Image.open(io.BytesIO(data)) as shown:
        quality = int(re.findall(r"vqcodec</th><td>(\d+)<", page)[0])
        coded = codec.encode(photo, quality=quality)
        assert shown.convert("RGB").tobytes() == codec.decode(coded).tobytes()
    assert f"vqcodec, {len(coded):,} bytes" in page

    result = run("photo.png", "--bpp", "0.01", "-o", "tight.html")
    assert result.exit_code == 1
    assert result.stderr.startswith("photo.png: nothing to show: vqcodec left out: it cannot")
    assert not Path("tight.html").exists()
