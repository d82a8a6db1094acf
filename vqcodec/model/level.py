"""A level of the closed loop: features -> residual -> codewords -> the state that holds them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import ModelError
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.config import CHANNELS, Config, Groups
from vqcodec.model.layers import (
    KNOTS,
    Block,
    Conv2d,
    QualityTable,
    add_at,
    log_step_gain,
    module_list,
)
from vqcodec.model.quantizer import CodebookQuantizer, IntegerQuantizer

# What a unit of squared error, in steps of the size that theory gives, costs in nats in the finest
# level. By the Lagrangian it is 6; but the choice is greedy, and blind to what other blocks see.
STEP_WEIGHT = 16.0
# A value is worth more to those it predicts: so many times as much for every level to come.
STEP_GROWTH = 1.5


class Level(nn.Module):
    """One level: the directions of the features it codes, their gain, and how t is refined.

    `refine` holds a block for each phase. All but the last predict the positions of the next phase
    and leave the others as they are.
    """

    log_step_gain: Tensor

    def __init__(
        self, config: Config, to_come: int, sizes: tuple[int, int, int], groups: Groups | None
    ) -> None:
        """`sizes` are channels, phases and width; `to_come` counts the levels after this one."""
        super().__init__()
        channels, phases, hidden = sizes
        self.step_weight = STEP_WEIGHT * STEP_GROWTH**to_come
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        self.take = nn.Parameter(torch.zeros(channels, CHANNELS))
        self.put = nn.Parameter(torch.zeros(CHANNELS, channels))
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.register_buffer("log_step_gain", log_gain[:, None].clone())
        self.gain_range = config.gain_range
        self.adapt = Conv2d(CHANNELS, channels, 1)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)
        codebooks = ClassicalQuantizer if config.classical else CodebookQuantizer
        self.quantizer: IntegerQuantizer | CodebookQuantizer = (
            IntegerQuantizer(channels) if groups is None else codebooks(groups)
        )
        between = [config.hidden_between_phases] * (phases - 1)
        self.refine = module_list(Block(CHANNELS, width, log_gain) for width in (*between, hidden))

    @property
    def codebooks(self) -> CodebookQuantizer:
        """The quantizer that files are coded with; raises ModelError in the first stage."""
        if not isinstance(self.quantizer, CodebookQuantizer):
            raise ModelError("the network has no codebooks yet: run train.codebooks first")
        return self.quantizer

    def positions(self, phase: int, t: Tensor) -> Tensor:
        """Return the raster positions that a phase codes, int64 `[N]`."""
        positions = phase_positions(len(self.refine), phase, *t.shape[2:])
        return torch.from_numpy(positions).to(t.device)

    def gain(self, t: Tensor, weights: Tensor) -> Tensor:
        """Return the inverse of the step, `[B, C, H, W]`: finer where the state is smooth, say.

        It depends on its own column of `t` alone: that of :func:`select`-ed columns is the same.
        """
        theory = (weights @ self.log_step_gain)[:, :, None, None].exp()
        activity = torch.log1p((theory * t).abs())
        log_gain: Tensor = self.log_gain(weights)
        following = self.gain_range * torch.tanh(self.adapt(activity) / self.gain_range)
        return (log_gain + following).exp()

    def error_cost(self, weights: Tensor) -> Tensor:
        """Return what a unit of squared error of y costs in nats, `[B, C, 1, 1]`.

        Where the gain follows the picture, errors matter as much in finer steps as in coarser ones.
        """
        theory = (weights @ self.log_step_gain)[:, :, None, None]
        log_gain: Tensor = self.log_gain(weights)
        return self.step_weight * (2 * (theory - log_gain.detach())).exp()

    def residual(self, h: Tensor, t: Tensor) -> Tensor:
        """Return what the state does not explain of the features, `[B, C, H, W]`, by column too."""
        return functional.conv2d(h - t, self.take[:, :, None, None])

    def add(self, t: Tensor, residual: Tensor, positions: Tensor) -> Tensor:
        """Return the decoder's state with decoded columns of the residual added, not refined."""
        return add_at(t, functional.conv2d(residual, self.put[:, :, None, None]), positions)

    def refined(self, t: Tensor, weights: Tensor, phase: int) -> Tensor:
        """Return the state refined after a phase."""
        block = self.refine[phase]
        if phase + 1 == len(self.refine):
            refined: Tensor = block(t, weights)
            return refined
        positions = self.positions(phase + 1, t)
        if not len(positions):  # a grid of one row or column
            return t
        return add_at(t, block.branch(t, weights, positions).to(t.dtype), positions)
