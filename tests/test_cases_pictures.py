"""Pictures from the field: what alpha hides, gray stored as colour, HEIC and JPEG XL."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from pictures import psnr
from PIL import Image, ImageDraw

from vqcodec import metrics
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.errors import ImageError, TargetError
from vqcodec.fileformat import plugins
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.hidden import fill_hidden
from vqcodec.fileformat.image import open_image, prepare
from vqcodec.fileformat.truncate import truncate

Array = NDArray[np.uint8]


def disc(size: tuple[int, int], *, soft: bool = False) -> Image.Image:
    """Opacity: a disc of 255 on 0, with a rim in between if `soft`."""
    width, height = size
    opacity = Image.new("L", (4 * width, 4 * height))
    box = (width, height // 2, 3 * width, 3 * height)
    ImageDraw.Draw(opacity).ellipse(box, fill=255)
    how = Image.Resampling.BOX if soft else Image.Resampling.NEAREST
    return opacity.resize(size, how)


def hidden(photo: Image.Image, opacity: Image.Image) -> dict[str, Image.Image]:
    """The same sprite with several colours where opacity is 0."""
    noise = np.random.default_rng(0).integers(0, 256, (photo.height, photo.width, 3))
    under = {
        "black": Image.new("RGB", photo.size),
        "magenta": Image.new("RGB", photo.size, "magenta"),
        "noise": Image.fromarray(noise.astype(np.uint8)),
    }
    shown = opacity.point(lambda value: 255 if value else 0)
    for image in under.values():
        image.paste(photo, mask=shown)
        image.putalpha(opacity)
    return under


# D9: colours under alpha 0


@pytest.mark.parametrize("soft", [False, True])
def test_d9_what_is_hidden_costs_nothing(codec: Codec, photo: Image.Image, soft: bool) -> None:
    opacity = disc(photo.size, soft=soft)
    files = [codec.encode(image, quality=50) for image in hidden(photo, opacity).values()]
    assert files[0] == files[1] == files[2]
    decoded = codec.decode(files[0])
    assert decoded.mode == "RGBA"
    assert decoded.getchannel("A").tobytes() == opacity.tobytes()


def test_d9_the_rim_is_as_good_as_without_alpha(codec: Codec, photo: Image.Image) -> None:
    opacity = disc(photo.size)
    visible = np.asarray(opacity) > 0

    def shown(image: Image.Image) -> float:
        decoded = codec.decode(codec.encode(image, quality=50)).convert("RGB")
        return metrics.psnr(np.asarray(photo)[visible], np.asarray(decoded)[visible])

    for name, image in hidden(photo, opacity).items():
        assert shown(image) > shown(photo) - 1, name


def test_d9_visible_colours_are_left_alone(photo: Image.Image) -> None:
    alpha = np.array(disc(photo.size, soft=True))
    assert {0, 255} < set(np.unique(alpha))
    filled = np.asarray(fill_hidden(photo, alpha))
    assert np.array_equal(filled[alpha > 0], np.asarray(photo)[alpha > 0])
    photo.putalpha(Image.fromarray(alpha))
    prepared = prepare(photo)
    assert prepared.alpha is not None
    assert np.array_equal(prepared.alpha, alpha)
    assert np.array_equal(prepared.pixels, filled)


def test_d9_holes_are_filled_with_what_is_around_them() -> None:
    y, x = np.mgrid[0:90, 0:130].astype(float)
    plane = np.stack([60 + x, 200 - y, 20 + x / 2 + y], axis=-1).astype(np.uint8)
    alpha = np.full(x.shape, 255, np.uint8)
    alpha[30:60, 40:90] = 0
    wild = np.where(alpha[..., None] > 0, plane, np.uint8(255))
    filled = np.asarray(fill_hidden(Image.fromarray(wild), alpha))
    assert abs(filled.astype(int) - plane).mean(axis=(0, 1)).max() < 1
    steps = abs(np.diff(filled.astype(int), axis=0)).max(), abs(np.diff(filled.astype(int))).max()
    assert steps[0] <= 8, "there is no edge at the rim or within"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (64, 1), (7, 5)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_d9_one_visible_pixel_colours_all(size: tuple[int, int], mode: str) -> None:
    image = Image.new(mode, size, 255)
    colour: int | tuple[int, ...] = 70 if mode == "L" else (70, 80, 90)
    image.putpixel((0, 0), colour)
    alpha = np.zeros(size[::-1], np.uint8)
    assert not np.asarray(fill_hidden(image, alpha)).any(), "none is visible"
    alpha[0, 0] = 1
    off = np.asarray(fill_hidden(image, alpha)).astype(int) - colour
    assert abs(off).max() <= 2  # of averages in 8 bits


@pytest.mark.slow
def test_d9_twelve_megapixels_take_a_few_seconds() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), np.uint8))
    alpha = np.array(disc((400, 300)).resize(image.size))
    begin = time.process_time()
    fill_hidden(image, alpha)
    assert time.process_time() - begin < 10


@pytest.mark.filterwarnings("ignore:palette expanded")
@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_d9_alpha_that_is_opaque_is_no_alpha(codec: Codec, photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode.removesuffix("A"))
    plain = codec.encode(image.convert("RGB") if mode == "PA" else image)
    image.putalpha(255)
    assert image.mode == mode
    assert prepare(image).alpha is None
    assert codec.encode(image) == plain
    image.putalpha(254)
    assert set(unpack(codec.encode(image)).chunks) == {ChunkTag.ALPHA}


# N1: gray


def as_palette(gray: Image.Image) -> Image.Image:
    return gray.convert("P")


def as_rgba(gray: Image.Image) -> Image.Image:
    image = gray.convert("RGBA")
    image.putalpha(disc(gray.size))
    return image


def over_magenta(gray: Image.Image) -> Image.Image:
    return hidden(gray.convert("RGB"), disc(gray.size))["magenta"]


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_n1_gray_stored_as_colour_stays_gray(
    codec: Codec, photo: Image.Image, quality: int
) -> None:
    gray = photo.convert("L")
    data = codec.encode(gray.convert("RGB"), quality=quality)
    assert data == codec.encode(gray, quality=quality)
    red, green, blue = codec.decode(data).convert("RGB").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize("disguise", [as_palette, as_rgba, over_magenta])
def test_n1_gray_is_found_in_every_mode(
    photo: Image.Image, disguise: Callable[[Image.Image], Image.Image]
) -> None:
    assert prepare(disguise(photo.convert("L"))).gray


def test_n1_one_coloured_pixel_is_colour(photo: Image.Image) -> None:
    image = photo.convert("L").convert("RGB")
    image.putpixel((3, 4), (10, 10, 11))
    assert not prepare(image).gray


# D10: alpha under a limit on size


def noisy_alpha(photo: Image.Image) -> Image.Image:
    """The photograph with an alpha of some 5 kB."""
    image = photo.copy()
    noise = np.random.default_rng(0).integers(0, 256, (photo.height, photo.width), np.uint8)
    image.putalpha(Image.fromarray(noise))
    return image


@pytest.mark.parametrize("target", [{"max_bytes": 3000}, {"bpp": 4.0}])
def test_d10_a_size_without_room_for_alpha_is_refused(
    codec: Codec, photo: Image.Image, target: dict[str, Any]
) -> None:
    image = noisy_alpha(photo)
    alpha = len(unpack(codec.encode(image)).chunks[ChunkTag.ALPHA])
    assert alpha > 5000
    with pytest.raises(TargetError, match=f"its alpha alone takes {alpha}$"):
        codec.encode(image, **target)


@pytest.mark.parametrize("spare", [40, 300, 4000])
def test_d10_alpha_stays_exact_and_colours_give_way(
    codec: Codec, photo: Image.Image, spare: int
) -> None:
    image = noisy_alpha(photo)
    alpha = len(unpack(codec.encode(image)).chunks[ChunkTag.ALPHA])
    data = codec.encode(image, max_bytes=alpha + spare)
    assert len(data) <= alpha + spare
    assert codec.decode(data).getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_d10_truncating_keeps_alpha_or_refuses(codec: Codec, photo: Image.Image) -> None:
    image = noisy_alpha(photo)
    data = codec.encode(image, quality=80)
    alpha = unpack(data).chunks[ChunkTag.ALPHA]
    smaller, notes = truncate(data, len(alpha) + 60)
    assert (unpack(smaller).chunks, notes) == ({ChunkTag.ALPHA: alpha}, [])
    with pytest.raises(TargetError, match=f"its alpha alone takes {len(alpha)}$"):
        truncate(data, len(alpha))


# A3: formats of Pillow's plugins

PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}
FORMATS = pytest.mark.parametrize("image_format", PLUGINS)


def vqcodec_(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def written(image: Image.Image, image_format: str, **options: Any) -> bytes:
    pytest.importorskip(PLUGINS[image_format])
    plugins.register()
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


@FORMATS
def test_a3_they_are_read_and_found_in_folders(
    photo: Image.Image, tmp_path: Path, image_format: str
) -> None:
    data = written(photo, image_format, quality=95)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = {"HEIF": ["a.heic", "b.HEIF", "c.hif"], "JXL": ["a.jxl"]}[image_format]
    for name in names:
        (folder / name).write_bytes(data)
    assert vqcodec_("encode", folder, "-o", out).exit_code == 0
    assert [path.name for path in sorted(out.iterdir())] == [f"{name[0]}.vqc" for name in names]
    assert vqcodec_("encode", folder / names[0], "-o", tmp_path / "x.vqc").exit_code == 0
    assert vqcodec_("decode", tmp_path / "x.vqc").exit_code == 0
    assert psnr(photo, Image.open(tmp_path / "x.png")) > 25


@pytest.mark.parametrize("suffix", [".heic", ".heif", ".jxl"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a3_they_are_written(
    codec: Codec, photo: Image.Image, tmp_path: Path, suffix: str, mode: str
) -> None:
    pytest.importorskip(PLUGINS["JXL" if suffix == ".jxl" else "HEIF"])
    image = photo.convert(mode)
    if "A" in mode:
        image.putalpha(disc(photo.size))
    path = tmp_path / "x.vqc"
    path.write_bytes(codec.encode(image, quality=90))
    decoded = codec.decode(path.read_bytes())
    result = vqcodec_("decode", path, "-o", path.with_suffix(suffix))
    assert result.exit_code == 0, result.stderr
    back = Image.open(path.with_suffix(suffix))
    assert ("A" in back.mode) == ("A" in mode)
    seen = [
        Image.alpha_composite(Image.new("RGBA", photo.size, "gray"), image.convert("RGBA"))
        for image in (decoded, back)
    ]
    assert psnr(*seen) > 35


def test_a3_an_upright_heic_is_not_turned_again(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = written(photo, "HEIF", exif=exif.tobytes())
    assert prepare(open_image(data)).pixels.shape == (96, 64, 3)


def test_a3_bits_of_a_deep_heic_are_told(photo: Image.Image) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    deep = (np.asarray(photo).astype(np.uint16) * 257).tobytes()
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", photo.size, deep).save(file)
    assert prepare(open_image(file.getvalue())).notes == ["10 bits a channel reduced to 8"]


@FORMATS
def test_a3_damage_is_one_line(photo: Image.Image, tmp_path: Path, image_format: str) -> None:
    data = written(photo, image_format)
    for size in (*range(0, 60, 7), len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError):
            prepare(open_image(data[:size]))
    (tmp_path / "x.jxl").write_bytes(data[:200])
    result = vqcodec_("encode", tmp_path / "x.jxl")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.jxl"]


@FORMATS
def test_a3_without_the_plugin_its_name_is_told(
    photo: Image.Image, tmp_path: Path, image_format: str
) -> None:
    (tmp_path / "x.jxl").write_bytes(written(photo, image_format))
    absent = "; ".join(f"sys.modules[{name!r}] = None" for name in PLUGINS.values())
    program = f"import sys; {absent}; from vqcodec.commands.main import cli; cli(['encode', '.'])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    package = {"HEIF": "pillow-heif", "JXL": "pillow-jxl-plugin"}[image_format]
    assert f"pip install {package}`" in done.stderr.splitlines()[0]
