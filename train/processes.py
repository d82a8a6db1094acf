"""The processes of a training run: their devices, their ranks, the signals that stop them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.errors import TrainError


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a training run; `world_size` is the number of processes."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls, device: str) -> Process:
        """Join the processes of torchrun, if it started this one, on "auto", "cpu" or "cuda".

        Raises TrainError if the device is not there.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise TrainError("no CUDA device is available; use --device cpu")
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        if "RANK" not in os.environ:
            return cls(torch.device(device))
        local = int(os.environ["LOCAL_RANK"])
        if device == "cuda":
            torch.cuda.set_device(local)
            dist.init_process_group("nccl")
            return cls(torch.device("cuda", local), dist.get_rank(), dist.get_world_size())
        dist.init_process_group("gloo")
        return cls(torch.device("cpu"), dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages the gradients over all processes."""
        if self.world_size == 1:
            return model
        local = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=local)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over all processes; not finite where one is not finite."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values = values / self.world_size
        return values

    def part(self, whole: NDArray[np.float32]) -> Tensor:
        """Return this process's rows of what belongs to the batch of all processes."""
        return torch.from_numpy(np.split(whole, self.world_size)[self.rank]).to(self.device)

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.world_size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Part from the other processes."""
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, in which they do nothing else.

    However many come: torchrun passes on what it is sent, so a signal to every process, as
    schedulers send it, comes twice, and the second would end the saving.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
