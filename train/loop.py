"""The training loop that every model shares: one step, its logs, its checkpoints, its resume.

Everything random in a step is a function of the seed and the step, so a checkpoint has no generator
states, and a resumed run repeats the run that was never interrupted. What the task draws for an
image does not depend on how many processes share the batch, nor does the crop (`train.data`); what
the network draws itself, from PyTorch's global generators, does.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from train.checkpoint import load_checkpoint, load_weights, save_checkpoint
from train.data import Sampler, prefetch
from train.errors import CheckpointError, DivergedError
from train.log import CsvLog, TensorBoardLog
from train.processes import Process, stop_signals

CHECKPOINT = "checkpoint.pt"
MOST_SKIPPED_IN_A_ROW = 100

Weights = tuple[Tensor, ...] | list[Tensor]

_log = logging.getLogger("train")


class Task(Protocol):
    """What is trained for: the part of a training run that differs from model to model."""

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return scalars to log, of which "loss" is minimised; `model` is only to be called.

        `uniform` has a random number for each image, float32 [B] in [0, 1).
        """
        ...

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return rows for valid.csv, each with a "loss"; `model` is in evaluation mode."""
        ...


class Optimizer(Protocol):
    """What the loop asks of one of PyTorch's optimizers, or of several taken together."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def zero_grad(self) -> None: ...

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How to train: numbers of steps, and what is the same for every model."""

    steps: int
    warmup: int = 500
    decay: float = 0.3
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    log_every: int = 50
    valid_every: int = 1000
    checkpoint_minutes: float = 10.0
    data_threads: int = 1
    compile: bool = False
    bf16: bool = True

    def lr_factor(self, step: int) -> float:
        """Return the learning rate of `step` over its peak: linear warmup, constant, linear to 0.

        The fall takes the last `decay` of the steps.
        """
        rise = (step + 1) / max(self.warmup, 1)
        fall = (self.steps - step) / max(self.decay * self.steps, 1.0)
        return min(1.0, rise, fall)

    def ema_decay(self, step: int) -> float:
        """Return how much of the averaged weights stays at `step`.

        A young run averages over its last tenth, so that it forgets the start.
        """
        return min(self.ema, (1 + step) / (10 + step))


@dataclass
class Progress:
    """How far a run is, as its checkpoint keeps it; `sums` are of `summed` steps, to be logged."""

    step: int = 0
    seconds: float = 0.0
    pixels: int = 0
    skipped: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def add(self, terms: Mapping[str, float]) -> None:
        """Count a step's terms in the means."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.summed += 1

    def take_means(self) -> dict[str, float]:
        """Return the means of the terms since the last time, of no terms if there was no step."""
        means = {name: total / self.summed for name, total in self.sums.items()}
        self.sums, self.summed = {}, 0
        return means


def averaged(model: nn.Module, decay: Callable[[], float]) -> AveragedModel:
    """Return an average of the model's weights, of which each update leaves `decay()`."""

    def update(averages: Weights, weights: Weights, _: Tensor | int) -> None:
        torch._foreach_lerp_(averages, weights, 1.0 - decay())

    average = AveragedModel(model, multi_avg_fn=update).eval().requires_grad_(False)
    average.update_parameters(model)  # the first update only copies
    return average


def seeded(seed: int, step: int, process: Process, images: int) -> Tensor:
    """Seed PyTorch's global generators for a step; return what the task gets as `uniform`."""
    own = np.random.SeedSequence((seed, step, process.rank))
    torch.manual_seed(int(own.generate_state(1)[0]))
    shared = np.random.default_rng(np.random.SeedSequence((seed, step), spawn_key=(0,)))
    return process.part(shared.random(process.world_size * images, np.float32))


class Trainer:
    """Trains `model` for `task` on the batches of `sampler`, in the folder `out`.

    `out` receives checkpoint.pt, log.csv, valid.csv and TensorBoard's files. `config` (plain data)
    goes into the checkpoint; what it has under "settings" should not change on resume.
    `optimizer` holds the peak learning rates.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        sampler: Sampler,
        optimizer: Optimizer,
        settings: Settings,
        out: Path,
        process: Process,
        config: Mapping[str, Any],
    ) -> None:
        model.to(process.device)
        self.model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.progress = Progress()
        self._average = averaged(self.model, lambda: settings.ema_decay(self.step))
        parallel = process.parallel(self.model)
        self._parallel = cast(nn.Module, torch.compile(parallel)) if settings.compile else parallel
        self._task = task
        self._sampler = sampler
        self._optimizer = optimizer
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._settings = settings
        self._out = out
        self._process = process
        self._config = dict(config)
        self._skipped_in_a_row = 0

    @property
    def step(self) -> int:
        """The number of steps that are done."""
        return self.progress.step

    @property
    def ema(self) -> nn.Module:
        """The model with averaged weights, in evaluation mode."""
        return self._average.module

    @property
    def checkpoint(self) -> Path:
        """The file that `run` saves to and `resume` reads."""
        return self._out / CHECKPOINT

    def resume(self) -> None:
        """Go on from the checkpoint; raises CheckpointError if there is none or it does not fit."""
        state = load_checkpoint(self.checkpoint, self._process.device)
        load_weights(self.model, state["model"], self.checkpoint)
        load_weights(self.ema, state["ema"], self.checkpoint)
        try:
            self._optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise CheckpointError(f"{self.checkpoint} has another optimizer: {error}") from error
        self.progress = Progress(**{name: state[name] for name in asdict(self.progress)})
        before, now = state["config"].get("settings", {}), self._config.get("settings", {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                _log.warning("resumed with %s = %s, was %s", name, now.get(name), before.get(name))
        _log.info("resumed %s at step %d", self.checkpoint, self.step)

    def train(self, *, resume: bool) -> bool:
        """Resume if told, run, and leave the other processes; return and raise what `run` does."""
        if resume:
            self.resume()
        finished = self.run()
        self._process.leave()
        return finished

    def run(self) -> bool:
        """Train to the last step, or until SIGINT or SIGTERM; then save.

        Returns whether the last step was reached. Raises CheckpointError if a run that was not
        resumed would overwrite a checkpoint, and DivergedError if the loss stays not finite.
        """
        if self.step == 0 and self.checkpoint.exists():
            raise CheckpointError(f"{self.checkpoint} exists: give --resume or another --out")
        settings, first = self._settings, self._process.first
        if first:
            self._out.mkdir(parents=True, exist_ok=True)
            self._log = CsvLog(self._out / "log.csv", self.step)
            self._valid_log = CsvLog(self._out / "valid.csv", self.step)
            self._board = TensorBoardLog(self._out / "tensorboard", self.step)
        saved = clock = time.monotonic()
        batches = prefetch(
            self._sampler, self.step, settings.steps, self._process.rank, settings.data_threads
        )
        bar = tqdm(
            total=settings.steps,
            initial=self.step,
            unit="step",
            disable=not first,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 60.0,
        )
        with stop_signals() as signals, logging_redirect_tqdm(), bar:
            for batch in batches:
                stop = self._advance(batch, signals)
                now = time.monotonic()
                self.progress.seconds, clock = self.progress.seconds + now - clock, now
                bar.update()
                if first and self.step % settings.log_every == 0:
                    self._write_means(bar)
                if first and (self.step % settings.valid_every == 0 or self.step == settings.steps):
                    self._validate()
                if first and now - saved > 60 * settings.checkpoint_minutes:
                    self.save()
                    saved = now
                if stop:
                    break
            # Before signals act again: any that is still to come would end the saving.
            if first:
                self.save()
                self._board.close()
            self._process.wait()
        return self.step == settings.steps

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "config": self._config,
            **asdict(self.progress),
        }
        save_checkpoint(self.checkpoint, state)

    def _advance(self, batch: Tensor, signals: list[int]) -> bool:
        """Take one step; return whether any process was asked to stop."""
        process = self._process
        uniform = seeded(self._settings.seed, self.step, process, len(batch))
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._settings.lr_factor(self.step)
        batch = batch.to(process.device, non_blocking=True)
        with torch.autocast(process.device.type, torch.bfloat16, enabled=self._settings.bf16):
            terms = self._task.loss(self._parallel, batch, uniform)
        self._optimizer.zero_grad()
        torch.autograd.backward(terms["loss"])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip)
        scalars = [*terms.values(), norm, torch.tensor(float(len(signals)), device=norm.device)]
        values = process.mean(torch.stack([value.detach().float() for value in scalars])).tolist()
        means = dict(zip([*terms, "grad_norm"], values, strict=False))
        # Every process has the same means, so all skip or none does.
        if math.isfinite(means["loss"]) and math.isfinite(means["grad_norm"]):
            self._optimizer.step()
            self._skipped_in_a_row = 0
            self.progress.add(means)
        else:
            self._skip(means)
        self._average.update_parameters(self.model)
        self.progress.step += 1
        self.progress.pixels += process.world_size * batch.shape[0] * math.prod(batch.shape[2:])
        return bool(values[-1] > 0)

    def _skip(self, means: Mapping[str, float]) -> None:
        self.progress.skipped += 1
        self._skipped_in_a_row += 1
        if self._process.first:
            loss, norm = means["loss"], means["grad_norm"]
            _log.warning("step %d skipped: loss %g, gradient norm %g", self.step, loss, norm)
        if self._skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise DivergedError(
                f"no finite loss and gradient for {MOST_SKIPPED_IN_A_ROW} steps, "
                f"up to step {self.step}: lower --lr"
            )

    def _write_means(self, bar: tqdm[Any]) -> None:
        progress = self.progress
        if means := progress.take_means():
            row: dict[str, float] = {
                "step": progress.step,
                "seconds": round(progress.seconds, 1),
                "pixels": progress.pixels,
                **means,
                "lr": float(self._optimizer.param_groups[0]["lr"]),
                "skipped": progress.skipped,
            }
            self._log.write(row)
            self._board.write("train", row, self.step)
            bar.set_postfix({name: f"{value:.4g}" for name, value in means.items()}, refresh=False)

    @torch.no_grad()
    def _validate(self) -> None:
        torch.manual_seed(self._settings.seed)
        rows = self._task.validate(self.ema)
        seconds = round(self.progress.seconds, 1)
        for row in rows:
            self._valid_log.write({"step": self.step, "seconds": seconds, **row})
        mean = sum(row["loss"] for row in rows) / len(rows)
        self._board.write("valid", {"loss": mean}, self.step)
        _log.info("step %d: validation loss %.5f", self.step, mean)
