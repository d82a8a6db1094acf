"""Weights from anyone cannot run code or take the memory, and nothing ever asks the network."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import vqcodec_
from safetensors.numpy import load_file, save_file

from vqcodec import weights
from vqcodec.fileformat.container import read_header
from vqcodec.weights.store import CONFIG_KEY, read_arrays

MEBIBYTES = 300
# Runs the command line and says on stdout how much memory it took. Not by getrusage: its peak
# takes in the memory of the process that started this one. The system ends it when it has used the
# processor for a minute, ten times what it takes; time on the clock depends on what else runs.
STATUS = Path("/proc/self/status")
MEASURED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from vqcodec.commands.main import cli
try:
    cli(sys.argv[1:], prog_name="vqcodec")
finally:
    lines = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""
# The same with sockets that do not work.
OFFLINE = """
import socket, sys
class Refused(socket.socket):
    def __init__(self, *arguments, **options):
        raise SystemExit("a socket was asked for")
socket.socket = Refused
from vqcodec.commands.main import cli
cli(sys.argv[1:], prog_name="vqcodec")
"""


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch run-by-a-pickle",)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Evil()))


def saved_by_torch(path: Path) -> None:
    torch.save({"network": _Evil()}, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def huge_tensor(path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))


def no_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def truncated(path: Path) -> None:
    path.write_bytes(weights.find(weights.DEFAULT).path.read_bytes()[:-1000])


def absurd_config(path: Path) -> None:
    shipped = weights.find(weights.DEFAULT)
    config, _ = read_arrays(shipped, CONFIG_KEY, "a vqcodec model")
    huge = config.replace('"hidden": [[48]', '"hidden": [[1000000000]')
    assert huge != config
    save_file(load_file(shipped.path), path, {CONFIG_KEY: huge})


def not_finite(path: Path) -> None:
    shipped = weights.find(weights.DEFAULT)
    config, arrays = read_arrays(shipped, CONFIG_KEY, "a vqcodec model")
    name = next(name for name in arrays if arrays[name].dtype == np.float16 and arrays[name].size)
    arrays[name] = np.full_like(arrays[name], np.nan)
    save_file(arrays, path, {CONFIG_KEY: config})


@pytest.mark.skipif(not STATUS.exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize(
    "make",
    [pickled, saved_by_torch, empty, huge_header, huge_tensor, no_end, folder, truncated,
     absurd_config, not_finite],
)  # fmt: skip
def test_hostile_weights(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (30, 20), "teal").save("a.png")
    path = tmp_path / "model.safetensors"
    make(path)
    command = [sys.executable, "-c", MEASURED, "encode", "a.png", "--model", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    # One line, and the summary if an image was at hand already.
    assert len([line for line in done.stderr.splitlines() if "0 files" not in line]) == 1
    # Beyond what Python and torch take by themselves.
    assert int(done.stdout) / 1024 < 300 + MEBIBYTES
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "model.safetensors"]


WORTHLESS_FORECASTS: list[object] = [
    [],
    None,
    "psnr",
    {"log_bytes": None},
    {"log_bytes": [1, 2, 3]},
    {"log_bytes": {"a": 1}},
    {"log_bytes": ["a", 0, 0, 0, 0, 0]},
    {"log_bytes": [10**400, 0, 0, 0, 0, 0]},
    {"log_bytes": [1e300, 0, 0, 0, 0, 0]},
    {"log_bytes": [math.nan, 0, 0, 0, 0, 0]},
    {"psnr": [[0], 0, 0, 0, 0, 0]},
    {"psnr": [-1e5, 0, 0, 0, 0, 0]},
    {"sample_psnr": [1, 2]},
    {"unlike_psnr": 0},
    {"unlike_log_bytes": "far"},
    {"requantized_psnr": 5},
    {"requantized_psnr": [0, 0]},
    {"requantized_psnr": [0.1, -1]},
    {"ssimulacra2": []},
    {"ssimulacra2": [1, 50, 100]},
]
WORTHLESS = ["[" * 100_000, "[]", "7"]
WORTHLESS += [json.dumps({"forecast": forecast}) for forecast in WORTHLESS_FORECASTS]


@pytest.mark.parametrize("card", WORTHLESS, ids=lambda card: card[:60])
def test_worthless_cards(card: str, tiny_weights: Path, workplace: Path) -> None:
    # As many pixels as are sampled, so that all of a card is asked for.
    Image.effect_noise((320, 320), 40).convert("RGB").save("a.png")
    shutil.copy(tiny_weights, "model.safetensors")
    Path("model.json").write_text(card)
    option = "--ssimulacra2" if '"ssimulacra2"' in card else "--psnr"
    result = vqcodec_("encode", "a.png", "--model", "model.safetensors", option, "20")
    assert result.exit_code == 1
    line, summary = result.stderr.splitlines()
    assert re.search("^a.png: .*damaged model card: ", line)
    assert summary.startswith("0 files, 1 failed: ")


def test_nothing_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((40, 30)).save("a.png")
    for arguments in (
        ["encode", "a.png"],
        ["truncate", "a.vqc", "--max-bytes", "40"],
        ["info", "a.vqc"],
        ["decode", "a.vqc", "-o", "b.png"],
        ["models"],
        ["bpd", "a.png"],
        ["encode", "a.png", "--model", "http://example.org/photo-1.safetensors", "-f"],
    ):
        command = [sys.executable, "-c", OFFLINE, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "socket" not in done.stderr
        assert (done.returncode == 0) == ("--model" not in arguments), done.stderr
    assert read_header(Path("a.vqc").read_bytes())[0].width == 40
