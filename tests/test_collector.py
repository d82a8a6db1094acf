"""The garbage collector rests while PyTorch is imported and at a command's end, and not longer."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest

import vqcodec
from vqcodec import collector


def test_it_rests_within_and_works_again_after_an_error() -> None:
    assert gc.isenabled()

    def fails() -> None:
        with collector.at_rest():
            assert not gc.isenabled()
            raise ImportError

    with pytest.raises(ImportError):
        fails()
    assert gc.isenabled()


def test_one_that_rested_before_goes_on_resting() -> None:
    gc.disable()
    try:
        with collector.at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_encoding_leaves_it_at_work() -> None:
    vqcodec.encode(np.zeros((16, 16, 3), np.uint8))
    assert gc.isenabled()


def of_a_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_end_of_a_command_looks_for_no_garbage() -> None:
    # What is registered first is done last: this sees what the command left.
    watched = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    assert of_a_process(f"{watched}; import vqcodec.commands.main") == "True"


def test_a_library_leaves_the_end_of_a_program_as_it_is() -> None:
    watched = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))"
    assert of_a_process(f"{watched}; import vqcodec") == "0"
