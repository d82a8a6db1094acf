"""The program as a test runs it: from a folder of its own, in this process or from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vqcodec.commands.main import cli
from vqcodec.fileformat.container import Container, Header, pack

# A sound file of weights that nobody has.
FOREIGN = pack(Container(Header(b"\x00\x01\x02\x03", 48, 40, quality=60), {}, b"stream"))
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files and streams")


def vqcodec_(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run a command line in this process; no exception but a tidy end may leave it."""
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
