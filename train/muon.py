"""Muon for the weight matrices of a dense network, Adam for everything else, as one optimizer.

Muon (Jordan et al. 2024) steps along the nearest orthogonal matrix of the momentum, so that all
directions of a layer learn at the same pace, and it makes use of large batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class MuonWithAdam:
    """Matrices by Muon at the rate `lr`, its updates as large as Adam's would be; the rest by Adam.

    Has what the training loop asks of an optimizer.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        parameters = list(parameters)
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [p for p in parameters if p.ndim == 2],
                lr,
                weight_decay=0.0,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.Adam([p for p in parameters if p.ndim < 2], lr, eps=1e-4, fused=True),
        ]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Take a step with both."""
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {str(n): optimizer.state_dict() for n, optimizer in enumerate(self._optimizers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the states back; raises ValueError if they are another optimizer's."""
        if state.keys() != self.state_dict().keys():
            raise ValueError("not the states of Muon and Adam")
        for number, optimizer in enumerate(self._optimizers):
            optimizer.load_state_dict(state[str(number)])
