"""Folders that may not be read, and files in them: named, counted as failed, and no obstacle.

Root may read anything, so where the tests are run by root the program is started without that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from program import FOREIGN, posix_only, vqcodec_

pytestmark = [posix_only, pytest.mark.usefixtures("workplace")]

WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


def as_anyone(*arguments: str) -> tuple[int, list[str]]:
    """Run the program with the rights of a file's owner; return its exit code and its lines."""
    prefix: list[str] = []
    if os.getuid() == 0:
        prefix = WITHOUT_PRIVILEGE
        if shutil.which(prefix[0]) is None:
            pytest.skip("root reads everything, and there is no setpriv to take that away")
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "vqcodec", *arguments], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


@pytest.fixture
def album() -> Iterator[Path]:
    """A folder with files that can be read, and three subfolders that have no permissions yet."""
    root = Path("album")
    locked = [root / name for name in (".hidden", "sub/locked", "zoo")]
    for folder in (root, *locked):
        folder.mkdir(parents=True)
        (folder / "x.vqc").write_bytes(FOREIGN)
    (root / "sub/locked/deep").mkdir()
    yield root
    for folder in locked:
        folder.chmod(0o700)


def lock(album: Path, mode: int) -> None:
    for folder in (".hidden", "sub/locked", "zoo"):
        (album / folder).chmod(mode)


@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_folders_that_cannot_be_listed_are_named_and_counted(album: Path, mode: int) -> None:
    lock(album, mode)
    code, lines = as_anyone("truncate", "--max-bytes", "99", "album", "-o", "out")
    assert code == 1
    assert lines[:-1] == ["album/sub/locked: Permission denied", "album/zoo: Permission denied"]
    assert lines[-1].startswith("1 file, 2 failed: ")
    assert [path.name for path in Path("out").rglob("*")] == ["x.cut.vqc"]


def test_files_in_a_folder_that_may_only_be_listed_are_named_and_counted(album: Path) -> None:
    lock(album, 0o400)
    code, lines = as_anyone("truncate", "--max-bytes", "99", "album", "-o", "out")
    assert code == 1
    assert sorted(lines[:-1]) == [
        "album/sub/locked/deep: Permission denied",
        "album/sub/locked/x.vqc: Permission denied",
        "album/zoo/x.vqc: Permission denied",
    ]
    assert lines[-1].startswith("1 file, 3 failed: ")


def test_outputs_in_a_folder_that_may_only_be_listed_fail_as_well(album: Path) -> None:
    lock(album, 0o400)
    code, lines = as_anyone("truncate", "--max-bytes", "99", "album")
    assert code == 1
    assert lines[-1].startswith("1 file, 3 failed: ")
    assert (album / "x.cut.vqc").exists()


def test_a_locked_input_is_named(album: Path) -> None:
    lock(album, 0o000)
    for name in ("album/zoo", "album/zoo/x.vqc", "album/zoo/gone.vqc"):
        code, lines = as_anyone("truncate", "--max-bytes", "99", name, "-o", "out")
        assert code == 1
        assert lines[0] == f"{name}: Permission denied"
        assert lines[1].startswith("0 files, 1 failed: ")


def test_bpd_names_them_too(album: Path) -> None:
    for folder in (album, album / "zoo"):
        Image.new("L", (8, 8)).save(folder / "x.png")
    lock(album, 0o000)
    code, lines = as_anyone("bpd", "album", "--samples", "1")
    assert code == 1
    assert lines[:2] == ["album/sub/locked: Permission denied", "album/zoo: Permission denied"]


def test_links_that_lead_nowhere_are_named() -> None:
    Path("album").mkdir()
    Path("album/a.vqc").symlink_to("gone.vqc")
    Path("album/b.vqc").symlink_to("b.vqc")
    result = vqcodec_("truncate", "--max-bytes", "99", "album")
    assert result.exit_code == 1
    first, second, summary = result.stderr.splitlines()
    assert first == "album/a.vqc: No such file or directory"
    assert second.startswith("album/b.vqc: ")
    assert summary.startswith("0 files, 2 failed: ")


def test_what_is_no_file_is_not_an_input() -> None:
    Path("album").mkdir()
    os.mkfifo("album/pipe.vqc")
    Path("album/folder.vqc").mkdir()
    Path("album/link.vqc").symlink_to("folder.vqc")
    result = vqcodec_("truncate", "--max-bytes", "99", "album")
    assert result.stderr.startswith("album: no file in this folder ends in .vqc")
