"""Every ordinary image, and some that are not, on their way into the codec and out of it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vqcodec.errors import ImageError, TooLargeError
from vqcodec.fileformat.image import Prepared, assemble, chunks_of, info_of, prepare

ORIENTATION = ExifTags.Base.Orientation
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"),
    *("CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "I;16L"),
)


def reopened(image: Image.Image, format: str, **options: Any) -> Image.Image:
    """The image as a file of that format gives it back, not yet loaded."""
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return Image.open(file)


def png16(samples: NDArray[np.uint16], colour_type: int) -> Image.Image:
    """A PNG of 16 bits a channel, which Pillow cannot write for colour; samples [H, W, C]."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(tag + data)
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", crc)

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return Image.open(
        io.BytesIO(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
    )


def exif_of(orientation: int | None = None, **tags: str) -> Image.Exif:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif


def exif_back(prepared: Prepared) -> Image.Exif:
    """What a decoder reads of the EXIF that a file keeps."""
    image = Image.new("L", (1, 1))
    image.info.update(info_of(chunks_of(prepared)))
    return image.getexif()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (5, 3)])
def test_every_mode_becomes_8_bit_colour(mode: str, size: tuple[int, int]) -> None:
    image = Image.new(mode, size)
    prepared = prepare(image)
    width, height = size
    assert prepared.pixels.shape == (height, width, 3)
    assert prepared.pixels.dtype == np.uint8
    assert prepared.pixels.flags.c_contiguous
    if prepared.alpha is not None:
        assert prepared.alpha.shape == (height, width)
        assert prepared.alpha.dtype == np.uint8
    assert (prepared.alpha is not None) == (mode in ("LA", "La", "PA", "RGBA", "RGBa"))


def test_rgb_is_untouched_and_silent(photo: Image.Image) -> None:
    prepared = prepare(photo)
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert not prepared.gray
    assert (prepared.alpha, prepared.icc, prepared.exif, prepared.notes) == (None, None, None, [])


def test_gray_comes_back_as_it_was(photo: Image.Image) -> None:
    gray = photo.convert("L")
    prepared = prepare(gray)
    assert prepared.gray
    assert prepared.notes == []
    for channel in range(3):
        assert np.array_equal(prepared.pixels[..., channel], np.asarray(gray))
    back = assemble(prepared.pixels, gray=True)
    assert back.mode == "L"
    assert back.tobytes() == gray.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_and_colour_come_back_as_they_were(photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(photo.size))
    prepared = prepare(image)
    back = assemble(prepared.pixels, gray=prepared.gray, alpha=prepared.alpha)
    assert back.mode == mode
    assert back.tobytes() == image.tobytes()
    assert prepared.notes == []


def test_premultiplied_colour_is_divided() -> None:
    prepared = prepare(Image.new("RGBa", (2, 2), (50, 25, 0, 128)))
    assert prepared.pixels[0, 0].tolist() == pytest.approx([100, 50, 0], abs=1)
    assert prepared.alpha is not None
    assert prepared.alpha[0, 0] == 128


def test_palette_is_expanded_and_said_so(photo: Image.Image) -> None:
    palette = photo.quantize(16)
    prepared = prepare(reopened(palette, "PNG"))
    assert np.array_equal(prepared.pixels, np.asarray(palette.convert("RGB")))
    assert not prepared.gray
    assert "palette" in prepared.notes[0]


def test_palette_of_grays_is_gray(photo: Image.Image) -> None:
    gray = photo.convert("L").quantize(16)
    gray.info["transparency"] = bytes(range(16))
    prepared = prepare(gray)
    assert prepared.gray
    assert prepared.alpha is not None
    assert prepared.alpha.max() == 15


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 77])])
def test_transparency_of_a_palette_becomes_alpha(transparency: int | bytes) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    prepared = prepare(reopened(image, "PNG", transparency=transparency))
    assert prepared.alpha is not None
    assert prepared.alpha.tolist() == [[255, 0, 255 if transparency == 1 else 77]]
    assert prepared.pixels[0, 2].tolist() == [70, 80, 90]


@pytest.mark.parametrize(("mode", "key", "other"), [("L", 7, 8), ("RGB", (1, 2, 3), (1, 2, 4))])
def test_transparent_colour_becomes_alpha(mode: str, key: Any, other: Any) -> None:
    image = Image.new(mode, (2, 1), other)
    image.putpixel((1, 0), key)
    prepared = prepare(reopened(image, "PNG", transparency=key))
    assert prepared.alpha is not None
    assert prepared.alpha.tolist() == [[255, 0]]


def test_transparent_value_of_16_bits_becomes_alpha() -> None:
    image = Image.fromarray(np.array([[1000, 1001, 257]], np.uint16))
    prepared = prepare(reopened(image, "PNG", transparency=1001))
    assert prepared.alpha is not None
    assert prepared.alpha.tolist() == [[255, 0, 255]]


def test_1_bit_is_black_and_white_gray() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    prepared = prepare(image)
    assert prepared.gray
    assert prepared.pixels[0, :, 0].tolist() == [0, 255]
    assert "1-bit" in prepared.notes[0]


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("format", [None, "PNG", "TIFF"])
def test_16_bit_gray_is_scaled_not_clipped(dtype: str, format: str | None) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], dtype)
    image = Image.fromarray(values)
    prepared = prepare(image if format is None else reopened(image, format))
    assert prepared.gray
    assert prepared.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
    assert "I;16 gray of 0..65535" in prepared.notes[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-1000, 0, 1000], [0, 128, 255]),
        ([100_000, 100_000, 100_000], [0, 0, 0]),
    ],
)
def test_32_bit_gray_is_scaled_by_its_range(values: list[int], expected: list[int]) -> None:
    prepared = prepare(Image.fromarray(np.array([values], np.int32)))
    assert prepared.pixels[0, :, 0].tolist() == expected
    assert "I gray" in prepared.notes[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 99.6, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 3.0], [0, 64, 255]),
        ([float("nan"), 1.0, float("inf")], [0, 255, 0]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
    ],
)
def test_floating_point_gray_is_scaled_by_its_range(
    values: list[float], expected: list[int]
) -> None:
    prepared = prepare(Image.fromarray(np.array([values], np.float32)))
    assert prepared.pixels[0, :, 0].tolist() == expected
    assert "F gray" in prepared.notes[0]


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_is_reduced_and_said_so(colour_type: int, channels: int) -> None:
    samples = np.full((2, 3, channels), 0x8123, np.uint16)
    prepared = prepare(png16(samples, colour_type))
    assert (prepared.pixels == 0x81).all()
    assert prepared.notes == ["16 bits a channel reduced to 8"]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces_are_converted_and_said_so(mode: str) -> None:
    colours = {"CMYK": (0, 255, 255, 0), "YCbCr": (76, 85, 255), "HSV": (0, 255, 255)}
    colours["LAB"] = (136, 208, 195)
    prepared = prepare(Image.new(mode, (2, 2), colours[mode]))
    red, green, blue = prepared.pixels[0, 0].tolist()
    assert red > 235
    assert max(green, blue) < 60
    assert f"{mode} converted to RGB" in prepared.notes[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_carried_out_and_dropped(photo: Image.Image, orientation: int) -> None:
    exif = exif_of(orientation, Make="maker")
    image = reopened(photo, "PNG", exif=exif)
    prepared = prepare(image)
    upright = np.asarray(photo)
    if orientation in (5, 6, 7, 8):
        upright = upright.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    assert np.array_equal(prepared.pixels, upright)
    back = exif_back(prepared)
    assert back[ExifTags.Base.Make] == "maker"
    assert back.get(ORIENTATION, 1) == 1
    assert image.getexif()[ORIENTATION] == orientation, "the caller's image was changed"
    assert image.size == photo.size


def test_upright_exif_is_kept_byte_for_byte(photo: Image.Image) -> None:
    data = exif_of(1, Make="maker", Artist="me").tobytes()
    prepared = prepare(reopened(photo, "JPEG", exif=data))
    assert prepared.exif is not None
    assert b"Exif\0\0" + prepared.exif == data
    assert info_of(chunks_of(prepared))["exif"] == data


def test_exif_of_orientation_alone_is_not_kept(photo: Image.Image) -> None:
    assert prepare(reopened(photo, "JPEG", exif=exif_of(6))).exif is None


def test_meaningless_orientation_becomes_upright(photo: Image.Image) -> None:
    prepared = prepare(reopened(photo, "JPEG", exif=exif_of(99, Make="maker")))
    assert np.asarray(prepared.pixels).shape == (photo.height, photo.width, 3)
    assert exif_back(prepared)[ORIENTATION] == 1


def test_tiff_keeps_what_describes_the_photograph(photo: Image.Image) -> None:
    prepared = prepare(reopened(photo, "TIFF", exif=exif_of(Make="maker", Artist="me")))
    back = exif_back(prepared)
    assert dict(back) == {ExifTags.Base.Make: "maker", ExifTags.Base.Artist: "me"}


@pytest.mark.parametrize("exif", [b"nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM"])
def test_damaged_exif_does_not_stop_an_image(photo: Image.Image, exif: bytes) -> None:
    photo.info["exif"] = exif
    prepared = prepare(photo)
    assert np.array_equal(prepared.pixels, np.asarray(photo))
    assert prepared.exif is None


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_several_is_kept_and_said_so(format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    image = reopened(frames[0], format, save_all=True, append_images=frames[1:], **options)
    prepared = prepare(image)
    assert prepared.pixels[0, 0].tolist() == [255, 0, 0]
    assert "frame 1 of 3 kept" in prepared.notes[0]


def test_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="0x5"):
        prepare(Image.new("RGB", (0, 5)))


def test_image_that_is_too_large_is_refused_before_it_is_read() -> None:
    class Unreadable(Image.Image):
        size = (8192, 16385)

        def load(self) -> None:
            raise AssertionError("was read")

    with pytest.raises(TooLargeError, match="8192x16385"):
        prepare(Unreadable())


def test_truncated_image_is_refused(photo: Image.Image) -> None:
    file = io.BytesIO()
    photo.save(file, "JPEG")
    with pytest.raises(ImageError, match="cannot be read"):
        prepare(Image.open(io.BytesIO(file.getvalue()[:-200])))


def test_damage_that_pillow_reports_strangely_is_an_image_error() -> None:
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    head, control, tail = file.getvalue().rpartition(b"\x21\xf9\x04")
    damaged = Image.open(io.BytesIO(head + control[:2] + b"\x01" + tail))
    with pytest.raises(ImageError, match="index out of range"):
        prepare(damaged)
