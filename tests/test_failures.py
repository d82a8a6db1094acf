"""What is left when a command is killed, interrupted, or runs out of disk: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from vqcodec.fileformat.container import unpack

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are those of POSIX")
COMMAND = [sys.executable, "-m", "vqcodec"]
PICTURE_SIZE = (96, 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty small pictures: enough that a process is still at work when the first is done."""
    path = tmp_path / "in"
    path.mkdir()
    for number in range(40):
        Image.linear_gradient("L").resize(PICTURE_SIZE).rotate(9 * number).save(
            path / f"{number:02}.png"
        )
    return path


def start(*arguments: str | Path, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], folder: Path, files: int) -> None:
    """Return when there are so many finished files; fail if the process ends before."""
    while len(list(folder.glob("*.vqc"))) < files:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def check_whole(folder: Path) -> None:
    """Every file under a final name is a whole one."""
    for path in folder.glob("*.vqc"):
        unpack(path.read_bytes())
    for path in folder.glob("*.png"):
        Image.open(path).load()


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.mark.parametrize("files", [1, 4])
def test_killed_while_encoding(folder: Path, tmp_path: Path, files: int) -> None:
    out = tmp_path / "out"
    process = start("encode", folder, "-o", out)
    wait_for(process, out, files)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(list(out.glob("*.vqc"))) < 40
    check_whole(out)
    # Going on is possible: what may be left over is hidden, and no input for anything.
    (out / ".vqcodec-0123456789abcdef.tmp").write_bytes(b"VQC\1 half a file")
    done = subprocess.run([*COMMAND, "decode", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_whole(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted(folder: Path, tmp_path: Path, number: signal.Signals, jobs: str) -> None:
    out = tmp_path / "out"
    process = start("encode", folder, "-o", out, "-j", jobs)
    wait_for(process, out, 2)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert (process.returncode, stderr.strip()) == (130, "Interrupted.")
    assert len(list(out.glob("*.vqc"))) < 40
    assert not temporary_files(out)
    check_whole(out)


def test_no_room_for_the_file(folder: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))

    out = tmp_path / "out"
    process = start("encode", folder / "00.png", folder / "07.png", "-o", out, limit=limit)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert stderr.count("File too large") == 2
    assert "Traceback" not in stderr
    assert not list(out.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB; the test is skipped where none may be mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(path)]
    try:
        made = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_disk_full(folder: Path, small_disk: Path) -> None:
    noise = small_disk.parent / "noise.png"
    Image.effect_noise((300, 200), 90).save(noise)
    process = start("encode", noise, folder / "00.png", "-q", "100", "-o", small_disk)
    _, stderr = process.communicate()
    assert process.returncode == 1
    target = small_disk / "noise.vqc"
    assert f"{noise}: {target} cannot be written: No space left on device" in stderr
    assert [path.name for path in small_disk.iterdir()] == ["00.vqc"]
    check_whole(small_disk)


def test_disk_that_cannot_be_written_to(folder: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    process = start("encode", folder / "00.png", "-o", small_disk / "a.vqc")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert f"{small_disk / 'a.vqc'} cannot be written: Read-only file system" in stderr
    assert "Traceback" not in stderr


def test_a_reader_that_goes_away(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "encode", str(folder / "00.png"), "-o", "-"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_two_at_once_do_not_overwrite_each_other(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.vqc"
    both = [
        start("encode", folder / "00.png", "-q", quality, "-o", out) for quality in ("20", "90")
    ]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    (winner,) = (number for number, (_, code) in enumerate(ends) if code == 0)
    assert unpack(out.read_bytes()).header.quality == (20, 90)[winner]
    stderr, code = ends[1 - winner]
    assert (code, "exists already" in stderr) == (1, True)
    assert not temporary_files(tmp_path)


def test_two_at_once_with_force_leave_a_whole_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.vqc"
    both = [start("encode", folder / "00.png", "-f", "-q", quality, "-o", out)
            for quality in ("20", "90")]  # fmt: skip
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    assert unpack(out.read_bytes()).header.quality in (20, 90)
    assert not temporary_files(tmp_path)
