"""Training on several processes: the curve of one with the same batch, and an exact resume."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train.data import CropSampler
from train.loop import Settings, Trainer
from train.processes import Process

ROOT = Path(__file__).parents[1]
STEPS = 8
PAUSED_AT = 4
BATCH = 4  # of all processes
PATIENCE = 300.0


class Restore:
    """Brings images back from another brightness; at PAUSED_AT it may wait to be let go."""

    def __init__(self, pause: Path | None = None) -> None:
        self._pause = pause
        self._calls = 0

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        while self._calls == PAUSED_AT and self._pause and not self._pause.exists():
            time.sleep(0.05)
        self._calls += 1
        x = batch.float() / 255.0
        error = (model(x * (0.5 + uniform[:, None, None, None])) - x).square()
        return {"loss": error.mean(), "peak": error.amax((1, 2, 3)).mean()}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        return [{"loss": sum(float(weight.double().sum()) for weight in model.parameters())}]


def trainer(out: Path, process: Process, task: Restore) -> Trainer:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    images = [np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8) for i in range(3)]
    return Trainer(
        model,
        task,
        CropSampler(images, 16, BATCH // process.world_size, 0),
        torch.optim.Adam(model.parameters(), 1e-2),
        Settings(STEPS, warmup=2, log_every=1, valid_every=4, bf16=False),
        out,
        process,
        {},
    )


def torchrun(out: Path, *options: str) -> subprocess.Popen[str]:
    """Start this file's `main` in two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    port = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    return subprocess.Popen(
        [*launcher, *port, "-m", "test_train_processes", str(out), *options],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def main(out: Path, *options: str) -> None:
    process = Process.join("cpu")
    pause = None
    if "pause" in options:
        pause = out / "let-go"
        (out / f"{process.rank}.pid").write_text(f"{os.getpid()}\n")
    trainer(out, process, Restore(pause)).train(resume="resume" in options)


def finish(running: subprocess.Popen[str]) -> str:
    """Return what a run wrote to stderr, after it has ended."""
    try:
        return running.communicate(timeout=PATIENCE)[1]
    except subprocess.TimeoutExpired:
        running.terminate()
        raise


def wait_for(path: Path, text: str) -> None:
    """Wait until a file has a text in it."""
    end = time.monotonic() + PATIENCE
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"nothing in {path}"
        time.sleep(0.05)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of two processes."""
    out = tmp_path_factory.mktemp("two")
    running = torchrun(out)
    errors = finish(running)
    assert running.returncode == 0, errors
    return out


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one_with_their_batch(two: Path, tmp_path: Path) -> None:
    trainer(tmp_path, Process(torch.device("cpu")), Restore()).run()
    for name in ("log.csv", "valid.csv"):
        expected, of_two = rows(tmp_path / name), rows(two / name)
        assert len(expected) == (STEPS if name == "log.csv" else 2)
        for one_row, row in zip(expected, of_two, strict=True):
            assert row == pytest.approx(one_row, rel=1e-5)


@pytest.mark.slow
def test_two_processes_all_told_to_stop_resume_exactly(two: Path, tmp_path: Path) -> None:
    running = torchrun(tmp_path, "pause")
    wait_for(tmp_path / "log.csv", f"\n{PAUSED_AT},")
    pids = []
    for rank in range(2):
        wait_for(tmp_path / f"{rank}.pid", "\n")
        pids.append(int((tmp_path / f"{rank}.pid").read_text()))
    for pid in (*pids, running.pid):
        os.kill(pid, signal.SIGTERM)
    (tmp_path / "let-go").touch()
    finish(running)
    stopped = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert stopped["step"] == PAUSED_AT + 1
    errors = finish(torchrun(tmp_path, "resume"))
    states = [torch.load(out / "checkpoint.pt", weights_only=True) for out in (two, tmp_path)]
    for part in ("model", "ema"):
        whole, parts = (state[part] for state in states)
        assert all(torch.equal(whole[name], parts[name]) for name in whole), errors
    for name in ("log.csv", "valid.csv"):
        assert rows(tmp_path / name) == rows(two / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
