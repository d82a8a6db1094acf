"""Cases from the field, on the command line: hostile names, odd streams, values out of range.

The numbers are those of the cases; each test has the kind that its case stands for.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import vqcodec
from vqcodec.commands.main import cli
from vqcodec.fileformat.container import Container, Header, pack

FOREIGN = pack(Container(Header(b"\x00\x01\x02\x03", 48, 40, quality=60), {}, b"stream"))
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files and streams")
# Colours, a line of its own, a title for the window in one character, text that runs backwards.
HOSTILE = "a\x1b[31mb\nc\r\x9b2J\u202egnp"
RAW = "\x1b\n\r\x9b\u202e"
# What every command needs beside its input.
COMMANDS = {
    "encode": ["encode"],
    "decode": ["decode"],
    "truncate": ["truncate", "--max-bytes", "40"],
    "compare": ["compare"],
    "bpd": ["bpd"],
    "info": ["info"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the package is found from there too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(vqcodec.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vqcodec_(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def program(redirections: str, *arguments: str, **variables: str) -> tuple[int, bytes, str]:
    """Run the program from a shell; return its exit code, stdout, and stderr."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirections}', "bash", sys.executable, "-m", "vqcodec", *arguments],
        capture_output=True,
        env=os.environ | variables,
    )
    err = done.stderr.decode(errors="surrogateescape")
    assert "Traceback" not in err, err
    assert "Exception" not in err, err
    return done.returncode, done.stdout, err


def refused(*arguments: str) -> str:
    """Run a command line that makes no sense, and return the line that says so."""
    before = sorted(Path().rglob("*"))
    result = vqcodec_(*arguments)
    assert result.exit_code == 2, result.output
    assert sorted(Path().rglob("*")) == before
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["", "a\0b"])
def test_c6_an_empty_argument_is_refused(command: str, name: str) -> None:
    Path("a.png").touch()
    Path("a.vqc").touch()
    assert "name" in refused(*COMMANDS[command], name)
    if command != "info":
        assert "name" in refused(*COMMANDS[command], "a.png", name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "a.png", "-o"],
        ["decode", "a.vqc", "-o"],
        ["truncate", "--max-bytes", "40", "a.vqc", "-o"],
        ["compare", "a.png", "-o"],
        ["bpd", "a.png", "--map"],
        ["encode", "a.png", "--model"],
        ["decode", "a.vqc", "--model"],
        ["compare", "a.png", "--model"],
        ["bpd", "a.png", "--model"],
    ],
)
def test_c6_an_empty_value_is_refused(arguments: list[str]) -> None:
    Path("a.png").touch()
    Path("a.vqc").touch()
    assert "an empty name" in refused(*arguments, "")


NUMBERS = {
    "encode": ["--quality", "--max-bytes", "--bpp", "--psnr", "--jobs"],
    "decode": ["--jobs", "--region", "--scale"],
    "truncate": ["--max-bytes"],
    "compare": ["--bpp", "--jobs"],
    "bpd": ["--samples", "--quality"],
}
NO_NUMBERS = ["nan", "NaN", "-nan", "inf", "-inf", "True", "false", "", " ", "-1", "0", "9" * 5000]


@pytest.mark.parametrize("value", [*NO_NUMBERS, "1" + "0" * 30, "1e400", "0x10", "1,2", "½"])
@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command in NUMBERS for option in NUMBERS[command]]
)
def test_c11_what_is_no_number_of_the_range_is_refused(
    command: str, option: str, value: str
) -> None:
    Path("a.png").touch()
    assert option in refused(*COMMANDS[command], "a.png", option, value)


def assert_escaped(text: str, lines: int) -> None:
    assert len(text.splitlines()) == text.count("\n") == lines, text
    assert not set(RAW[:1] + RAW[2:]) & set(text)
    assert r"a\x1b[31mb\nc\r\x9b2J\u202egnp" in text


@posix_only
@pytest.mark.parametrize("command", COMMANDS)
def test_c2_a_hostile_name_of_a_missing_file_is_escaped(command: str) -> None:
    result = vqcodec_(*COMMANDS[command], HOSTILE)
    assert result.exit_code == 1
    assert_escaped(result.stderr, 2 if "1 failed" in result.stderr else 1)


@posix_only
@pytest.mark.parametrize("command", COMMANDS)
def test_c2_a_hostile_name_of_a_bad_file_is_escaped(command: str) -> None:
    Path(HOSTILE).write_bytes(b"VQC no picture")
    result = vqcodec_(*COMMANDS[command], HOSTILE)
    assert result.exit_code == 1
    assert_escaped(result.stderr, 2 if "1 failed" in result.stderr else 1)


@posix_only
def test_c2_info_shows_a_hostile_name_in_one_line() -> None:
    Path(HOSTILE).write_bytes(FOREIGN)
    text = vqcodec_("info", HOSTILE).stdout
    assert_escaped(text, len(vqcodec_("info", "-", stdin=FOREIGN).stdout.splitlines()))
    assert json.loads(vqcodec_("info", "--json", HOSTILE).stdout)["file"] == HOSTILE


@posix_only
@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["info", "--" + HOSTILE],
        ["encode", "a.png", "-q", HOSTILE],
        ["encode", "a.png", "--tune", HOSTILE],
        ["encode", "a.png", "--model", HOSTILE],
        ["encode", "a.png", "b.png", "-o", "./" + HOSTILE],
        ["decode", "a.vqc", "-o", HOSTILE],
        ["compare", "a.png", "--with", HOSTILE],
    ],
)
def test_c2_arguments_are_escaped_where_they_are_refused(arguments: list[str]) -> None:
    Path("a.png").touch()
    Path("a.vqc").touch()
    Path(HOSTILE).touch()
    result = vqcodec_(*arguments)
    assert result.exit_code in (1, 2)
    assert not set(RAW[:1] + RAW[2:]) & set(result.stderr)
    assert r"\x1b[31mb" in result.stderr


@posix_only
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["😔.vqc", "\udcff.vqc", "é.vqc"])
def test_c3_names_that_a_stream_cannot_show_are_escaped(encoding: str, name: str) -> None:
    Path(name).write_bytes(FOREIGN)
    shown = name.encode(encoding, "backslashreplace").replace(b"\xed\xb3\xbf", rb"\udcff")
    code, out, err = program("", "info", name, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == b"file      " + shown
    for arguments in (["info", "gone" + name], ["truncate", "--max-bytes", "9", "gone" + name]):
        code, out, err = program("", *arguments, PYTHONIOENCODING=encoding)
        assert (code, out) == (1, b"")
        assert b"gone" + shown in err.encode(errors="surrogateescape")


@posix_only
@pytest.mark.parametrize(
    ("redirections", "arguments"),
    [
        (">&-", ["truncate", "--max-bytes", "99", "x.vqc", "-o", "-"]),
        (">&-", ["info", "x.vqc"]),
        (">&-", ["info", "--json", "x.vqc"]),
        (">&-", ["models"]),
        (">&-", ["--help"]),
        (">&-", ["--version"]),
        (">&-", ["encode", "--help"]),
        ("<&-", ["info", "-"]),
        ("<&-", ["truncate", "--max-bytes", "99", "-", "-o", "y.vqc"]),
        ("<&-", ["encode", "-", "-o", "y.vqc"]),
        ("<&-", ["decode", "-", "-o", "y.png"]),
        ("<&-", ["compare", "-", "-o", "y.html"]),
        ("<&- >&-", ["truncate", "--max-bytes", "99", "-"]),
        (">/dev/full", ["truncate", "--max-bytes", "99", "x.vqc", "-o", "-"]),
        (">/dev/full", ["info", "x.vqc"]),
        (">/dev/full", ["models"]),
    ],
)
def test_c4_a_stream_that_fails_is_one_line(redirections: str, arguments: list[str]) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    code, out, err = program(redirections, *arguments)
    assert (code, out) == (1, b"")
    line = err.splitlines()[0]
    assert any(reason in line for reason in ("is closed", "No space left"))
    assert [text.split()[:4] for text in err.splitlines()[1:]] in (
        [],
        [["0", "files,", "1", "failed:"]],
    )
    assert [path.name for path in Path().iterdir()] == ["x.vqc"]


@posix_only
@pytest.mark.parametrize("redirections", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_c4_streams_that_a_command_does_not_need_may_be_closed(redirections: str) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    code, out, _ = program(
        redirections, "truncate", "--max-bytes", "99", "x.vqc", "y.vqc", "-o", "d"
    )
    assert (code, out) == (1, b"")  # there is no y.vqc, which nobody hears of
    assert Path("d/x.cut.vqc").read_bytes() == FOREIGN


@posix_only
@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "x.vqc"],
        ["models"],
        ["--help"],
        ["encode", "-h"],
        ["truncate", "--max-bytes", "99", "x.vqc", "-o", "-"],
    ],
)
def test_c4_a_reader_that_has_gone_is_not_reported(arguments: list[str]) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "vqcodec", *arguments], stdout=stdout, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (1, b"")


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


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".JPEG", ".pjpeg", ".pjp", ".jif", ".apng", ".dib", ".mpo", ".jpx"]
)
def test_c8_files_are_found_by_each_suffix_that_images_have(suffix: str) -> None:
    Path("album").mkdir()
    Path("album/a" + suffix).write_bytes(b"no image")
    result = vqcodec_("encode", "album", "-o", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"album/a{suffix}: not an image")


def test_c8_a_folder_is_coded_whatever_its_jpegs_are_called(photo: Image.Image) -> None:
    Path("album").mkdir()
    photo.save("album/a.png")
    for name in ("b.jfif", "c.jpe"):
        photo.save(f"album/{name}", "JPEG")
    assert vqcodec_("encode", "album", "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.vqc", "b.vqc", "c.vqc"]


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
