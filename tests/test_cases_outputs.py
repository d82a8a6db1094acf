"""Cases from the field: where the commands write, and what becomes of what was there."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image
from program import FOREIGN, posix_only, program, refused, vqcodec_

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
