"""Colours left in those of their profile, and the profile kept, for those who ask for that."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms
from test_colour import cmyk_profile, matrix_profile, profile_of, s15fixed16, srgb_profile

import vqcodec
import vqcodec.VqcImagePlugin
from vqcodec.commands.main import cli
from vqcodec.errors import TargetError
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.image import prepare

CURVE = b"curv\0\0\0\0" + bytes((0, 0, 0, 1, 2, 51))  # a gamma of 2.2


def rgb_profile(red: Any, green: Any, blue: Any) -> bytes:
    """A profile with these colorants, in XYZ under D50."""
    tags = {
        name: b"XYZ \0\0\0\0" + s15fixed16(*colorant)
        for name, colorant in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue))
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), CURVE)
    return profile_of(tags, b"RGB ", b"XYZ ")


DISPLAY_P3 = rgb_profile(
    (0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)
)
ADOBE_RGB = rgb_profile(
    (0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)
)


def with_profile(image: Image.Image, icc: bytes) -> Image.Image:
    image.info["icc_profile"] = icc
    return image


@pytest.mark.parametrize("icc", [DISPLAY_P3, ADOBE_RGB, matrix_profile(), srgb_profile()])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_pixels_stay_in_a_matrix_profile(photo: Image.Image, mode: str, icc: bytes) -> None:
    image = photo.convert(mode)
    plain = prepare(image)
    prepared = prepare(with_profile(image, icc), keep_profile=True)
    assert np.array_equal(prepared.pixels, plain.pixels)
    assert prepared.notes == plain.notes
    assert prepared.icc == icc


def test_gray_stays_in_a_profile_of_gray(photo: Image.Image) -> None:
    gray = photo.convert("L")
    prepared = prepare(with_profile(gray, matrix_profile(b"GRAY")), keep_profile=True)
    assert np.array_equal(prepared.pixels[..., 0], np.asarray(gray))
    assert prepared.icc == matrix_profile(b"GRAY")


def lut_profile() -> bytes:
    """A profile of RGB by a table, as printers have: all colours are the same gray."""
    grid = 8 * bytes((128, 128, 128))
    matrix = s15fixed16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes((3, 3, 2, 0)) + matrix + 3 * ramp + grid + 3 * ramp
    return profile_of({b"A2B0": lut}, b"RGB ", b"Lab ")


@pytest.mark.parametrize(
    ("mode", "icc", "note"),
    [
        ("L", DISPLAY_P3, "ICC profile not kept: it is for RGB, the image is L"),
        ("RGB", lut_profile(), "ICC profile not kept: it has tables for a matrix"),
        ("CMYK", cmyk_profile(), "ICC profile not kept: it has tables for a matrix"),
        ("CMYK", DISPLAY_P3, "ICC profile not kept: it is for RGB, the image is CMYK"),
    ],
)
def test_colours_of_other_profiles_are_converted_aloud(
    photo: Image.Image, mode: str, icc: bytes, note: str
) -> None:
    image = with_profile(photo.convert(mode), icc)
    converted, prepared = prepare(image), prepare(image, keep_profile=True)
    assert prepared.icc is None
    assert np.array_equal(prepared.pixels, converted.pixels)
    assert prepared.notes == [note, *converted.notes]


@pytest.mark.parametrize("icc", [b"nonsense", matrix_profile()[:200]])
def test_a_damaged_profile_fares_as_without_the_option(photo: Image.Image, icc: bytes) -> None:
    image = with_profile(photo, icc)
    converted, prepared = prepare(image), prepare(image, keep_profile=True)
    assert (prepared.icc, prepared.notes) == (converted.icc, converted.notes)
    assert prepared.notes


def test_a_picture_comes_back_in_its_colours(photo: Image.Image, tmp_path: Path) -> None:
    with_profile(photo, DISPLAY_P3).save(tmp_path / "p3.png", icc_profile=DISPLAY_P3)
    run = CliRunner().invoke
    done = run(cli, ["encode", str(tmp_path / "p3.png"), "-q", "95", "--keep-profile"])
    assert done.exit_code == 0, done.stderr
    assert "profile" not in done.stderr
    back = tmp_path / "back.png"
    assert run(cli, ["decode", str(tmp_path / "p3.vqc"), "-o", str(back)]).exit_code == 0
    with Image.open(back) as image:
        assert image.info["icc_profile"] == DISPLAY_P3
        # Converted to sRGB, its greens and reds would be off by far more than the coding.
        assert np.abs(np.asarray(image).astype(int) - np.asarray(photo)).mean() < 3
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert ImageCms.getProfileDescription(profile).strip() == "made for a test"


def test_the_library_and_pillow_have_the_option(photo: Image.Image) -> None:
    image = with_profile(photo, ADOBE_RGB)
    data = vqcodec.encode(image, keep_profile=True)
    assert unpack(data).chunks == {ChunkTag.ICC: ADOBE_RGB}
    assert vqcodec.Codec.load(device="cpu").encode(image, keep_profile=True) == data
    out = io.BytesIO()
    image.save(out, "VQC", keep_profile=True)
    assert out.getvalue() == data
    assert Image.open(out).info["icc_profile"] == ADOBE_RGB


@pytest.mark.parametrize("strip", ["icc", "gps, icc", "all"])
def test_a_profile_is_not_kept_and_stripped(photo: Image.Image, strip: str) -> None:
    with pytest.raises(ValueError, match="to be kept and to be stripped"):
        vqcodec.encode(photo, strip=strip, keep_profile=True)
    arguments = ["encode", "a.png", "--strip", strip, "--keep-profile"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "to be kept and to be stripped" in result.stderr


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_option_is_true_or_false(photo: Image.Image, value: Any) -> None:
    with pytest.raises(TypeError, match="keep_profile is True or False"):
        vqcodec.encode(photo, keep_profile=value)


def test_a_limit_on_bytes_leaves_the_profile_or_is_an_error(photo: Image.Image) -> None:
    image = with_profile(photo, DISPLAY_P3)
    limit = len(DISPLAY_P3) + 100
    data = vqcodec.encode(image, max_bytes=limit, keep_profile=True)
    assert len(data) <= limit
    assert unpack(data).chunks == {ChunkTag.ICC: DISPLAY_P3}
    with pytest.raises(TargetError, match=f"its ICC profile alone takes {len(DISPLAY_P3)}$"):
        vqcodec.encode(image, max_bytes=len(DISPLAY_P3), keep_profile=True)
