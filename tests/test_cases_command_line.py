"""Cases from the field, on the command line: hostile names, odd streams, values out of range.

The numbers are those of the cases; each test has the kind that its case stands for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vqcodec
from vqcodec.commands.main import cli

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
