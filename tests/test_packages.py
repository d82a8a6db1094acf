"""The source distribution: a manual page a command, which leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import click
import pytest

import vqcodec
from vqcodec.commands.main import cli

ROOT = Path(__file__).parents[1]
COMMANDS: dict[str, click.Command] = {
    "vqcodec": cli,
    **{f"vqcodec-{name}": command for name, command in cli.commands.items()},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each manual page of the source distribution, by its name."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if match := re.fullmatch(r"[^/]+/man/(.+)\.1", member.name):
                stream = archive.extractfile(member)
                assert stream is not None
                found[match[1]] = stream.read().decode()
    path.unlink()
    return found


@pytest.mark.slow
def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    assert pages.keys() == COMMANDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_all_options(name: str, pages: dict[str, str]) -> None:
    page = pages[name].replace(r"\-", "-")
    assert f'"{vqcodec.__version__}"' in page.splitlines()[0]
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert all(option in page for option in parameter.opts)
    for command in getattr(COMMANDS[name], "commands", ()):
        assert f"vqcodec-{command}(1)" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_text_of_a_page_is_taken_for_a_macro(name: str, pages: dict[str, str]) -> None:
    lines = [line for line in pages[name].splitlines() if line.startswith((".", "'"))]
    assert lines
    for line in lines:
        assert re.match(r"\.(TH|SH|PP|TP|B)\b", line), line
