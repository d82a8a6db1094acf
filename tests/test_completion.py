"""Completion in a shell: a script for each, and what is offered for the word being typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vqcodec.commands.main import cli

ROOT = Path(__file__).parents[1]


def offered(*words: str) -> list[str]:
    """What bash is told for the last of the words, each with its kind."""
    environment = {"COMP_WORDS": " ".join(["vqcodec", *words]), "COMP_CWORD": str(len(words))}
    environment["_VQCODEC_COMPLETE"] = "bash_complete"
    done = CliRunner().invoke(cli, prog_name="vqcodec", env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.skipif(sys.platform == "win32", reason="shells of POSIX")
def test_the_program_prints_a_script(shell: str) -> None:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "_VQCODEC_COMPLETE": f"{shell}_source"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "vqcodec"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"_VQCODEC_COMPLETE={shell}_complete" in done.stdout


def test_commands_options_and_choices_are_offered() -> None:
    assert offered("enc") == ["plain,encode"]
    assert offered("encode", "--max") == ["plain,--max-bytes"]
    assert offered("encode", "--tune", "ps") == ["plain,psnr"]


@pytest.mark.parametrize(
    "words",
    [
        ["encode", "ho"],
        ["encode", "a.png", "ho"],
        ["encode", "--model", "ho"],
        ["encode", "-o", "ho"],
        ["decode", "ho"],
        ["truncate", "ho"],
        ["compare", "ho"],
        ["info", "ho"],
        ["bpd", "ho"],
        ["bpd", "--model", "ho"],
        ["bpd", "--map", "ho"],
        ["tokens", "ho"],
        ["tokens", "-o", "ho"],
    ],
    ids=" ".join,
)
def test_files_are_left_to_the_shell(words: list[str]) -> None:
    assert offered(*words) == ["file,ho"]
