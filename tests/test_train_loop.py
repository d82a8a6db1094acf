"""The training loop: exact resume, skipped steps, averaged weights, signals."""

from __future__ import annotations

import csv
import os
import signal
from collections import OrderedDict
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from train.data import CropSampler
from train.errors import CheckpointError, DivergedError
from train.loop import MOST_SKIPPED_IN_A_ROW, Settings, Trainer
from train.options import FILE, Script
from train.processes import Process

CPU = Process(torch.device("cpu"))


class Denoise:
    """A task with every kind of randomness that a model may use."""

    def __init__(self, bad_steps: frozenset[int] = frozenset(), kill_at: int | None = None) -> None:
        self._bad_steps = bad_steps
        self._kill_at = kill_at
        self._calls = 0

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        x = batch.float() / 255.0
        noise = uniform[:, None, None, None] + torch.randn_like(x)
        mse = (model(x + 0.1 * noise) - x).square().mean()
        bad = self._calls in self._bad_steps
        if self._calls == self._kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self._calls += 1
        return {"loss": mse * float("nan") if bad else mse, "mse": mse}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        assert not model.training
        weights = sum(float(weight.double().sum()) for weight in model.parameters())
        noise = float(torch.rand(()))
        return [{"point": point, "loss": weights + noise} for point in (0, 1)]


def trainer(
    out: Path, task: Denoise | None = None, model_width: int = 4, **changes: Any
) -> Trainer:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, model_width, 3, padding=1), nn.Conv2d(model_width, 3, 1))
    images = [np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8) for i in range(3)]
    defaults = {"steps": 8, "warmup": 2, "log_every": 3, "valid_every": 4}
    settings = Settings(**{**defaults, **changes})
    return Trainer(
        model,
        task or Denoise(),
        CropSampler(images, 16, 2, settings.seed),
        torch.optim.Adam(model.parameters(), 1e-2, betas=(0.9, 0.99)),
        settings,
        out,
        CPU,
        {"settings": {"steps": settings.steps, "batch": 2}, "model": {"width": 4}},
    )


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a log without the column that no two runs share."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    uninterrupted = trainer(whole)
    assert uninterrupted.run()
    # Step 5 is within an interval of the log and between two validations.
    assert not trainer(parts, Denoise(kill_at=4)).run()
    assert len(rows(parts / "log.csv")) == 1
    resumed = trainer(parts)
    resumed.resume()
    assert resumed.step == 5
    assert resumed.run()
    assert same(resumed.model.state_dict(), uninterrupted.model.state_dict())
    assert same(resumed.ema.state_dict(), uninterrupted.ema.state_dict())
    assert len(rows(whole / "log.csv")) == 2
    assert rows(parts / "log.csv") == rows(whole / "log.csv")
    assert len(rows(whole / "valid.csv")) == 4
    assert rows(parts / "valid.csv") == rows(whole / "valid.csv")


@pytest.mark.parametrize(("kill_at", "code"), [(None, 0), (0, 75)])
def test_exit_code_of_a_script_says_whether_it_was_stopped(
    tmp_path: Path, kill_at: int | None, code: int
) -> None:
    @click.command(cls=Script)
    @click.option("--out", type=FILE)
    def script(out: Path) -> bool:
        return trainer(out, Denoise(kill_at=kill_at), steps=2).train(resume=False)

    result = CliRunner().invoke(script, ["--out", str(tmp_path / "out")])
    assert result.exit_code == code
    stopped = f"stopped; go on with --resume --out {tmp_path / 'out'}"
    assert (stopped in result.stderr) == (code == 75)


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    trainer(tmp_path / "finished", steps=1).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    trainer(tmp_path / "stopped", Denoise(kill_at=0)).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class SignalWhenSaved:
    """Part of a checkpoint that ends the process in the middle of saving, if a signal still can."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return OrderedDict, ()


@pytest.mark.parametrize("kill_at", [None, 3], ids=["finished", "stopped"])
def test_signal_while_saving_does_not_end_it(tmp_path: Path, kill_at: int | None) -> None:
    run = trainer(tmp_path, Denoise(kill_at=kill_at))
    run._config["signal"] = SignalWhenSaved()

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        run.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    resumed = trainer(tmp_path)
    resumed.resume()
    assert resumed.step == (8 if kill_at is None else 4)


def test_rows_after_the_last_checkpoint_are_replaced(tmp_path: Path) -> None:
    assert not trainer(tmp_path, Denoise(kill_at=4)).run()
    with (tmp_path / "log.csv").open("a") as file:
        file.write("6,0,0,123,0,0,0,0\n9,1")
    resumed = trainer(tmp_path)
    resumed.resume()
    resumed.run()
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["3", "6"]
    assert "123" not in (tmp_path / "log.csv").read_text()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, other = trainer(tmp_path / "a", steps=2), trainer(tmp_path / "b", steps=2, seed=1)
    one.run()
    other.run()
    assert not same(one.model.state_dict(), other.model.state_dict())


def test_log_has_every_term(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    first, second = rows(tmp_path / "log.csv")
    assert list(first) == ["step", "pixels", "loss", "mse", "grad_norm", "lr", "skipped"]
    assert (first["step"], second["step"]) == ("3", "6")
    assert first["pixels"] == str(3 * 2 * 16 * 16)
    assert first["lr"] == "0.01"


def test_checkpoint_is_read_without_unpickling_and_holds_the_config(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=1)
    run.run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 1
    assert state["config"]["model"] == {"width": 4}
    assert same(state["ema"], run.ema.state_dict())
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    with pytest.raises(CheckpointError, match="give --resume or another --out"):
        trainer(tmp_path, steps=1).run()


def test_checkpoints_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        trainer(tmp_path).resume()
    trainer(tmp_path, steps=1).run()
    with pytest.raises(CheckpointError, match="holds another model"):
        trainer(tmp_path, model_width=5).resume()
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        trainer(tmp_path).resume()
    torch.save({"weights": torch.zeros(1)}, checkpoint)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        trainer(tmp_path).resume()


def test_changed_settings_are_named_on_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path, steps=2).run()
    longer = trainer(tmp_path, steps=3)
    longer.resume()
    assert "resumed with steps = 3, was 2" in caplog.text
    assert longer.run()
    assert longer.step == 3


def test_step_without_finite_loss_changes_no_weight_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = trainer(tmp_path / "good", steps=1)
    good.run()
    skipping = trainer(tmp_path / "bad", Denoise(frozenset({1, 2})), steps=3)
    skipping.run()
    assert same(skipping.model.state_dict(), good.model.state_dict())
    (row,) = rows(tmp_path / "bad" / "log.csv")
    assert row["skipped"] == "2"
    assert np.isfinite(float(row["loss"]))
    assert "step 1 skipped: loss nan" in caplog.text


def test_run_that_stays_not_finite_ends(tmp_path: Path) -> None:
    run = trainer(tmp_path, Denoise(frozenset(range(200))), steps=200)
    with pytest.raises(DivergedError, match="lower --lr"):
        run.run()
    assert run.step == MOST_SKIPPED_IN_A_ROW - 1


def test_averaged_weights_follow_the_formula(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=1, ema=0.05)
    start = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.run()
    for name, value in run.ema.state_dict().items():
        expected = 0.05 * start[name] + 0.95 * run.model.state_dict()[name]
        torch.testing.assert_close(value, expected)


def test_learning_rate_rises_stays_and_falls() -> None:
    settings = Settings(steps=100, warmup=10, decay=0.2)
    factors = [settings.lr_factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:81] == [1.0] * 72
    assert factors[90] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_compiled_model_learns_the_same_and_its_checkpoint_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    plain = trainer(tmp_path / "plain", steps=3)
    plain.run()
    trainer(tmp_path / "compiled", steps=3, compile=True).run()
    (expected,), (row,) = (rows(tmp_path / name / "log.csv") for name in ("plain", "compiled"))
    assert float(row["loss"]) == pytest.approx(float(expected["loss"]), rel=0.02)
    resumed = trainer(tmp_path / "compiled", steps=3)
    resumed.resume()
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, plain.model.state_dict()[name], rtol=0, atol=0.02)
