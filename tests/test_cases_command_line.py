"""Cases from the field, on the command line: hostile names, closed streams, values out of range.

The numbers are those of the cases; each test has the kind that its case stands for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import FOREIGN, posix_only, program, refused, vqcodec_

pytestmark = pytest.mark.usefixtures("workplace")

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
    "encode": ["--quality", "--max-bytes", "--bpp", "--psnr", "--jobs", "--threads"],
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
