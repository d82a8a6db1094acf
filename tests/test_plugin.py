"""The Pillow plugin: lazy opening needs no model, pixels need the shipped one."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pictures import psnr
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from vqcodec import VqcImagePlugin, weights
from vqcodec.fileformat.container import ChunkTag, Container, Header, pack, unpack

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

UNKNOWN_MODEL = b"\0\0\0\0"
TIFF = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x02\0\0\0m\0\0\0\0\0\0\0"  # Make = "m"


def file_of(
    width: int = 96,
    height: int = 64,
    chunks: dict[ChunkTag, bytes] | None = None,
    *,
    gray: bool = False,
) -> bytes:
    """A sound file of a model that nobody has."""
    header = Header(UNKNOWN_MODEL, width, height, quality=50, gray=gray)
    return pack(Container(header, chunks or {}, b"stream"))


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "VQC", **options)
    return file.getvalue()


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_size_and_mode_come_from_the_front_of_the_file(gray: bool, alpha: bool) -> None:
    chunks = {ChunkTag.ALPHA: b""} if alpha else {}
    image = open_bytes(file_of(7, 5000, chunks, gray=gray))
    assert image.size == (7, 5000)
    assert image.mode == ("L" if gray else "RGB") + ("A" if alpha else "")
    assert image.format == "VQC"
    assert image.get_format_mimetype() == "image/x-vqc"


def test_opening_reads_no_further_than_the_stream() -> None:
    front = file_of(chunks={ChunkTag.ICC: b"icc"})[: -len(b"stream") - 4]
    image = open_bytes(front)
    assert image.size == (96, 64)


def test_metadata_is_there_before_the_pixels() -> None:
    image = open_bytes(file_of(chunks={ChunkTag.ICC: b"icc", ChunkTag.EXIF: TIFF}))
    assert image.info["icc_profile"] == b"icc"
    assert image.getexif()[ExifTags.Base.Make] == "m"
    assert image.info["quality"] == 50


@pytest.mark.parametrize(
    "registration", ["import vqcodec.VqcImagePlugin", "import vqcodec; vqcodec.register()"]
)
def test_opening_by_extension_does_not_import_torch(tmp_path: Path, registration: str) -> None:
    (tmp_path / "x.vqc").write_bytes(file_of())
    script = f"""
import sys
{registration}
from PIL import Image
with Image.open("x.vqc") as image:
    assert image.size == (96, 64)
    image.verify()
assert Image.registered_extensions()[".vqc"] == "VQC"
assert "torch" not in sys.modules
"""
    root = Path(VqcImagePlugin.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_other_data_is_left_to_other_plugins() -> None:
    with pytest.raises(UnidentifiedImageError):
        open_bytes(b"VQ is not enough" + bytes(100))
    with pytest.raises(SyntaxError):
        VqcImagePlugin.VqcImageFile(io.BytesIO(b"VQ is not enough"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (file_of()[:10], "truncated"),
        (b"VQC\x09" + file_of()[4:], "version 9"),
        (file_of()[:10] + b"\x99" + file_of()[11:], "checksum"),
        (file_of(chunks={ChunkTag.ICC: bytes(100)})[:80], "truncated"),
    ],
)
def test_damaged_front_is_an_os_error_with_its_reason(data: bytes, message: str) -> None:
    with pytest.raises(OSError, match=message):
        open_bytes(data)


def test_verify_accepts_a_sound_file_without_its_model() -> None:
    open_bytes(file_of(chunks={ChunkTag.ICC: b"icc"})).verify()


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_verify_finds_truncation(cut: int) -> None:
    with pytest.raises(OSError, match="truncated"):
        open_bytes(file_of()[:-cut]).verify()


def test_verify_finds_a_flipped_bit() -> None:
    data = bytearray(file_of())
    data[-7] ^= 1
    with pytest.raises(OSError, match="checksum"):
        open_bytes(bytes(data)).verify()


def test_after_verify_the_pixels_are_out_of_reach() -> None:
    image = open_bytes(file_of())
    image.verify()
    with pytest.raises(OSError, match="closed"):
        image.load()


def test_decompression_bomb_is_refused_at_open() -> None:
    with pytest.raises(Image.DecompressionBombError):
        open_bytes(file_of(65536, 65536))


def test_limit_of_pillow_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64)
    open_bytes(file_of())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        open_bytes(file_of())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 // 2 - 1)
    with pytest.raises(Image.DecompressionBombError):
        open_bytes(file_of())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_bytes(file_of(65536, 65536)).size == (65536, 65536)


def test_unknown_model_is_an_os_error() -> None:
    image = open_bytes(file_of())
    with pytest.raises(OSError, match="model"):
        image.load()


@pytest.mark.usefixtures("codec")
def test_truncated_chunks_open_when_truncation_is_allowed(
    monkeypatch: pytest.MonkeyPatch, photo: Image.Image
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    image = open_bytes(saved(photo)[:40])
    assert image.mode == "RGB", "the alpha is not there in whole"
    image.load()
    assert image.size == photo.size


def test_save_and_open_give_the_photograph_back(
    codec: Codec, photo: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "photo.vqc"
    photo.save(path, quality=60)
    assert path.read_bytes() == codec.encode(photo, quality=60)
    with Image.open(path) as image:
        assert (image.size, image.mode) == (photo.size, "RGB")
        image.load()
        assert image.tobytes() == codec.decode(path.read_bytes()).tobytes()
    assert psnr(photo, image) > 25


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize("tune", ["psnr", "ssim"])
def test_tune_chooses_the_weights(photo: Image.Image, tune: str) -> None:
    stream = io.BytesIO()
    photo.save(stream, "VQC", tune=tune)
    assert unpack(stream.getvalue()).header.model_id == weights.find(weights.TUNED[tune]).model_id
    stream.seek(0)
    assert Image.open(stream).convert("RGB").size == photo.size


def test_a_tune_that_does_not_exist_is_a_value_error(photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="cannot tune for 'taste': one of psnr, ssim"):
        photo.save(io.BytesIO(), "VQC", tune="taste")


def test_quality_is_50_unless_told_otherwise(photo: Image.Image) -> None:
    assert unpack(saved(photo)).header.quality == 50
    assert saved(photo) == saved(photo, quality=50)
    assert len(saved(photo, quality=90)) > len(saved(photo, quality=10))


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_mode_of_the_pixels_is_that_of_the_header(photo: Image.Image, mode: str) -> None:
    source = photo.convert(mode)
    if "A" in mode:
        source.putalpha(Image.linear_gradient("L").resize(photo.size))
    image = open_bytes(saved(source))
    assert image.mode == mode
    image.load()
    assert image.im.mode == mode
    assert psnr(source.convert("L"), image.convert("L")) > 25
    if "A" in mode:
        assert image.getchannel("A").tobytes() == source.getchannel("A").tobytes()


@pytest.mark.usefixtures("codec")
def test_loaded_image_can_be_copied_and_pickled(photo: Image.Image) -> None:
    image = open_bytes(saved(photo))
    twin = pickle.loads(pickle.dumps(image))
    assert twin.tobytes() == image.copy().tobytes() == image.tobytes()


@pytest.mark.usefixtures("codec")
def test_exif_given_to_save_replaces_that_of_the_image(photo: Image.Image) -> None:
    photo.info["exif"] = b"Exif\0\0" + TIFF
    assert open_bytes(saved(photo)).getexif()[ExifTags.Base.Make] == "m"
    other = Image.Exif()
    other[ExifTags.Base.Make] = "other"
    assert open_bytes(saved(photo, exif=other)).getexif()[ExifTags.Base.Make] == "other"
    assert "exif" not in open_bytes(saved(photo, exif=None)).info
    assert photo.info["exif"] == b"Exif\0\0" + TIFF


@pytest.mark.usefixtures("codec")
@pytest.mark.filterwarnings("ignore:ICC profile kept")
def test_profile_given_to_save_replaces_that_of_the_image(photo: Image.Image) -> None:
    photo.info["icc_profile"] = icc = bytes(16) + b"RGB that cannot be converted"
    assert open_bytes(saved(photo)).info["icc_profile"] == icc
    assert "icc_profile" not in open_bytes(saved(photo, icc_profile=None)).info


@pytest.mark.usefixtures("codec")
def test_truncated_file_is_refused_or_decoded_as_pillow_is_told(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(photo, quality=90)
    image = open_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(OSError, match="truncated"):
        image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image.load()
    assert image.size == photo.size
    assert psnr(photo, image) > 15


@pytest.mark.usefixtures("codec")
def test_file_opened_by_name_is_closed_after_loading(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.vqc"
    photo.save(path)
    image = Image.open(path)
    file = image.fp
    assert file is not None
    image.load()
    assert file.closed
