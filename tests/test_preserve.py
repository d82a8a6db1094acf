"""Times of files that go from the input to the output with --preserve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from program import posix_only, program, refused, vqcodec_

from vqcodec.commands.files import atomic_write

pytestmark = pytest.mark.usefixtures("workplace")

# Not whole seconds: what copies times by way of floats loses digits.
READ, CHANGED = 981_173_106_123_456_700, 953_170_506_987_654_300


def times_of(name: str) -> tuple[int, int]:
    status = os.stat(name)
    return status.st_atime_ns, status.st_mtime_ns


def test_times_go_through_a_file_and_back(photo: Image.Image) -> None:
    for name in ("a.png", "b.png"):
        photo.save(name)
        os.utime(name, ns=(READ, CHANGED))
    assert vqcodec_("encode", "a.png", "b.png", "--preserve", "-j", "2").exit_code == 0
    assert times_of("a.vqc") == times_of("b.vqc") == (READ, CHANGED)
    assert vqcodec_("decode", "a.vqc", "--preserve", "-o", "new/a.png").exit_code == 0
    assert times_of("new/a.png") == (READ, CHANGED)


def test_what_is_overwritten_has_the_times_of_the_input(photo: Image.Image) -> None:
    photo.save("a.png")
    os.utime("a.png", ns=(READ, CHANGED))
    Path("a.vqc").touch()
    os.utime("a.vqc", ns=(CHANGED, READ))
    assert vqcodec_("encode", "a.png", "--preserve", "--force").exit_code == 0
    assert times_of("a.vqc") == (READ, CHANGED)


def test_times_are_new_where_nobody_asks(photo: Image.Image) -> None:
    photo.save("a.png")
    os.utime("a.png", ns=(READ, CHANGED))
    assert vqcodec_("encode", "a.png").exit_code == 0
    assert min(times_of("a.vqc")) > READ


def test_a_file_is_in_its_place_with_its_times_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *, ns: tuple[int, int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", fail)
    with pytest.raises(PermissionError, match=r"x\.vqc cannot be written: Operation not permitted"):
        atomic_write(tmp_path / "x.vqc", b"content", times=(READ, CHANGED))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [
        (["encode", "-", "-o", "x.vqc"], "the input -"),
        (["encode", "a.png", "-o", "-"], "the output -"),
        (["decode", "-"], "the input -"),
        (["decode", "a.vqc", "-o", "-"], "the output -"),
    ],
)
def test_streams_have_no_times(arguments: list[str], stream: str) -> None:
    Path("a.png").touch()
    Path("a.vqc").touch()
    assert f"--preserve: {stream} is not a file" in refused(*arguments, "--preserve")


@posix_only
@pytest.mark.parametrize(
    ("redirections", "arguments", "stream"),
    [
        ("7>&1", ["encode", "a.png", "-o", "/dev/fd/7"], "the output /dev/fd/7"),
        ("", ["encode", "a.png", "-o", "pipe"], "the output pipe"),
        ("", ["encode", "a.png", "-o", "/dev/null"], "the output /dev/null"),
        ("", ["decode", "pipe", "-o", "x.png"], "the input pipe"),
    ],
)
def test_pipes_and_devices_have_no_times(
    redirections: str, arguments: list[str], stream: str
) -> None:
    Path("a.png").touch()
    os.mkfifo("pipe")
    code, out, err = program(redirections, *arguments, "--preserve")
    assert (code, out) == (2, b"")
    assert err.splitlines()[-1] == f"Error: --preserve: {stream} is not a file"
