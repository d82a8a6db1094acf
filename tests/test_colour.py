"""Profiles made on the spot: converted when they differ from sRGB, kept when they cannot be."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from vqcodec.fileformat.image import chunks_of, info_of, prepare


def s15fixed16(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile_of(tags: dict[bytes, bytes], space: bytes, pcs: bytes) -> bytes:
    """An ICC v2 profile with these tags, a description and the white point."""
    name = b"made for a test\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    white = s15fixed16(0.9642, 1.0, 0.8249)
    tags = {b"desc": text, b"wtpt": b"XYZ \0\0\0\0" + white, **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    device = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4sI", offset + len(body), b"lcms", 0x02400000) + device + space + pcs
    header += bytes(12) + b"acsp" + bytes(28) + white
    return header + bytes(128 - len(header)) + table + body


def cmyk_profile() -> bytes:
    """A profile in which only black ink is seen: L* falls from 100 to 0 with K."""
    ramp = bytes(range(256))
    grid = b"".join(bytes((0 if k else 255, 128, 128)) for _ in range(8) for k in (0, 1))
    matrix = s15fixed16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + 4 * ramp + grid + 3 * ramp
    return profile_of({b"A2B0": lut}, b"CMYK", b"Lab ")


def matrix_profile(space: bytes = b"RGB ", gamma: float = 1.8, swap: bool = False) -> bytes:
    """A small ICC v2 profile: gray, or RGB with the primaries of sRGB, `swap` for G-R-B order."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + s15fixed16(*values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    if space == b"GRAY":
        return profile_of({b"kTRC": curve}, space, b"XYZ ")
    red, green = xyz(0.4361, 0.2225, 0.0139), xyz(0.3851, 0.7169, 0.0971)
    tags = {b"rXYZ": green if swap else red, b"gXYZ": red if swap else green}
    tags[b"bXYZ"] = xyz(0.1431, 0.0606, 0.7141)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile_of(tags, space, b"XYZ ")


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_srgb_profile_is_not_kept(photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    expected = prepare(image)
    image.info["icc_profile"] = srgb_profile()
    prepared = prepare(image)
    assert prepared.icc is None
    assert np.array_equal(prepared.pixels, expected.pixels)
    assert prepared.notes == expected.notes


def test_other_profile_is_converted_to_srgb_and_said_so() -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 0))
    image.info["icc_profile"] = matrix_profile(swap=True)
    prepared = prepare(image)
    assert prepared.icc is None
    assert prepared.notes == ["colours converted from 'made for a test' to sRGB"]
    # The profile calls the first channel green, and its gamma of 1.8 is lighter than that of sRGB.
    expected = [(100 / 255) ** 1.8, (200 / 255) ** 1.8, 0]
    coded = [255 * (1.055 * v ** (1 / 2.4) - 0.055) if v else 0 for v in expected]
    assert prepared.pixels[0, 0].tolist() == pytest.approx(coded, abs=3)


def test_alpha_survives_a_conversion_of_colour() -> None:
    image = Image.new("RGBA", (2, 2), (200, 100, 0, 7))
    image.info["icc_profile"] = matrix_profile()
    prepared = prepare(image)
    assert prepared.alpha is not None
    assert (prepared.alpha == 7).all()
    assert prepared.pixels[0, 0].tolist() != [200, 100, 0]


@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_gray_is_converted_and_stays_gray(mode: str, space: bytes) -> None:
    image = Image.fromarray(np.full((2, 2), 25700, np.uint16))
    if mode != "I;16":
        image = Image.new("L", (2, 2), 100).convert(mode)
    image.info["icc_profile"] = matrix_profile(space)
    prepared = prepare(image)
    assert prepared.gray
    assert prepared.icc is None
    coded = 255 * (1.055 * (100 / 255) ** (1.8 / 2.4) - 0.055)
    assert prepared.pixels[0, 0].tolist() == pytest.approx([coded] * 3, abs=2)


def test_unusable_profile_is_kept_and_said_so(photo: Image.Image) -> None:
    icc = matrix_profile()[:200]
    photo.info["icc_profile"] = icc
    prepared = prepare(photo)
    assert prepared.icc == icc
    assert "kept" in prepared.notes[0]
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert info_of(chunks_of(prepared))["icc_profile"] == icc


def test_cmyk_is_converted_through_its_profile() -> None:
    image = Image.new("CMYK", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    image.info["icc_profile"] = cmyk_profile()
    prepared = prepare(image)
    assert prepared.icc is None
    assert prepared.pixels[0, 0].tolist() == pytest.approx([255] * 3, abs=2)
    # L* of 50 is 119 in sRGB.
    assert prepared.pixels[0, 1].tolist() == pytest.approx([119] * 3, abs=2)
    assert prepared.notes == ["CMYK converted from 'made for a test' to sRGB"]


def test_cmyk_with_an_unusable_profile_is_converted_without_it() -> None:
    image = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    image.info["icc_profile"] = matrix_profile()
    prepared = prepare(image)
    assert prepared.icc is None
    assert prepared.pixels[0, 0].tolist() == [0, 255, 255]
    assert any("left out" in note for note in prepared.notes)
    assert any("CMYK converted" in note for note in prepared.notes)


def test_profile_of_lab_is_not_kept_for_rgb() -> None:
    image = Image.new("LAB", (2, 2))
    image.info["icc_profile"] = profile_of({}, b"Lab ", b"XYZ ")
    prepared = prepare(image)
    assert prepared.icc is None
    assert prepared.notes == ["LAB converted to RGB"]
