"""Inputs that a path stands for, names of outputs, and files that are whole or not there."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from vqcodec.commands.files import (
    atomic_write,
    check_writable,
    decoded_name,
    encoded_name,
    expand,
    page_name,
    spared_name,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_expand_takes_a_file_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "photo.xyz")
    (source,) = expand(tmp_path / "photo.xyz", (".png",)).files
    assert (source.path, source.relative) == (tmp_path / "photo.xyz", Path("photo.xyz"))


def test_expand_searches_folders_in_order_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.png", "sub/c.jpg", "notes.txt", ".x.png", ".git/d.png")
    (tmp_path / "folder.png").mkdir()
    found = expand(tmp_path, (".png", ".jpg")).files
    assert [source.relative.as_posix() for source in found] == ["a.png", "b.PNG", "sub/c.jpg"]
    assert all(source.path == tmp_path / source.relative for source in found)


def test_expand_finds_files_in_a_folder_that_itself_lies_in_a_hidden_one(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/album/a.png")
    assert len(expand(tmp_path / ".cache" / "album", (".png",)).files) == 1


def test_expand_says_what_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        expand(tmp_path / "gone.png", (".png",))
    with pytest.raises(FileNotFoundError, match=r"no file in this folder ends in \.png"):
        expand(tmp_path, (".png",))


def test_names_replace_the_last_suffix_only() -> None:
    assert encoded_name(Path("a/my.photo.png")) == Path("a/my.photo.vqc")
    assert encoded_name(Path("photo")) == Path("photo.vqc")
    assert decoded_name(Path("a/my.photo.vqc")) == Path("a/my.photo.png")
    assert page_name(Path("a/my.photo.png")) == Path("a/my.photo.html")


def test_spared_name_keeps_clear_of_the_original(tmp_path: Path) -> None:
    assert spared_name(tmp_path / "photo.vqc") == tmp_path / "photo.png"
    touch(tmp_path, "photo.png")
    assert spared_name(tmp_path / "photo.vqc") == tmp_path / "photo.decoded.png"


def test_atomic_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "x.vqc"
    atomic_write(target, b"content")
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


def test_atomic_write_overwrites_only_when_forced(tmp_path: Path) -> None:
    target = tmp_path / "x.vqc"
    atomic_write(target, b"old")
    with pytest.raises(FileExistsError, match=r"x\.vqc exists already"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    atomic_write(target, b"new", force=True)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_atomic_write_cleans_up_whatever_interrupts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    target = tmp_path / "x.vqc"
    target.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        atomic_write(target, b"new", force=True)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_never_a_target(tmp_path: Path) -> None:
    for force in (False, True):
        with pytest.raises(IsADirectoryError):
            check_writable(tmp_path, force=force)
        with pytest.raises(IsADirectoryError):
            atomic_write(tmp_path, b"content", force=force)
    assert list(tmp_path.iterdir()) == []


@posix_only
def test_atomic_write_gives_the_permissions_of_an_ordinary_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    atomic_write(tmp_path / "x.vqc", b"content")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@posix_only
def test_atomic_write_follows_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.vqc"
    link.symlink_to(tmp_path / "real" / "x.vqc")
    atomic_write(link, b"content")
    assert link.is_symlink()
    assert (tmp_path / "real" / "x.vqc").read_bytes() == b"content"


@posix_only
def test_atomic_write_writes_into_a_pipe_and_does_not_replace_it(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()), daemon=True)
    reader.start()
    atomic_write(fifo, b"content")
    reader.join(timeout=10)
    assert received == [b"content"]
    assert fifo.is_fifo()
