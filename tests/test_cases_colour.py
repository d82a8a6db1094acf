"""Colour and depth as people have them in their files, named by the cases from the field."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tagged import file_of, png_with
from test_colour import matrix_profile

from vqcodec.fileformat.headers import bits
from vqcodec.fileformat.image import prepare


def light(samples: Any) -> NDArray[np.float64]:
    """Light of sRGB samples of 0..255."""
    x = np.asarray(samples, np.float64) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


# M13: profiles of another space


@pytest.mark.parametrize(
    ("mode", "icc"),
    [
        ("RGB", matrix_profile(b"GRAY")),
        ("RGB", matrix_profile()[:16] + b"CMYK" + matrix_profile()[20:]),
        ("RGBA", matrix_profile(b"GRAY")),
        ("L", matrix_profile()[:16] + b"CMYK" + matrix_profile()[20:]),
        ("L", matrix_profile()[:200]),
        ("RGB", b"nonsense"),
    ],
)
def test_m13_a_profile_of_another_space_is_left_out_aloud(
    photo: Image.Image, mode: str, icc: bytes
) -> None:
    image = photo.convert(mode)
    image.info["icc_profile"] = icc
    prepared = prepare(image)
    assert prepared.icc is None
    assert "ICC profile left out" in prepared.notes[0]


# M15: colours as PNG describes them


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
def test_m15_gamma_is_converted(photo: Image.Image, mode: str, gamma: float) -> None:
    image = photo.convert(mode)
    plain = prepare(image)
    prepared = prepare(png_with(image, gAMA=struct.pack(">I", round(gamma * 100_000))))
    expected = (plain.pixels / 255.0) ** (1 / gamma)
    # Half a step of 8 bits, where the curve is steepest.
    assert np.abs(light(prepared.pixels) - expected).max() < 0.5 / 255 * 2.3
    assert "colours converted from gAMA to sRGB" in prepared.notes


def test_m15_gray_of_16_bits_is_converted_before_it_is_cut() -> None:
    values = np.arange(0, 2000, dtype=np.uint16)[None]
    prepared = prepare(png_with(Image.fromarray(values), gAMA=struct.pack(">I", 100_000)))
    assert len(np.unique(prepared.pixels)) > 40, "the shadows were cut first: 9 steps"
    assert np.abs(light(prepared.pixels[0, :, 0]) - values[0] / 65535).max() < 1.2 / 255 * 0.4
    assert prepared.notes[-1] == "colours converted from gAMA to sRGB"


def chromaticities(*values: float) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for value in values))


P3 = chromaticities(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


@pytest.mark.parametrize(
    "chunks",
    [
        {"cHRM": P3},
        {"cHRM": P3, "gAMA": struct.pack(">I", 45455)},
        {"cICP": bytes((12, 13, 0, 1))},
    ],
)
def test_m15_primaries_are_converted(chunks: dict[str, bytes]) -> None:
    # White, the most saturated red that sRGB shows, and what lies beyond it.
    image = Image.fromarray(np.array([[[255] * 3, [234, 51, 35], [255, 0, 0]]], np.uint8))
    prepared = prepare(png_with(image, **chunks))
    off = np.abs(prepared.pixels[0].astype(int) - [[255] * 3, [255, 0, 0], [255, 0, 0]])
    assert off.max() <= 6
    assert off[0].max() == off[2].max() == 0
    assert [note.split(" from ")[0] for note in prepared.notes] == ["colours converted"]


def test_m15_white_of_another_temperature_stays_white() -> None:
    d50 = chromaticities(0.3457, 0.3585, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
    image = Image.new("RGB", (4, 4), "white")
    assert (prepare(png_with(image, cHRM=d50)).pixels == 255).all()


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ({"cICP": bytes((9, 16, 0, 1))}, "PQ"),
        ({"cICP": bytes((9, 18, 0, 1))}, "HLG"),
        ({"cICP": bytes((22, 17, 0, 1))}, "22 and 17"),
        ({"gAMA": bytes(4)}, "gAMA"),
        ({"cHRM": bytes(32)}, "cHRM"),
        ({"cHRM": chromaticities(*[0.3, 0.3] * 4)}, "cHRM"),
    ],
)
def test_m15_what_cannot_be_converted_is_said(
    photo: Image.Image, chunks: dict[str, bytes], name: str
) -> None:
    prepared = prepare(png_with(photo, **chunks))
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert len(prepared.notes) == 1
    assert "not converted" in prepared.notes[0]
    assert name in prepared.notes[0]


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45455)},
        {"gAMA": struct.pack(">I", 100_000), "sRGB": b"\0"},
        {"cICP": bytes((1, 13, 0, 1)), "gAMA": struct.pack(">I", 100_000)},
        {"cHRM": chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)},
    ],
)
def test_m15_srgb_by_any_name_is_left_as_it_is(
    photo: Image.Image, chunks: dict[str, bytes]
) -> None:
    prepared = prepare(png_with(photo, **chunks))
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert prepared.notes == []


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (13, None)])
def test_m15_code_points_of_avif_are_read(
    photo: Image.Image, transfer: int, name: str | None
) -> None:
    out = io.BytesIO()
    photo.save(out, "AVIF")
    before, mark, after = out.getvalue().partition(b"colrnclx")
    data = before + mark + struct.pack(">HH", 1, transfer) + after[4:]
    notes = prepare(Image.open(io.BytesIO(data))).notes
    assert notes == ([f"colours not converted to sRGB from {name} (nclx)"] if name else [])


def test_m15_a_profile_comes_before_gamma() -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 0))
    image.info["icc_profile"] = matrix_profile()
    expected = prepare(image)
    prepared = prepare(png_with(image, gAMA=struct.pack(">I", 100_000)))
    assert np.array_equal(prepared.pixels, expected.pixels)


# D2 and D3: depth


@pytest.mark.parametrize(("largest", "bits"), [(65535, 16), (1023, 10)])
@pytest.mark.parametrize("kind", [b"P6", b"P3"])
def test_d2_bits_that_a_ppm_loses_are_said(largest: int, bits: int, kind: bytes) -> None:
    head = b"%s 2 1 %d\n" % (kind, largest)
    samples = [largest, largest // 2, 0] * 2
    body = struct.pack(">6H", *samples) if kind == b"P6" else " ".join(map(str, samples)).encode()
    prepared = prepare(Image.open(io.BytesIO(head + body)))
    assert prepared.pixels[0, 0].tolist() == pytest.approx([255, 127, 0], abs=1)
    assert prepared.notes == [f"{bits} bits a channel reduced to 8"]


def test_d2_bits_that_avif_and_jpeg_2000_lose_are_known(photo: Image.Image) -> None:
    out = io.BytesIO()
    photo.save(out, "AVIF")
    before, mark, after = out.getvalue().partition(b"av1C")
    deep = before + mark + after[:2] + bytes((after[2] | 0x40,)) + after[3:]
    deep = deep.replace(b"pixi\0\0\0\0\3\x08\x08\x08", b"pixi\0\0\0\0\3\x0a\x0a\x0a")
    assert [bits(Image.open(io.BytesIO(data))) for data in (out.getvalue(), deep)] == [8, 10]
    out = io.BytesIO()
    photo.save(out, "JPEG2000")
    data = out.getvalue()
    first = data.index(b"\xff\x4f\xff\x51") + 42
    deep = data[:first] + b"\x0b" + data[first + 1 :]
    assert [bits(Image.open(io.BytesIO(each))) for each in (data, deep)] == [8, 12]


def test_d2_a_ppm_of_8_bits_says_nothing(photo: Image.Image) -> None:
    assert prepare(file_of(photo, "PPM")).notes == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1.0001], [0, 128, 255]),
        ([-0.05, 0.5, 1.1], [0, 128, 255]),
        ([0, 2, 4], [0, 128, 255]),
        ([0, 0.25, 50], [0, 1, 255]),
        ([-3, 127.5, 258], [0, 128, 255]),
        ([0, 100, 200], [0, 100, 200]),
    ],
)
def test_d3_floating_point_is_not_black(values: list[float], expected: list[int]) -> None:
    prepared = prepare(Image.fromarray(np.array([values], np.float32)))
    assert prepared.pixels[0, :, 0].tolist() == expected
    outside = min(values) < 0 or max(values) in (1.0001, 1.1)
    assert ("clipped" in prepared.notes[0]) == outside
