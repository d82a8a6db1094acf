"""A level of the closed loop: the directions it codes, their step, and how the state is refined."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import ModelError
from vqcodec.model.blocks import Block
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.config import KNOTS, Config
from vqcodec.model.layers import (
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

    def __init__(self, config: Config, number: int) -> None:
        """Make level `number` of a network, counted from the coarsest."""
        super().__init__()
        scale = config.scale_of(number)
        state_channels, index = config.state_channels(scale), number - config.scales[scale].start
        channels, phases, hidden = (
            sizes[scale][index] for sizes in (config.channels, config.phases, config.hidden)
        )
        self.step_weight = STEP_WEIGHT * STEP_GROWTH ** (config.scales[-1].stop - 1 - number)
        log_gain = log_step_gain(config.lmbda_min, config.lmbda_max)
        self.project = nn.Parameter(torch.zeros(channels, state_channels))
        self.unproject = nn.Parameter(torch.zeros(state_channels, channels))
        self.log_gain = QualityTable(log_gain[:, None].expand(KNOTS, channels))
        self.register_buffer("log_step_gain", log_gain[:, None].clone())
        self.gain_range = config.gain_range
        self.adapt = nn.Linear(state_channels, channels)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)
        codebooks = ClassicalQuantizer if config.classical else CodebookQuantizer
        self.quantizer: IntegerQuantizer | CodebookQuantizer = (
            IntegerQuantizer(channels)
            if config.groups is None
            else codebooks(config.groups[number], config.shared_codebooks)
        )
        between = [config.hidden_between_phases] * (phases - 1)
        self.refine = module_list(
            Block(config, scale, width, config.block_inputs) for width in (*between, hidden)
        )

    @property
    def codebooks(self) -> CodebookQuantizer:
        """The quantizer that files are coded with; raises ModelError in the first stage."""
        if not isinstance(self.quantizer, CodebookQuantizer):
            raise ModelError("the network has no codebooks yet: run train.codebooks first")
        return self.quantizer

    def gain_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the gain is made of, which encoder and decoder share."""
        yield from (*self.log_gain.parameters(), *self.adapt.parameters())

    def positions(self, phase: int, t: Tensor) -> Tensor:
        """Return the raster positions that a phase codes, int64 `[N]`."""
        positions = phase_positions(len(self.refine), phase, *t.shape[2:])
        return torch.from_numpy(positions).to(t.device)

    def gain(self, columns: Tensor, quality_weights: Tensor) -> Tensor:
        """Return the inverse of the step, `[B, N, channels]`: finer where the state is smooth, say.

        `columns` of the state are `[B, N, C]`; a gain depends on its own column alone.
        """
        theory = (quality_weights @ self.log_step_gain)[:, None].exp()
        activity = (theory * columns).abs_().log1p_()
        log_gain = self.log_gain.on_columns(quality_weights)
        following = self.gain_range * torch.tanh(self.adapt(activity) / self.gain_range)
        return (log_gain + following).exp()

    def error_cost(self, quality_weights: Tensor) -> Tensor:
        """Return what a unit of squared error of y costs in nats, `[B, 1, channels]`.

        Where the gain follows the picture, errors matter as much in finer steps as in coarser ones.
        """
        theory = (quality_weights @ self.log_step_gain)[:, None]
        log_gain = self.log_gain.on_columns(quality_weights)
        return self.step_weight * (2 * (theory - log_gain.detach())).exp()

    def residual(self, h: Tensor, t: Tensor) -> Tensor:
        """Return what the state does not explain of the features; columns, as all here."""
        return functional.linear(h - t, self.project)

    def add(self, t: Tensor, residual: Tensor, positions: Tensor) -> Tensor:
        """Return the state `[B, C, H, W]` with decoded residuals `[B, N, channels]` added."""
        return add_at(t, functional.linear(residual, self.unproject), positions)

    def refined(self, t: Tensor, quality_weights: Tensor, phase: int) -> Tensor:
        """Return the state refined after a phase."""
        block = self.refine[phase]
        if phase + 1 == len(self.refine):
            refined: Tensor = block(t, quality_weights)
            return refined
        positions = self.positions(phase + 1, t)
        return add_at(t, block.branch(t, quality_weights, positions).to(t.dtype), positions)
