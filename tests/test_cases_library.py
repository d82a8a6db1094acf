"""The library and the plugin, as people call them: what they are told, what is refused."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from program import vqcodec_

import vqcodec
import vqcodec.VqcImagePlugin
from vqcodec import weights
from vqcodec.api import load_codec
from vqcodec.fileformat.container import Container, Header, pack
from vqcodec.fileformat.truncate import truncate

Encode = Callable[..., bytes]


def by_codec(image: Image.Image, **options: Any) -> bytes:
    return load_codec(weights.DEFAULT, "cpu").encode(image, **options)


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "VQC", **options)
    return file.getvalue()


ENCODERS = pytest.mark.parametrize("encode", [vqcodec.encode, by_codec, by_pillow])


def animation(photo: Image.Image) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "GIF", save_all=True, append_images=[photo.rotate(90), photo.rotate(180)])
    return Image.open(file)


def deep(photo: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)


# A1: notes are warnings


@ENCODERS
def test_a1_frames_and_bits_that_are_lost_are_warnings(encode: Encode, photo: Image.Image) -> None:
    with pytest.warns(vqcodec.VqcWarning) as caught:
        encode(animation(photo))
    said = [str(warning.message) for warning in caught]
    assert "frame 1 of 3 kept, the others left out" in said
    assert len(said) == len(set(said))
    assert {Path(warning.filename).name for warning in caught} == {"test_cases_library.py"}
    with pytest.warns(vqcodec.VqcWarning, match="^I;16 gray of 0..65535 reduced to 8 bits$"):
        encode(deep(photo))


def test_a1_tokens_warn_too(photo: Image.Image) -> None:
    with pytest.warns(vqcodec.VqcWarning, match="reduced to 8 bits") as caught:
        vqcodec.tokenize(deep(photo))
    assert [Path(warning.filename).name for warning in caught] == ["test_cases_library.py"]


@ENCODERS
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a1_what_is_kept_is_no_warning(encode: Encode, photo: Image.Image, mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(photo.convert(mode))


def test_a1_the_command_line_says_each_note_once(photo: Image.Image, tmp_path: Path) -> None:
    deep(photo).save(tmp_path / "deep.png")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "vqcodec", "encode", "deep.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("reduced to 8 bits") == 1
    assert "Warning" not in done.stderr


# I1: arguments


def given_sound(photo: Image.Image) -> bytes:
    return by_codec(photo, quality=10)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_i1_every_bytes_like_object_is_a_file(
    photo: Image.Image, kind: Callable[[bytes], Any]
) -> None:
    data = given_sound(photo)
    assert vqcodec.decode(kind(data)).tobytes() == vqcodec.decode(data).tobytes()
    assert vqcodec.info(kind(data)) == vqcodec.info(data)
    assert vqcodec.truncate(kind(data), 100) == vqcodec.truncate(data, 100)
    assert isinstance(vqcodec.truncate(kind(data), len(data)), bytes)


@pytest.mark.parametrize("wrong", ["x.vqc", Path("x.vqc"), None, 7, [1, 2], io.BytesIO()])
@pytest.mark.parametrize(
    "function", [vqcodec.decode, vqcodec.info, lambda data: vqcodec.truncate(data, 100)]
)
def test_i1_what_is_no_file_is_named(function: Callable[[Any], Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(wrong).__name__}$"):
        function(wrong)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ("p.png", "str"),
        (b"\x89PNG", "bytes"),
        (PurePosixPath("p.png"), "PurePosixPath"),
        (None, "NoneType"),
        ([[1, 2]], "list"),
        (np.zeros((4, 5, 3)), r"float64 \[4, 5, 3\]"),
        (np.zeros((4, 5, 2), np.uint8), r"uint8 \[4, 5, 2\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 \[1, 4, 5, 3\]"),
        (np.zeros(5, np.uint8), r"uint8 \[5\]"),
        (np.array(None), r"object \[\]"),
    ],
)
@pytest.mark.parametrize("encode", [vqcodec.encode, by_codec, vqcodec.tokenize])
def test_i1_what_is_no_image_is_named(encode: Encode, wrong: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"not {name}$"):
        encode(wrong)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0, 3), (0, 0, 4)])
def test_i1_an_array_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(vqcodec.ImageError, match="without pixels"):
        vqcodec.encode(np.zeros(shape, np.uint8))


@ENCODERS
@pytest.mark.parametrize("option", ["quality", "max_bytes", "bpp", "psnr"])
@pytest.mark.parametrize(
    "value", [True, np.True_, "50", b"50", [50], math.nan, -math.inf, -1, 0, 5j, -(10**400)]
)
def test_i1_a_number_that_makes_no_sense_is_named(
    encode: Encode, photo: Image.Image, option: str, value: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{option} "):
        encode(photo, **{option: value})


@ENCODERS
@pytest.mark.parametrize("option", ["quality", "bpp", "psnr"])
@pytest.mark.parametrize("value", [101, 1e30, math.inf, 10**400])
def test_i1_a_number_beyond_its_range_is_refused(
    encode: Encode, photo: Image.Image, option: str, value: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{option} "):
        encode(photo, **{option: value})


@pytest.mark.parametrize("max_bytes", [2**31, 2**63, 10**400])
def test_i1_any_number_of_bytes_is_a_limit(photo: Image.Image, max_bytes: int) -> None:
    image = photo.crop((0, 0, 20, 10))
    assert by_codec(image, max_bytes=max_bytes) == by_codec(image, quality=100)
    data = given_sound(image)
    assert truncate(data, max_bytes) == (data, [])


@pytest.mark.parametrize("spare", [0, 1, 2, 3, 126, 127, 128, 129, 16382, 16383, 16384, 16385])
def test_i1_a_limit_is_used_to_the_word(spare: int) -> None:
    frame = Header(b"\0\1\2\3", 768, 512, quality=60)
    least = len(pack(Container(frame)))
    data = pack(Container(frame, payload=bytes(20000)))
    assert 0 <= least + spare - len(truncate(data, least + spare)[0]) < 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "2"}, TypeError, "^scale is a whole number, not str"),
        ({"scale": True}, TypeError, "^scale is a whole number, not bool"),
        ({"scale": 2.0}, TypeError, "^scale is a whole number, not float"),
        ({"scale": 128}, ValueError, "^scale 128 is not within 1..64"),
        ({"max_pixels": None}, TypeError, "^max_pixels is a whole number, not NoneType"),
        ({"max_pixels": math.nan}, TypeError, "^max_pixels is a whole number, not float"),
        ({"region": "abc"}, TypeError, "^a region is four whole numbers, not 'abc'"),
        ({"region": (0, 0, 5)}, TypeError, r"^a region is four whole numbers, not \(0, 0, 5\)"),
        ({"region": (0, 0, 5.0, 5)}, TypeError, "^a region is four whole numbers"),
        ({"region": ()}, TypeError, "^a region is four whole numbers"),
        ({"region": (0, 0, 10**30, 5)}, vqcodec.RegionError, "not within the image"),
        ({"device": "gpu"}, ValueError, "^device is auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
        ({"device": None}, ValueError, "^device is auto, cpu, cuda, cuda:N or mps, not None"),
    ],
)
def test_i1_what_decode_cannot_do_is_named(
    photo: Image.Image, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        vqcodec.decode(given_sound(photo), **options)


def test_i1_a_region_may_be_an_array(photo: Image.Image) -> None:
    data = given_sound(photo)
    by_array = vqcodec.decode(data, region=np.array([1, 2, 30, 40]))  # type: ignore[arg-type]
    assert by_array.tobytes() == vqcodec.decode(data, region=(1, 2, 30, 40)).tobytes()


@pytest.mark.parametrize("wrong", [None, "x.vqc", b"", 5])
def test_i1_what_is_no_model_or_no_tokens_is_named(photo: Image.Image, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"^render takes Tokens, not {type(wrong).__name__}$"):
        vqcodec.render(wrong)
    if isinstance(wrong, bytes | int):
        with pytest.raises(TypeError, match=f"^model is .*, not {type(wrong).__name__}$"):
            vqcodec.encode(photo, model=wrong)  # type: ignore[arg-type]


# P4: options of Image.save

TIFF = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x02\0\0\0m\0\0\0\0\0\0\0"  # Make = "m"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"exif": b"garbage"}, ValueError, "^exif cannot be read: not a TIFF file"),
        ({"exif": b"Exif\0\0garbage"}, ValueError, "^exif cannot be read: not a TIFF file"),
        ({"exif": {271: 1}}, TypeError, "^exif is a bytes-like object, not dict"),
        ({"exif": "abc"}, TypeError, "^exif is a bytes-like object, not str"),
        ({"exif": True}, TypeError, "^exif is a bytes-like object, not bool"),
        ({"exif": 0}, TypeError, "^exif is a bytes-like object, not int"),
        ({"icc_profile": "sRGB"}, TypeError, "^icc_profile is a bytes-like object, not str"),
        ({"icc_profile": [1]}, TypeError, "^icc_profile is a bytes-like object, not list"),
        ({"quality": True}, TypeError, "^quality is a whole number, not bool"),
        ({"quality": "keep"}, TypeError, "^quality is a whole number, not str"),
        ({"quality": 101}, ValueError, "^quality 101 is not within 1..100"),
        ({"lossless": True}, ValueError, "^there is no lossless .vqc file"),
        ({"lossless": 1}, ValueError, "^there is no lossless .vqc file"),
        ({"quality": 50, "max_bytes": 900}, ValueError, "one at a time"),
    ],
)
def test_p4_options_that_make_no_sense_are_refused(
    photo: Image.Image,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        photo.save(tmp_path / "x.vqc", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"dpi": (300, 300)},
        {"optimize": True},
        {"subsampling": 0, "progressive": True},
        {"save_all": True, "append_images": [Image.new("RGB", (4, 4))]},
        {"qualtiy": 90},
    ],
)
def test_p4_options_that_it_does_not_have_are_warned_of(
    photo: Image.Image, options: dict[str, Any]
) -> None:
    with pytest.warns(vqcodec.VqcWarning) as caught:
        data = by_pillow(photo, **options)
    said = sorted(str(warning.message).split()[0] for warning in caught)
    assert said == sorted(set(options) - {"save_all"})
    assert data == by_pillow(photo)
    assert {Path(warning.filename).name for warning in caught} == {"test_cases_library.py"}


@pytest.mark.parametrize(
    "options", [{"quality": 30}, {"max_bytes": 500}, {"bpp": 1.0}, {"psnr": 25.0}]
)
def test_p4_every_target_is_an_option(photo: Image.Image, options: dict[str, Any]) -> None:
    assert by_pillow(photo, **options) == vqcodec.encode(photo, **options)


def test_p4_what_is_not_given_is_not_warned_of(photo: Image.Image) -> None:
    nothing = dict.fromkeys(("dpi", "exif", "icc_profile", "quality", "bpp", "xmp"))
    assert by_pillow(photo, **nothing, lossless=False, save_all=True) == by_pillow(photo)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_p4_exif_is_kept_from_any_bytes(photo: Image.Image, kind: type, prefix: bytes) -> None:
    saved = Image.open(io.BytesIO(by_pillow(photo, exif=kind(prefix + TIFF))))
    assert saved.info["exif"] == b"Exif\0\0" + TIFF


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(vqcodec.ModelError, match=r"^no device cuda:99 is available, \d+ of CUDA"):
        vqcodec.encode(Image.new("RGB", (8, 8)), device="cuda:99")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="a machine with MPS")
def test_mps_that_is_not_there_is_named(photo: Image.Image, workplace: Path) -> None:
    line = "no device mps is available with this PyTorch: use cpu or another"
    data = given_sound(photo)
    calls: list[tuple[Callable[..., object], object]] = [
        (vqcodec.encode, photo), (vqcodec.decode, data)
    ]  # fmt: skip
    for function, given in calls:
        with pytest.raises(vqcodec.ModelError, match=f"^{line}$"):
            function(given, device="mps")
    photo.save("a.png")
    Path("a.vqc").write_bytes(data)
    for arguments in (["encode", "a.png", "-f"], ["decode", "a.vqc", "-o", "b.png"]):
        result = vqcodec_(*arguments, "--device", "mps")
        assert result.exit_code == 1
        assert result.stderr.splitlines()[0] == f"{arguments[1]}: {line}"
