"""What goes where, one bad file among many, and the report on stderr."""

from __future__ import annotations

import io
import re
import struct
import threading
import time
from pathlib import Path

import click
import pytest
from PIL import Image
from program import posix_only, vqcodec_

from vqcodec.commands.batch import Done, Job, Plan, describe, plan, run
from vqcodec.commands.files import encoded_name
from vqcodec.errors import CorruptError


def make_plan(*inputs: str, output: str | None = None, force: bool = False) -> Plan:
    return plan(inputs, output, suffixes=(".png",), rename=encoded_name, force=force)


def targets(result: Plan) -> dict[str, str]:
    assert result.problems == []
    return {str(job.source): str(job.target) for job in result.jobs}


@pytest.fixture(autouse=True)
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a.png, b.png, album/c.png, album/sub/d.png."""
    monkeypatch.chdir(tmp_path)
    Path("album/sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "album/c.png", "album/sub/d.png"):
        Path(name).write_bytes(name.encode())
    return tmp_path


def test_outputs_lie_beside_their_inputs() -> None:
    assert targets(make_plan("a.png", "album")) == {
        "a.png": "a.vqc",
        "album/c.png": "album/c.vqc",
        "album/sub/d.png": "album/sub/d.vqc",
    }


def test_one_input_goes_to_the_file_named() -> None:
    assert targets(make_plan("a.png", output="out.bin")) == {"a.png": "out.bin"}


@pytest.mark.parametrize("output", ["album", "new/"])
def test_one_input_goes_into_the_folder_named(output: str) -> None:
    assert targets(make_plan("a.png", output=output)) == {"a.png": str(Path(output) / "a.vqc")}


def test_folders_keep_their_subfolders_in_the_output() -> None:
    assert targets(make_plan("a.png", "album", output="new")) == {
        "a.png": "new/a.vqc",
        "album/c.png": "new/c.vqc",
        "album/sub/d.png": "new/sub/d.vqc",
    }


def test_an_input_given_twice_counts_once() -> None:
    assert len(make_plan("a.png", "./a.png", "album", "album/c.png").jobs) == 3


def test_inputs_that_share_an_output_are_all_refused() -> None:
    Path("a.jpg").touch()
    result = make_plan("a.jpg", "a.png", "b.png")
    assert [job.name for job in result.jobs] == ["b.png"]
    assert result.problems == [
        ("a.jpg", "a.vqc would be the output of a.png too"),
        ("a.png", "a.vqc would be the output of a.jpg too"),
    ]


def test_an_output_never_replaces_its_input() -> None:
    result = make_plan("a.png", output="./a.png", force=True)
    assert result.jobs == []
    assert result.problems == [("a.png", "the output would replace the input")]


def test_existing_outputs_need_force() -> None:
    Path("a.vqc").touch()
    result = make_plan("a.png", "b.png")
    assert [job.name for job in result.jobs] == ["b.png"]
    assert result.problems == [("a.png", "a.vqc exists already (--force overwrites it)")]
    assert len(make_plan("a.png", "b.png", force=True).jobs) == 2


def test_existing_outputs_may_be_skipped() -> None:
    Path("a.vqc").touch()
    Path("album/c.vqc").mkdir()
    result = plan(
        ["a.png", "b.png", "album/c.png"],
        None,
        suffixes=(".png",),
        rename=encoded_name,
        force=False,
        skip_existing=True,
    )
    assert [job.name for job in result.jobs] == ["b.png"]
    assert result.skipped == 1
    assert result.problems == [("album/c.png", "album/c.vqc is a folder")]


def test_missing_inputs_do_not_stop_the_others() -> None:
    Path("empty").mkdir()
    result = make_plan("gone.png", "empty", "a.png")
    assert [job.name for job in result.jobs] == ["a.png"]
    assert [name for name, _ in result.problems] == ["gone.png", "empty"]


def test_streams() -> None:
    assert make_plan("-").jobs == [Job(None, None)]
    assert make_plan("-", output="x.vqc").jobs == [Job(None, Path("x.vqc"))]
    assert make_plan("a.png", output="-").jobs == [Job(Path("a.png"), None)]


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["-", "a.png"], None),
        (["a.png", "b.png"], "-"),
        (["album"], "-"),
        (["a.png", "b.png"], "album/c.png"),
    ],
)
def test_arguments_that_contradict_each_other(inputs: list[str], output: str | None) -> None:
    with pytest.raises(click.UsageError):
        make_plan(*inputs, output=output)


def upper(job: Job) -> Done:
    """Stands for a codec: writes the input in capitals, and fails on b.png as one would."""
    if job.name == "b.png":
        raise CorruptError("damaged")
    data = job.read()
    job.write(data.upper(), force=False)
    return Done(len(data), len(data), pixels=10, bits=8 * len(data), notes=[f"{len(data)} letters"])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_file_is_named_and_the_others_are_done(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run(make_plan("a.png", "b.png", "album"), upper, workers=workers)
    assert Path("a.vqc").read_bytes() == b"A.PNG"
    assert Path("album/sub/d.vqc").read_bytes() == b"ALBUM/SUB/D.PNG"
    assert not Path("b.vqc").exists()
    out, err = capsys.readouterr()
    *lines, summary = err.splitlines()
    assert out == ""
    assert lines == [
        "a.png: 5 letters",
        "b.png: damaged",
        "album/c.png: 11 letters",
        "album/sub/d.png: 15 letters",
    ]
    # 31 bytes are 248 bits, on three times 10 pixels.
    assert summary.startswith("3 files, 1 failed: 31 bytes in, 31 bytes out, 8.267 bpp, ")


def read_line(screen: io.FileIO, start: bytes) -> bytes:
    """Return what a terminal shows up to the end of a line; it may arrive piece by piece."""
    shown = b""
    while not re.search(re.escape(start) + rb".*\n", shown):
        shown += screen.read(10_000) or b""
    return shown


@posix_only
def test_progress_is_shown_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import pty
    import termios

    Path("a.png").write_bytes(bytes(900))
    Path("b.png").write_bytes(bytes(100))

    def wait(job: Job) -> Done:
        time.sleep(0.3)  # seldom is a bar drawn anew
        return Done(0, 0, 1, 0)

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with open(reader, "rb", buffering=0) as screen, open(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert run(make_plan("a.png", "b.png"), wait, workers=1)
        shown = read_line(screen, b"2 files: ")
        assert run(make_plan("a.png", "b.png", force=True), wait, workers=1, quiet=True)
        assert run(make_plan("a.png", force=True), wait, workers=1)
        rest = read_line(screen, b"1 file: ")
    assert re.search(rb"0%.* 0\.00/1\.00k ", shown)
    assert re.search(rb"90%.* 900/1\.00k .*B/s", shown)
    assert rest.startswith(b"1 file: ")


def test_what_could_not_be_planned_counts_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(make_plan("gone.png"), upper, workers=1)
    assert capsys.readouterr().err.startswith("gone.png: no such file\n0 files, 1 failed: ")


def test_what_was_skipped_is_counted_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Plan(skipped=2), upper, workers=1)
    assert capsys.readouterr().err.startswith("0 files, 2 skipped: ")


def test_quiet_runs_say_only_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(make_plan("a.png", "b.png"), upper, workers=1, quiet=True)
    assert capsys.readouterr().err == "b.png: damaged\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_are_those_of_each_job(workers: int) -> None:
    import torch

    before = torch.get_num_threads()
    seen: list[int] = []

    def look(job: Job) -> Done:
        seen.append(torch.get_num_threads())
        return Done(0, 0, 1, 0)

    try:
        assert run(make_plan("a.png", "b.png"), look, workers=workers, threads=before + 1)
    finally:
        torch.set_num_threads(before)
    assert seen == [before + 1] * 2


def test_workers_really_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=600)  # so that a busy machine is no failure

    def wait(job: Job) -> Done:
        meeting.wait()  # a lone worker would be here all that time
        return Done(0, 0, 1, 0)

    assert run(make_plan("a.png", "b.png"), wait, workers=2)


def test_a_closed_pipe_ends_the_run() -> None:
    def write(job: Job) -> Done:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(make_plan("a.png"), write, workers=1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CorruptError("the checksum\ndoes not fit"), "the checksum does not fit"),
        (FileNotFoundError("no such file"), "no such file"),
        (PermissionError(13, "Permission denied", "secret.png"), "Permission denied"),
        (KeyError("tag"), "KeyError: 'tag'"),
    ],
)
def test_errors_are_described_in_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


def test_what_is_there_already_is_skipped(photo: Image.Image) -> None:
    photo.save("photo.png")
    assert vqcodec_("encode", "photo.png", "--quiet").stderr == ""
    Path("out").mkdir()
    for command, source, target in (
        ("encode", "photo.png", "photo.vqc"),
        ("decode", "photo.vqc", "photo.png"),
    ):
        Path("out", target).write_bytes(b"old")
        result = vqcodec_(command, source, "-o", "out", "--skip-existing")
        assert result.exit_code == 0
        assert result.stderr.startswith("0 files, 1 skipped: ")
        assert Path("out", target).read_bytes() == b"old"
        assert vqcodec_(command, source, "--skip-existing", "--force").exit_code == 2
    # The photograph is there, and is taken for what was decoded.
    assert "1 skipped: " in vqcodec_("decode", "photo.vqc", "--skip-existing").stderr
    assert not Path("photo.decoded.png").exists()
