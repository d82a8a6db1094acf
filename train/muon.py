"""Muon for weight matrices, Adam for everything else, as one optimizer.

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

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, adam: torch.optim.Adam) -> None:
        """`matrices` are weights `[out, in]` or, of convolutions, `[out, in, k, k]`.

        `adam` has the other parameters, and a rate of its own.
        """
        self._weights = list(matrices)
        # PyTorch's Muon knows nothing but matrices.
        self._matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in self._weights]
        muon = torch.optim.Muon(
            self._matrices, lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        self._optimizers: list[torch.optim.Optimizer] = [muon, adam]

    @classmethod
    def by_shape(cls, parameters: Iterable[nn.Parameter], lr: float) -> MuonWithAdam:
        """Return the optimizer of a dense network: its matrices by Muon, vectors by Adam."""
        parameters = list(parameters)
        vectors = [p for p in parameters if p.ndim < 2]
        adam = torch.optim.Adam(vectors, lr, eps=1e-4, fused=True)
        return cls([p for p in parameters if p.ndim == 2], lr, adam)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for weight in self._weights:
            weight.grad = None
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Take a step with both."""
        for matrix, weight in zip(self._matrices, self._weights, strict=True):
            matrix.data = weight.flatten(1).clone()  # on whatever device the weight is by now
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in self._optimizers:
            optimizer.step()
        for matrix, weight in zip(self._matrices, self._weights, strict=True):
            weight.copy_(matrix.view_as(weight))

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {str(n): optimizer.state_dict() for n, optimizer in enumerate(self._optimizers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the states back; raises ValueError if they are another optimizer's."""
        if state.keys() != self.state_dict().keys():
            raise ValueError("not the states of Muon and Adam")
        for number, optimizer in enumerate(self._optimizers):
            optimizer.load_state_dict(state[str(number)])
