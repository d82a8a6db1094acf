"""The parts of synthesis as ONNX models, with everything that depends on quality folded in.

The same network as `vqcodec.model.vqvae.VQVAE`, in its parameters' names. At one quality the gain
before a block, its scale and shift and the gain after it are constants, and become part of the
weights of the convolutions between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from vqcodec.model.config import (
    KNOTS,
    NATURAL_LAYERS,
    NATURAL_NOISE,
    PLANES,
    QUALITIES,
    Config,
)
from vqcodec.runtime import transforms
from vqcodec.runtime.graph import Array, Graph

_ONE = np.ones(1, np.float32)  # a gain that changes nothing
HALF = 2  # blocks on the picture work on blocks of 2x2 pixels


class Parts:
    """Makes the models of a network at a quality, with its blocks on the picture or without."""

    def __init__(
        self,
        config: Config,
        arrays: Mapping[str, NDArray[Any]],
        quality: int,
        *,
        on_picture: bool = True,
    ) -> None:
        self._config, self._arrays, self._on_picture = config, arrays, on_picture
        position = (quality - 1) / (QUALITIES - 1) * (KNOTS - 1)
        self._hats = np.clip(1 - np.abs(position - np.arange(KNOTS)), 0, None).astype(np.float32)

    def enter(self, scale: int) -> bytes:
        """Return what makes the `state` of a scale of the `means` that the one above it holds."""
        graph = Graph()
        means = graph.input("means", 1, PLANES, None, None)
        channels = self._config.state_channels(scale)
        # The block sees the means alone: there is nothing else yet.
        wide = np.eye(channels, PLANES, dtype=np.float32)
        start = graph.conv(means, wide)
        return graph.model(self._block(graph, f"expand.{scale - 1}", start, seen=means))

    def level(self, number: int) -> bytes:
        """Return what makes the next state of a state, `t`.

        `z` are codewords on the whole grid, and `mask0`, `mask1`, ... tell the positions of each
        phase.
        """
        config, graph = self._config, Graph()
        scale = config.scale_of(number)
        phases = config.phases[scale][number - config.scales[scale].start]
        t = graph.input("t", 1, config.state_channels(scale), None, None)
        z = graph.input("z", 1, len(self._array(f"levels.{number}.adapt.weight")), None, None)
        masks = [
            graph.input(f"mask{i}", 1, 1, None, None) for i in range(phases if phases > 1 else 0)
        ]
        for phase in range(phases):
            name = f"levels.{number}"
            residual = graph.op("Mul", z, self._step(graph, name, t))
            if masks:
                residual = graph.op("Mul", residual, masks[phase])
            t = graph.conv(residual, self._array(f"{name}.unproject"), plus=t)
            mask = masks[phase + 1] if phase + 1 < phases else None
            t = self._block(graph, f"{name}.refine.{phase}", t, mask=mask)
        if self._on_picture and number in config.sharpened:
            x = self._pixels(graph, t)
            change = self._picture(graph, f"sharpen.{config.sharpened.index(number)}", x, t)
            side = config.strides[-1]
            arrays = self._transform("analysis", -1)
            t = transforms.analysis(graph, change, config.transforms[-1], side, arrays, HALF, t)
        return graph.model(t)

    def means(self, scale: int) -> bytes:
        """Return what makes the means on the grid of `scale` of the state `t` above it."""
        config, graph = self._config, Graph()
        t = graph.input("t", 1, config.state_channels(scale - 1), None, None)
        kind, stride = config.transforms[scale - 1], config.strides[scale - 1]
        arrays = self._transform("synthesis", scale - 1)
        planes = transforms.synthesis(graph, t, kind, stride, arrays, 1)
        return graph.model(graph.reshaped(planes, 1, PLANES, 0, 0))

    def picture(self) -> bytes:
        """Return what makes the picture, uint8 `[H, W, 3]`, of a state `t` of the finest scale."""
        graph = Graph()
        x, _ = self._finished(graph)
        return self._shown(graph, x)

    def natural(self) -> bytes:
        """Return the same for the natural look, of `noise` too, by blocks of 2x2 pixels."""
        graph = Graph()
        x, t = self._finished(graph)
        noise = graph.input("noise", 1, HALF**2 * NATURAL_NOISE, None, None)
        hidden = self._hidden(graph, "natural", x, t, NATURAL_LAYERS)
        change = self._change(graph, "natural", "out", hidden)
        weight, bias = (self._array(f"natural.grain.{what}") for what in ("weight", "bias"))
        grain = graph.conv(noise, weight, bias)
        strength = self._change(graph, "natural", "strength", hidden)
        change = graph.op("Add", change, graph.op("Mul", strength, grain))
        return self._shown(graph, graph.op("Add", x, _as_planes(graph, change)))

    def _finished(self, graph: Graph) -> tuple[str, str]:
        """Add the picture, in blocks of 2x2, and the last state of an input `t`."""
        config = self._config
        t = graph.input("t", 1, config.state_channels(len(config.scales) - 1), None, None)
        for number in range(config.synthesis_blocks):
            t = self._block(graph, f"decoder.{number}", t)
        x = self._pixels(graph, t)
        if self._on_picture:
            x = graph.op("Add", x, self._picture(graph, "finish", x, t))
        return x, t

    def _shown(self, graph: Graph, x: str) -> bytes:
        x = graph.depth_to_space(x, HALF, PLANES)
        x = graph.op("Add", graph.times(x, 255 / 4), graph.constant(255 / 2))
        x = graph.op("Clip", x, graph.constant(0), graph.constant(255))
        x = graph.op("Cast", graph.op("Round", x), to=TensorProto.UINT8)
        # Planes are batches; the first side is the one channel.
        return graph.model(graph.op("Transpose", x, perm=[1, 2, 3, 0]), TensorProto.UINT8)

    def _array(self, name: str) -> Array:
        return self._arrays[name].astype(np.float32)

    def _table(self, name: str) -> Array:
        """Return a table over quality at this one."""
        table: Array = self._hats @ self._array(f"{name}.table")
        return table

    def _transform(self, kind: str, scale: int) -> dict[str, Array]:
        number = range(len(self._config.scales))[scale]
        names = ("basis", "boundary") if self._config.transforms[number] == "lapped" else ("basis",)
        return {name: self._array(f"{kind}.{number}.{name}") for name in names}

    def _step(self, graph: Graph, name: str, t: str) -> str:
        """Add the quantisation step at each position of a state, the inverse of the gain."""
        (log_theory,) = (self._hats @ self._array(f"{name}.log_step_gain")).tolist()
        weight, bias = self._array(f"{name}.adapt.weight"), self._array(f"{name}.adapt.bias")
        most = self._config.gain_range
        # log(1 + theory |t|) = log(theory) + log(1 / theory + |t|)
        size = graph.op("Add", graph.op("Abs", t), graph.constant(math.exp(-log_theory)))
        bias += log_theory * weight.sum(1)
        weight, bias = weight * np.float32(1 / most), bias * np.float32(1 / most)
        following = graph.op("Tanh", graph.conv(graph.op("Log", size), weight, bias))
        log_gain = self._table(f"{name}.log_gain")[:, None, None]
        return graph.op(
            "Exp", graph.op("Sub", graph.times(following, -most), graph.constant(log_gain))
        )

    def _block(
        self, graph: Graph, name: str, t: str, *, seen: str | None = None, mask: str | None = None
    ) -> str:
        """Add a residual block on a state, which changes it where the mask is 1, or everywhere."""
        gain: Array = np.exp(self._table(f"{name}.log_gain"))
        mix, out = self._array(f"{name}.mix.weight"), self._array(f"{name}.out.weight")
        bias = self._array(f"{name}.out.bias")
        bias /= gain
        inputs = mix.shape[1]
        if seen is None:
            seen = t if inputs == len(gain) else graph.part(t, 1, 0, inputs)
        hidden = self._modulated(graph, name, "mix", "", seen, gain[:inputs])
        out /= gain[:, None]
        if mask is None:
            return graph.conv(hidden, out, bias, plus=t)
        # The bias counts where the mask does: it is one more channel.
        hidden = graph.concat(graph.op("Mul", hidden, mask), mask, axis=1)
        return graph.conv(hidden, np.concatenate([out, bias[:, None]], 1), plus=t)

    def _modulated(
        self,
        graph: Graph,
        name: str,
        layer: str,
        number: str,
        x: str,
        gain: Array,
        *,
        beside: str | None = None,
    ) -> str:
        """Add a convolution of `x` times gains, scaled and shifted, and its activation.

        What it sees `beside` that has a convolution of its own: to put both side by side would cost
        more than to add what comes of them.
        """
        scale = 1 + self._table(f"{name}.scale{number}")
        shift = self._table(f"{name}.shift{number}")
        weight = self._array(f"{name}.{layer}.weight") * scale[:, None, None, None]
        known = weight.shape[1] if beside is None else len(gain)
        own = weight[:, :known] * np.reshape(gain, (-1, 1, 1))
        bias = self._array(f"{name}.{layer}.bias") * scale + shift
        hidden = graph.conv(x, own, bias)
        if beside is not None:
            hidden = graph.conv(beside, weight[:, known:], plus=hidden)
        if self._config.activation == "relu":
            return graph.op("Relu", hidden)
        power = graph.op("ReduceSumSquare", hidden, graph.constant([1], np.int64))
        power = graph.op("Add", graph.times(power, 1 / (4 * len(weight))), graph.constant(1))
        root = graph.op("Sqrt", graph.op("Sqrt", power))
        return graph.op("LeakyRelu", graph.op("Div", hidden, root), alpha=0.1)

    def _pixels(self, graph: Graph, t: str) -> str:
        """Add the picture that a state stands for, in blocks of 2x2, `[3, 4, H, W]`."""
        kind, stride = self._config.transforms[-1], self._config.strides[-1]
        return transforms.synthesis(graph, t, kind, stride, self._transform("synthesis", -1), HALF)

    def _picture(self, graph: Graph, name: str, x: str, t: str) -> str:
        """Add what a block on the picture adds to `x`, both in blocks of 2x2, `[3, 4, H, W]`."""
        hidden = self._hidden(graph, name, x, t, self._config.picture_layers)
        return _as_planes(graph, self._change(graph, name, "out", hidden))

    def _hidden(self, graph: Graph, name: str, x: str, t: str, layers: int) -> str:
        """Add what the last convolution of a block on the picture sees, at half its resolution."""
        gain: Array = np.exp(self._table(f"{name}.log_gain"))
        weight = self._array(f"{name}.spread.weight")
        weight *= gain
        state = graph.conv(t, weight, self._array(f"{name}.spread.bias"))
        ratio = self._config.strides[-1] // HALF
        if ratio > 1:
            state = graph.depth_to_space(state, ratio)
        picture = graph.reshaped(x, 1, PLANES * HALF**2, 0, 0)
        gains = np.full(PLANES * HALF**2, gain, np.float32)
        hidden = self._modulated(graph, name, "enter", ".0", picture, gains, beside=state)
        for number in range(layers):
            change = self._modulated(graph, name, f"mix.{number}", f".{number + 1}", hidden, _ONE)
            hidden = graph.op("Add", hidden, change)
        return hidden

    def _change(self, graph: Graph, name: str, layer: str, hidden: str) -> str:
        """Add a last convolution of such a block, in units of the picture, `[1, 12, H, W]`."""
        gain: Array = np.exp(self._table(f"{name}.log_gain"))
        weight, bias = (self._array(f"{name}.{layer}.{what}") for what in ("weight", "bias"))
        weight /= gain
        bias /= gain
        return graph.conv(hidden, weight, bias)


def _as_planes(graph: Graph, change: str) -> str:
    return graph.reshaped(change, PLANES, HALF**2, 0, 0)
