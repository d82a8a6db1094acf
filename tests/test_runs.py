"""The pages on training runs: every command on them is one that the scripts take."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

PAGE = Path(__file__).parents[1] / "train" / "runs" / "gpu.md"


def commands() -> list[list[str]]:
    """Return the words of each `python -m train.…` on the page."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[2:] for line in lines if line.startswith("python -m train.")]


def test_page_has_commands() -> None:
    assert len(commands()) == 6


@pytest.mark.parametrize("words", commands(), ids=lambda words: f"{words[0]} {words[-1]}")
def test_command_is_understood(words: list[str]) -> None:
    script = import_module(words[0]).main
    assert isinstance(script, click.Command)
    context = script.make_context(words[0], words[1:])
    assert context.params
