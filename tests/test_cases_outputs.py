"""Cases from the field: where the commands write, and what becomes of what was there."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image, ImageChops, ImageStat
from program import FOREIGN, posix_only, program, refused, vqcodec_

import vqcodec

pytestmark = pytest.mark.usefixtures("workplace")

TRUNCATE = ["truncate", "--max-bytes", "99", "x.vqc", "-o"]


@posix_only
@pytest.mark.parametrize(
    "name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link", "-", "/dev/fd/../fd/1"]
)
def test_c5_standard_output_may_be_named_as_a_file(name: str) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    Path("link").symlink_to("/dev/stdout")
    for redirection in ("", "| cat"):
        code, out, err = program(redirection, *TRUNCATE, name)
        assert (code, out) == (0, FOREIGN), err
    for append in (">", ">>"):
        code, out, err = program(f"{append} file", *TRUNCATE, name)
        assert (code, out) == (0, b""), err
    assert Path("file").read_bytes() == FOREIGN * 2
    assert Path("link").is_symlink()


@posix_only
def test_c5_any_descriptor_may_be_named_as_a_file() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    code, out, err = program("7>&1 >&2", *TRUNCATE, "/dev/fd/7")
    assert (code, out) == (0, FOREIGN), err
    code, _, err = program("7> file", *TRUNCATE, "/dev/fd/7")
    assert (code, Path("file").read_bytes()) == (0, FOREIGN), err
    code, _, err = program("7>&-", *TRUNCATE, "/dev/fd/7")
    assert code == 1
    assert err.startswith("x.vqc: /dev/fd/7 cannot be written: ")


@posix_only
def test_c5_a_process_may_read_what_is_written() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    code, out, err = program("-o >(cat) | cat", *TRUNCATE[:-1])
    assert (code, out) == (0, FOREIGN), err


@posix_only
def test_c5_a_process_may_write_what_is_read() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    for source in ("<(cat x.vqc)", "/dev/stdin < x.vqc", "/dev/fd/7 7< x.vqc"):
        code, out, err = program(f"{source} -o - ", *TRUNCATE[:3])
        assert (code, out) == (0, FOREIGN), err
    code, out, err = program("< x.vqc", *TRUNCATE[:3], "/dev/stdin")
    assert (code, out) == (0, FOREIGN), err


@posix_only
def test_c5_encode_and_decode_write_into_pipes(photo: Image.Image) -> None:
    photo.save("p.png")
    assert vqcodec_("encode", "p.png", "-o", "x.vqc").exit_code == 0
    code, out, err = program("| cat", "encode", "p.png", "-o", "/dev/stdout")
    assert (code, out) == (0, Path("x.vqc").read_bytes()), err
    png = vqcodec_("decode", "x.vqc", "-o", "-").stdout_bytes
    code, out, err = program("-o >(cat) | cat", "decode", "x.vqc")
    assert (code, out) == (0, png), err


@posix_only
def test_c5_a_pipe_with_a_name_is_written_into() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    os.mkfifo("pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe").read_bytes()))
    reader.start()
    assert vqcodec_(*TRUNCATE, "pipe").exit_code == 0
    reader.join()
    assert received == [FOREIGN]


def test_c5_a_stream_cannot_be_many_files() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    assert "one input file" in refused(*TRUNCATE[:4], "y.vqc", "-o", "/dev/stdout")
    assert "has no name" in refused(*TRUNCATE[:3], "-", "-o", "folder/")
    Path("y.vqc").touch()
    result = vqcodec_(*TRUNCATE[:3], "-", "-o", "y.vqc", stdin=FOREIGN)
    assert result.exit_code == 1
    assert result.stderr.startswith("-: y.vqc exists already")


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660, 0o604])
@pytest.mark.parametrize("link", [False, True])
def test_c9_an_overwritten_file_keeps_its_permissions(mode: int, link: bool) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    Path("old").write_bytes(b"old")
    Path("old").chmod(mode)
    if link:
        Path("link").symlink_to("old")
    assert vqcodec_(*TRUNCATE, "link" if link else "old", "-f").exit_code == 0
    assert Path("old").read_bytes() == FOREIGN
    assert stat.S_IMODE(Path("old").stat().st_mode) == mode
    assert Path("link").is_symlink() == link


@posix_only
@pytest.mark.skipif(
    sys.platform == "win32" or os.getuid() != 0, reason="only root gives files away"
)
def test_c9_an_overwritten_file_keeps_its_owner() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    Path("old").touch(mode=0o640)
    os.chown("old", 12345, 23456)
    assert vqcodec_(*TRUNCATE, "old", "-f").exit_code == 0
    status = Path("old").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 23456, 0o640)


@posix_only
def test_c9_nobody_reads_the_new_file_before_it_is_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    Path("old").touch(mode=0o600)
    modes: list[int] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    assert vqcodec_(*TRUNCATE, "old", "-f").exit_code == 0
    assert modes == [0o600]


@posix_only
def test_c18_the_file_that_cannot_be_written_is_the_one_named() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    Path("file").touch()
    for target in ("/proc/y.vqc", "file/y.vqc", "file/z/y.vqc", "y" * 300):
        result = vqcodec_(*TRUNCATE, target)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"x.vqc: {target} cannot be written: ")


@posix_only
@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may write anywhere")
def test_c18_a_folder_that_cannot_be_written_to_is_named() -> None:
    Path("ro").mkdir()
    Path("ro/x.vqc").write_bytes(FOREIGN)
    Path("ro").chmod(0o500)
    result = vqcodec_("truncate", "--max-bytes", "99", "ro/x.vqc")
    Path("ro").chmod(0o700)
    assert result.exit_code == 1
    assert result.stderr.startswith("ro/x.vqc: ro/x.cut.vqc cannot be written: Permission denied")


# Formats that hold every picture whole; opaque pictures only; none at all.
WHOLE = ("png", "apng", "tif", "tga", "dds", "jp2")
OPAQUE = ("jpg", "jfif", "mpo", "bmp", "dib", "ppm", "pnm", "pcx")
NEVER = ("eps", "ps", "xbm", "msp", "palm", "blp", "spider", "h5", "wmf")


@pytest.fixture
def coded(photo: Image.Image) -> dict[str, Image.Image]:
    """photo.vqc and alpha.vqc in the working folder, and what they decode to."""
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    decoded = {}
    for name, image in (("photo", photo), ("alpha", alpha)):
        data = vqcodec.encode(image, quality=60)
        Path(f"{name}.vqc").write_bytes(data)
        decoded[name] = vqcodec.decode(data)
    return decoded


def decoded_to(source: str, suffix: str) -> Result:
    return vqcodec_("decode", f"{source}.vqc", "-o", f"{source}.{suffix}", "-f")


def notes_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    *notes, _ = result.stderr.splitlines()
    return notes


def assert_same(suffix: str, name: str, picture: Image.Image, most: int) -> None:
    with Image.open(f"{name}.{suffix}") as image:
        assert image.size == picture.size
        difference = ImageChops.difference(image.convert(picture.mode), picture)
        assert ImageStat.Stat(difference).rms < [most + 1e-9] * len(picture.mode)


def test_c13_what_a_format_holds_is_written_whole(coded: dict[str, Image.Image]) -> None:
    for suffix in WHOLE:
        for name, picture in coded.items():
            assert notes_of(decoded_to(name, suffix)) == []
            assert_same(suffix, name, picture, 0)
    for suffix in OPAQUE:
        assert notes_of(decoded_to("photo", suffix)) == []
        assert_same(suffix, "photo", coded["photo"], 2)


def test_c13_a_picture_in_a_pdf_is_of_high_quality(coded: dict[str, Image.Image]) -> None:
    assert notes_of(decoded_to("photo", "pdf")) == []
    data = Path("photo.pdf").read_bytes()
    Path("photo.jpg").write_bytes(data[data.index(b"\xff\xd8") :])
    assert_same("jpg", "photo", coded["photo"], 2)


@pytest.mark.parametrize("suffix", OPAQUE)
def test_c13_opacity_is_not_lost_without_a_word(coded: dict[str, Image.Image], suffix: str) -> None:
    result = decoded_to("alpha", suffix)
    assert result.exit_code == 1
    assert "cannot hold this image" in result.stderr
    assert not Path(f"alpha.{suffix}").exists()


def test_c13_fewer_colours_are_said(coded: dict[str, Image.Image]) -> None:
    assert notes_of(decoded_to("photo", "gif")) == [
        "photo.vqc: reduced to 256 colours: GIF has no more"
    ]
    gray = vqcodec.encode(coded["photo"].convert("L"), quality=60)
    Path("gray.vqc").write_bytes(gray)
    assert notes_of(decoded_to("gray", "gif")) == []
    assert_same("gif", "gray", vqcodec.decode(gray), 0)


def test_c13_a_format_of_a_few_sizes_takes_no_other(coded: dict[str, Image.Image]) -> None:
    for suffix, size in (("ico", "64x43"), ("icns", "1024x1024")):
        result = decoded_to("photo", suffix)
        assert result.exit_code == 1
        assert f"it would be {size}" in result.stderr
        assert not Path(f"photo.{suffix}").exists()
    square = vqcodec.encode(coded["alpha"].resize((32, 32)), quality=60)
    Path("square.vqc").write_bytes(square)
    assert notes_of(decoded_to("square", "ico")) == []
    assert_same("ico", "square", vqcodec.decode(square), 0)


@pytest.mark.parametrize("suffix", NEVER)
def test_c13_formats_that_hold_no_picture_are_refused(
    coded: dict[str, Image.Image], suffix: str
) -> None:
    result = decoded_to("photo", suffix)
    assert result.exit_code in (1, 2)
    assert not Path(f"photo.{suffix}").exists()
