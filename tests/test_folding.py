"""At one quality gains, scales and shifts become part of the weights, and change nothing."""

from __future__ import annotations

import dataclasses

import torch
from test_reach import SMALL

from vqcodec.model.vqvae import VQVAE


def test_folded_blocks_do_what_the_tables_say() -> None:
    config = dataclasses.replace(SMALL, activation="relu", picture_layers=2, block_inputs=32)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = VQVAE(config).double().eval()
        for name, parameter in network.named_parameters():
            if not name.endswith("basis"):
                parameter.add_(0.3 * torch.randn_like(parameter))
        t = torch.randn(1, config.state_channels(1), 6, 5).double()
        x = torch.randn(1, 3, 48, 40).double()
    positions, weights = torch.tensor([2, 3, 17]), network.quality_weights(63)
    block, on_picture = network.levels[-1].refine[0], network.finish
    with torch.enable_grad():
        whole, some = block(t, weights), block.branch(t, weights, positions)
        change = on_picture(x, t, weights)
    with torch.no_grad():
        torch.testing.assert_close(block(t, weights), whole)
        torch.testing.assert_close(block.branch(t, weights, positions), some)
        torch.testing.assert_close(on_picture(x, t, weights), change)
        # Two qualities have two sets of weights.
        both = torch.cat([weights, network.quality_weights(5)])
        torch.testing.assert_close(block(t.expand(2, -1, -1, -1), both)[:1], whole)
    assert not torch.equal(whole, t)
