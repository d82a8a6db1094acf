"""The package: its names, its functions, what they take and what they refuse."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import vqcodec
import vqcodec.VqcImagePlugin
from vqcodec import weights
from vqcodec.api import load_codec
from vqcodec.fileformat.container import ChunkTag, Container, Header, pack, read_header

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

ROOT = Path(__file__).parents[1]
CHUNKS = {ChunkTag.EXIF: bytes(60)}
FOREIGN = pack(Container(Header(b"\x00\x01\x02\x03", 768, 512, quality=60), CHUNKS, bytes(99)))


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "VQC", **options)
    return file.getvalue()


def by_codec(image: Image.Image, **options: Any) -> bytes:
    return load_codec(weights.DEFAULT, "cpu").encode(image, **options)


def assert_same(tokens: vqcodec.Tokens, others: vqcodec.Tokens) -> None:
    assert [len(level) for level in tokens.indices] == [len(level) for level in others.indices]
    for level, other_level in zip(tokens.indices, others.indices, strict=True):
        for group, other_group in zip(level, other_level, strict=True):
            np.testing.assert_array_equal(group, other_group)


# The names


def test_everything_in_all_exists_and_nothing_else() -> None:
    for name in vqcodec.__all__:
        assert callable(getattr(vqcodec, name))
    assert len(set(vqcodec.__all__)) == len(vqcodec.__all__)
    # In a fresh process, before the names that are imported late are there.
    script = "import vqcodec; print(*vars(vqcodec))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    found = {name: getattr(vqcodec, name) for name in done.stdout.split()}
    public = {
        name
        for name, value in found.items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(vqcodec.__all__) - {"Codec", "Tokens", "VectorQuantizer"}
    assert isinstance(load_codec(weights.DEFAULT, "cpu"), vqcodec.Codec)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = vqcodec.nonsense


def test_every_error_is_exported() -> None:
    from vqcodec import errors

    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, vqcodec.VqcError | vqcodec.VqcWarning)
    }
    assert kinds < set(vqcodec.__all__)
    assert issubclass(vqcodec.VqcError, ValueError)
    assert issubclass(vqcodec.VqcWarning, UserWarning)


def test_importing_the_package_does_not_import_torch() -> None:
    script = (
        "import sys, vqcodec; vqcodec.register(); vqcodec.info(bytes.fromhex(sys.argv[1]))\n"
        "vqcodec.truncate(bytes.fromhex(sys.argv[1]), 120); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, FOREIGN.hex()], check=True, cwd=ROOT)


def test_every_model_that_is_named_is_shipped() -> None:
    assert {weights.find(name).path.is_file() for name in weights.TUNED.values()} == {True}
    assert weights.find_density(weights.DENSITY).path.is_file()


# What goes in


def test_arrays_are_the_images_that_they_show(photo: Image.Image, codec: Codec) -> None:
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    for image in (photo, photo.convert("L"), alpha):
        expected = codec.encode(image, quality=30)
        assert vqcodec.encode(np.asarray(image), quality=30, device="cpu") == expected
        assert codec.encode(np.asarray(image), quality=30) == expected
    upside_down = np.asarray(photo)[::-1]
    tokens = vqcodec.tokenize(upside_down, device="cpu")
    flipped = photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    assert vqcodec.render(tokens, device="cpu").tobytes() == (
        codec.decode(codec.encode(flipped)).tobytes()
    )


@pytest.mark.parametrize("function", [vqcodec.encode, vqcodec.tokenize, by_codec])
@pytest.mark.parametrize(
    ("image", "given"),
    [
        ("photo.png", "str"),
        ([[1, 2], [3, 4]], "list"),
        (np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\]"),
        (np.zeros((4, 4, 2), np.uint8), r"uint8 \[4, 4, 2\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"uint8 \[1, 4, 4, 3\]"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_a_type_error_that_names_it(
    function: Callable[[Any], object], image: object, given: str
) -> None:
    with pytest.raises(TypeError, match=f"an image is .*, not {given}$"):
        function(image)


def test_any_bytes_like_object_is_a_file(photo: Image.Image, codec: Codec) -> None:
    data = codec.encode(photo)
    for file in (bytearray(data), memoryview(data), memoryview(b"-" + data)[1:]):
        assert vqcodec.decode(file, device="cpu").tobytes() == codec.decode(data).tobytes()
        assert codec.decode(file).size == codec.render(codec.file_tokens(file)).size
        assert vqcodec.info(file) == vqcodec.info(data)
        assert vqcodec.truncate(file, 150) == vqcodec.truncate(data, 150)
        assert type(vqcodec.truncate(file, 10**6)) is bytes


@pytest.mark.parametrize(
    "function",
    [vqcodec.decode, vqcodec.info, lambda data: vqcodec.truncate(data, 100)],
)
@pytest.mark.parametrize("data", ["VQC", 5, [86, 81], None, Image.new("L", (1, 1))])
def test_what_is_no_file_is_a_type_error_that_names_it(
    function: Callable[[Any], object], data: object
) -> None:
    with pytest.raises(TypeError, match=f"bytes-like object, not {type(data).__name__}$"):
        function(data)


# What is asked for


@pytest.mark.parametrize("function", [vqcodec.encode, by_codec, by_pillow])
@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"quality": 0}, ValueError, r"quality 0 is not within 1\.\.100"),
        ({"quality": 101}, ValueError, r"quality 101 is not within 1\.\.100"),
        ({"quality": True}, TypeError, "quality is a whole number, not bool"),
        ({"quality": 50.0}, TypeError, "quality is a whole number, not float"),
        ({"quality": "50"}, TypeError, "quality is a whole number, not str"),
        ({"max_bytes": 0}, ValueError, "max_bytes 0 is not within"),
        ({"max_bytes": 1e6}, TypeError, "max_bytes is a whole number, not float"),
        ({"bpp": 0}, ValueError, r"bpp 0 is not within \(0, 24\]"),
        ({"bpp": float("nan")}, ValueError, "bpp nan is not within"),
        ({"bpp": float("inf")}, ValueError, "bpp inf is not within"),
        ({"psnr": float("nan")}, ValueError, "psnr nan is not within"),
        ({"psnr": False}, TypeError, "psnr is a number, not bool"),
        ({"psnr": "32"}, TypeError, "psnr is a number, not str"),
        ({"quality": 50, "max_bytes": 900}, ValueError, "one at a time"),
        ({"bpp": 1, "psnr": 30}, ValueError, "one at a time"),
    ],
)
def test_targets_that_make_no_sense(
    function: Callable[..., bytes],
    options: dict[str, object],
    error: type[Exception],
    reason: str,
    photo: Image.Image,
) -> None:
    with pytest.raises(error, match=reason):
        function(photo, **options)


@pytest.mark.parametrize("function", [vqcodec.encode, by_pillow])
def test_a_tune_that_makes_no_sense(function: Callable[..., bytes], photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="cannot tune for 'taste': one of psnr, ssim"):
        function(photo, tune="taste")
    with pytest.raises(ValueError, match="leave out tune or model"):
        function(photo, tune="psnr", model=weights.DEFAULT)
    with pytest.raises(vqcodec.ModelError, match="no model called nobody"):
        function(photo, model="nobody")


@pytest.mark.parametrize("function", [vqcodec.encode, by_pillow])
@pytest.mark.parametrize(
    ("options", "tune"),
    [
        ({}, "ssim"),
        ({"quality": np.int64(50)}, "ssim"),
        ({"psnr": np.float32(28)}, "psnr"),
        ({"psnr": 28, "tune": "ssim"}, "ssim"),
        ({"psnr": 28, "model": weights.TUNED["ssim"]}, "ssim"),
        ({"tune": "psnr"}, "psnr"),
    ],
)
def test_a_psnr_implies_the_tune_for_it_unless_another_is_named(
    function: Callable[..., bytes], options: dict[str, Any], tune: str, photo: Image.Image
) -> None:
    header, _ = read_header(function(photo, **options))
    assert header.model_id == weights.find(weights.TUNED[tune]).model_id


def test_one_target_gives_one_file_by_function_codec_and_pillow(photo: Image.Image) -> None:
    photo = photo.resize((192, 128))
    for options in ({"quality": 40}, {"max_bytes": 900}, {"bpp": 0.5}):
        data = vqcodec.encode(photo, **options)
        assert data == by_codec(photo, **options) == by_pillow(photo, **options)
        assert "quality" in options or len(data) <= options.get("max_bytes", 0.5 * 192 * 128 / 8)


def test_a_model_by_path(photo: Image.Image, tiny_weights: Path, tiny_codec: Codec) -> None:
    expected = tiny_codec.encode(photo, quality=70)
    assert vqcodec.encode(photo, quality=70, model=tiny_weights, device="cpu") == expected
    assert by_pillow(photo, quality=70, model=tiny_weights) == expected
    tokens = vqcodec.tokenize(photo, quality=70, model=tiny_weights, device="cpu")
    assert_same(tokens, tiny_codec.file_tokens(expected))
    with pytest.raises(vqcodec.UnknownModelError):
        vqcodec.decode(expected)
    with pytest.raises(vqcodec.UnknownModelError):
        vqcodec.render(tiny_codec.tokenize(photo))


def test_tokens_are_those_of_a_file(codec: Codec, photo: Image.Image) -> None:
    tokens = vqcodec.tokenize(photo, quality=40, device="cpu")
    data = codec.encode(photo, quality=40)
    file = codec.file_tokens(data)
    assert (tokens.width, tokens.height, tokens.quality) == (96, 64, 40)
    assert tokens.model_id == file.model_id == codec.model_id
    assert_same(tokens, file)
    assert vqcodec.render(tokens, device="cpu").tobytes() == codec.decode(data).tobytes()


# What is said


@pytest.mark.filterwarnings("ignore:ICC profile kept")
@pytest.mark.parametrize("function", [vqcodec.encode, by_codec, by_pillow])
def test_what_a_small_file_leaves_out_is_a_warning(
    function: Callable[..., bytes], photo: Image.Image
) -> None:
    photo.info["icc_profile"] = bytes(16) + b"RGB " + bytes(280)
    with pytest.warns(vqcodec.VqcWarning, match="^ICC left out: 400 bytes have no room for it$"):
        assert len(function(photo, max_bytes=400)) <= 400


def test_warnings_name_the_line_that_called(photo: Image.Image) -> None:
    functions: list[Callable[[], bytes]] = [
        lambda: vqcodec.encode(photo, psnr=90),
        lambda: by_codec(photo, psnr=90),
        lambda: by_pillow(photo, psnr=90),
        lambda: vqcodec.truncate(FOREIGN, 60),
    ]
    for function in functions:
        with pytest.warns(vqcodec.VqcWarning) as caught:
            function()
        assert [Path(warning.filename).name for warning in caught] == ["test_api.py"]


def test_truncating_tells_and_checks(photo: Image.Image) -> None:
    with pytest.warns(vqcodec.VqcWarning, match="^EXIF left out: 100 bytes have no room"):
        assert len(vqcodec.truncate(FOREIGN, 100)) <= 100
    assert vqcodec.truncate(FOREIGN, len(FOREIGN)) == FOREIGN
    with pytest.raises(vqcodec.TargetError):
        vqcodec.truncate(FOREIGN, 5)
    for max_bytes, error in ((0, ValueError), (True, TypeError), (50.0, TypeError)):
        with pytest.raises(error, match="max_bytes"):
            vqcodec.truncate(FOREIGN, max_bytes)  # type: ignore[arg-type]


def test_info_of_sound_and_damaged_files() -> None:
    facts = vqcodec.info(FOREIGN)
    assert (facts.width, facts.height, facts.quality, facts.model) == (768, 512, 60, None)
    assert (facts.bytes, facts.stream_bytes, facts.chunks) == (len(FOREIGN), 99, {"exif": 60})
    assert (facts.sound, facts.damage) == (True, None)
    damaged = vqcodec.info(FOREIGN[:-1])
    assert not damaged.sound
    assert "truncated" in str(damaged.damage)
    with pytest.raises(vqcodec.NotVqcError):
        vqcodec.info(b"\x89PNG\r\n")
    with pytest.raises(AttributeError):
        facts.width = 1  # type: ignore[misc]


# One model for all


def test_threads_that_come_at_once_share_one_loaded_model(tmp_path: Path) -> None:
    path = tmp_path / "not-loaded-yet.safetensors"
    path.write_bytes(weights.find(weights.DEFAULT).data)
    with ThreadPoolExecutor(4) as pool:
        codecs = set(pool.map(lambda _: load_codec(path, "cpu"), range(8)))
    assert len(codecs) == 1
