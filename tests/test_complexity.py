"""Multiply-accumulates a pixel, against a count by hand of the tiny network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import complexity
from benchmarks.complexity import Complexity, complexity_table, measure, network_macs, prior_macs
from vqcodec.entropy.layer import Layer
from vqcodec.entropy.levels import PriorLevel, PriorPhase
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.model.vqvae import VQVAE
from vqcodec.weights import ModelInfo

WIDTH, HEIGHT = 192, 128
COARSE, FINE = 3 * 2, 24 * 16  # positions of the two grids

BASIS = 192 * 192  # a lapped transform, a position
MIX, OUT = 192 * 9, 192  # each hidden channel of a residual block, a position
HIDDEN = MIX + OUT
BLOCK = 16 * HIDDEN
ENTER = 16 * (3 * 9 + OUT)  # the block that sees three planes alone
# A block on the picture, at a position of the 1/8 grid: what it sees of the state, and at 16 places
# four convolutions of the picture's four by three planes and those 16.
PICTURE = 192 * 16 * 16 + 16 * 9 * ((12 + 16) * 6 + 2 * 6 * 6 + 6 * 12)
# 8x8 matrices across the block boundaries inside three planes, along rows and along columns.
COARSE_FILTERS = 3 * 64 * (16 * (3 - 1) + 24 * (2 - 1))
FINE_FILTERS = 3 * 64 * (128 * (24 - 1) + 192 * (16 - 1))


def layer(taps: int, inputs: int, outputs: int) -> Layer:
    return Layer(np.zeros((taps, inputs, outputs), np.float32), np.zeros(outputs, np.float32))


@pytest.fixture(scope="module")
def counted(tiny_weights: Path) -> Complexity:
    return measure(ModelInfo(tiny_weights), WIDTH, HEIGHT)


@pytest.mark.parametrize("inference", [False, True])
def test_a_convolution_and_a_product_worked_out_by_hand(inference: bool) -> None:
    def call() -> None:
        with torch.inference_mode(inference):
            torch.nn.functional.conv2d(torch.ones(1, 3, 10, 12), torch.ones(4, 3, 3, 3), padding=1)
            torch.ones(2, 5, 8) @ torch.ones(2, 8, 7)

    assert network_macs(call) == 10 * 12 * 4 * 3 * 9 + 2 * 5 * 8 * 7


def test_each_level_of_the_prior_counts_on_its_own_grid() -> None:
    phase = PriorPhase(layer(9, 3, 5), layer(1, 5, 7), layer(1, 7, 2), np.zeros(2, np.float32))
    levels = [[PriorLevel([phase] * phases, [], [])] for phases in (1, 2)]
    prior = PriorNetwork(levels, [layer(1, 11, 64)], (8, 8))
    update, head = 9 * 3 * 5, 5 * 7 + 7 * 2
    # Of the two phases on the fine grid, the first updates all positions and the second its own.
    fine = 384 * (update + head) + 192 * update
    assert prior_macs(prior, [(2, 3), (16, 24)]) == 6 * (update + head + 11 * 64) + fine


def test_the_prior_of_a_weights_file(counted: Complexity, tiny_model: VQVAE) -> None:
    symbols = [level.codebooks.symbols for level in tiny_model.levels]
    # What the phases of each level read, times the share of the positions that they update.
    inputs = [3, 16 + 6, 3 + 16 + (16 + 4) * 3 // 4, 16 + 4 + (16 + 12) // 2]
    macs = COARSE * (16 + 2 * (6 + 8)) * 16 * 64
    for positions, read, heads in zip([COARSE, COARSE, FINE, FINE], inputs, symbols, strict=True):
        macs += positions * (9 * read * 16 + 16 * 16 + 16 * heads)
    macs += COARSE // 2 * 9 * (16 + 6) * 16  # of the second phase
    assert counted.prior == pytest.approx(macs / (1000 * WIDTH * HEIGHT))


# The tables over quality, which are read once an image, are left out: hence the tolerance.


def decoder_steps() -> int:
    """What encoder and decoder both do: gain, a phase's words, refine, go to the finer grid."""
    coarse = 2 * 192 * (6 + 8) + (12 + 16) * HIDDEN + BASIS + 6 * (MIX + OUT // 2)
    # Between phases a block changes the next one's positions: a quarter and a half, or a half.
    three = 2 * 192 * 4 + 6 * (2 * MIX + OUT * 3 // 4) + 8 * HIDDEN
    two = 2 * 192 * 12 + 6 * (MIX + OUT // 2) + 16 * HIDDEN
    sharpen = PICTURE + 2 * BASIS  # to the picture and back
    fine = FINE * (ENTER + three + two + sharpen) + 2 * FINE_FILTERS
    return COARSE * coarse + COARSE_FILTERS + fine


def test_synthesis_is_what_the_decoder_runs(counted: Complexity) -> None:
    macs = decoder_steps() + FINE * (2 * BLOCK + BASIS + PICTURE) + FINE_FILTERS
    assert counted.synthesis == pytest.approx(macs / (1000 * WIDTH * HEIGHT), rel=2e-3)


def test_analysis_is_both_transforms_and_their_blocks(counted: Complexity) -> None:
    fine = FINE * (2 * BASIS + PICTURE + 3 * BLOCK) + 2 * FINE_FILTERS
    macs = COARSE * (BASIS + BLOCK) + COARSE_FILTERS + fine
    assert counted.analysis == pytest.approx(macs / (1000 * WIDTH * HEIGHT), rel=2e-3)


def test_the_closed_loop_scores_words_of_many_dimensions_and_follows_the_decoder(
    counted: Complexity, tiny_model: VQVAE
) -> None:
    macs = decoder_steps()
    for positions, levels in zip([COARSE, FINE], tiny_model.config.scales, strict=True):
        for level in (tiny_model.levels[number] for number in levels):
            macs += positions * 192 * len(level.project)
            for codebooks in level.codebooks.groups:
                count, words, dim = codebooks.codewords.shape
                if dim > 1:  # in one, a few words are looked up
                    macs += positions * count * words * (2 * dim + 17)
    assert counted.closed_loop == pytest.approx(macs / (1000 * WIDTH * HEIGHT), rel=2e-3)


def test_the_prior_counts_on_both_sides() -> None:
    assert complexity_table(Complexity(1, 2, 4, 0.5)).splitlines()[2:] == [
        "| analysis | 1.0 |  |",
        "| closed loop | 2.0 |  |",
        "| synthesis |  | 4.0 |",
        "| integer prior | 0.5 | 0.5 |",
        "| together | 3.5 | 4.5 |",
    ]


def test_the_command_prints_the_table_of_a_model(tiny_weights: Path) -> None:
    result = CliRunner().invoke(complexity.main, ["--model", str(tiny_weights)])
    assert result.exit_code == 0, result.output
    assert "| together | " in result.output
    assert "tiny, 768×512 pixels" in result.output


def test_a_model_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(complexity.main, ["--model", "nowhere"])
    assert result.exit_code == 1
    assert "no model called nowhere" in result.output
