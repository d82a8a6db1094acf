"""How fast decoding could be here: operations and bytes a pixel, and the rates reached.

    python -m benchmarks.floor [--model NAME|PATH]

The convolutions of a decode are recorded as they happen; those that take the most arithmetic are
timed by themselves in every runtime, and the floor is what all of them would take at these rates.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch.overrides import TorchFunctionMode

from benchmarks import tables
from benchmarks.complexity import QUALITY, SIZE, prior_macs
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.errors import ModelError
from vqcodec.model.layers import Conv2d
from vqcodec.weights.store import load

RUNS = 8
TIMED = 6  # shapes
THREADS = (1, 2)


@dataclass(frozen=True, order=True, slots=True)
class Shape:
    """A convolution with its ReLU, from `inputs` to `outputs` channels on a grid."""

    inputs: int
    outputs: int
    kernel: int
    height: int
    width: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.inputs * self.outputs * self.kernel**2 * self.height * self.width

    @property
    def bytes(self) -> int:
        """Bytes of float32 that it reads and writes."""
        return 4 * (self.inputs + self.outputs) * self.height * self.width

    def __str__(self) -> str:
        size = f"{self.inputs}→{self.outputs}, {self.kernel}×{self.kernel}"
        return f"{size}, {self.width}×{self.height}"


class _Recorder(TorchFunctionMode):
    """Counts the convolutions that are called, and those of columns (`linear`) as 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[Shape] = Counter()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (torch.conv2d, torch.nn.functional.linear):
            x, weight = args[:2]
            if function is torch.conv2d:
                height, width = x.shape[2:]
            else:
                height, width = 1, x.numel() // x.shape[-1]
            kernel = weight.shape[2] if weight.dim() == 4 else 1
            self.shapes[Shape(weight.shape[1], weight.shape[0], kernel, height, width)] += 1
        return function(*args, **(kwargs or {}))


def convolutions(codec: Codec, image: Image.Image) -> Counter[Shape]:
    """Return the convolutions and products of matrices that decoding an image takes."""
    tokens = codec.tokenize(image, quality=QUALITY)
    recorder = _Recorder()
    with recorder:
        codec.render(tokens)
    return recorder.shapes


def in_torch(shape: Shape, dtype: torch.dtype) -> Callable[[], object]:
    """Return the convolution in PyTorch, ready to be called."""
    x = torch.randn(1, shape.inputs, shape.height, shape.width).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    conv = Conv2d(shape.inputs, shape.outputs, shape.kernel, padding=shape.kernel // 2)
    weight = conv.weight.to(dtype).contiguous(memory_format=torch.channels_last)
    conv.weight, conv.bias = torch.nn.Parameter(weight), torch.nn.Parameter(conv.bias.to(dtype))

    @torch.inference_mode()
    def call() -> object:
        return torch.relu_(conv(x))

    return call


def in_onnxruntime(shape: Shape, threads: int, integers: bool) -> Callable[[], object]:
    """Return the convolution in onnxruntime, of float32 or of uint8 and int8."""
    rng = np.random.default_rng(0)
    size = (shape.outputs, shape.inputs, shape.kernel, shape.kernel)
    x = rng.standard_normal((1, shape.inputs, shape.height, shape.width), np.float32)
    padding = [shape.kernel // 2] * 4
    if integers:
        x = rng.integers(0, 255, x.shape, np.uint8)
        constants: dict[str, Any] = {
            "x_scale": np.float32(0.02), "x_zero": np.uint8(0),
            "w": rng.integers(-99, 99, size, np.int8), "w_scale": np.float32(0.01),
            "w_zero": np.int8(0), "y_scale": np.float32(0.5), "y_zero": np.uint8(0),
        }  # fmt: skip
        nodes = [helper.make_node("QLinearConv", ["x", *constants], ["y"], pads=padding)]
    else:
        constants = {"w": rng.standard_normal(size, np.float32)}
        constants["b"] = rng.standard_normal(shape.outputs, np.float32)
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["sum"], pads=padding),
            helper.make_node("Relu", ["sum"], ["y"]),
        ]
    session = _session(nodes, constants, x, shape.outputs, threads)
    return lambda: session.run(None, {"x": x})


def _session(
    nodes: Sequence[Any],
    constants: Mapping[str, Any],
    x: NDArray[np.generic],
    outputs: int,
    threads: int,
) -> onnxruntime.InferenceSession:
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.FLOAT
    inputs = helper.make_tensor_value_info("x", kind, x.shape)
    result = helper.make_tensor_value_info("y", kind, (1, outputs, *x.shape[2:]))
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "convolution", [inputs], [result], held)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def seconds(call: Callable[[], object]) -> float:
    """Return the least time of a few calls, the first of which does not count."""
    call()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def rates(shape: Shape, threads: int) -> list[float]:
    """Return GMAC a second: PyTorch float32, bfloat16, onnxruntime float32, integers of 8 bits."""
    with _torch_threads(threads):
        calls = [
            in_torch(shape, torch.float32),
            in_torch(shape, torch.bfloat16),
            in_onnxruntime(shape, threads, integers=False),
            in_onnxruntime(shape, threads, integers=True),
        ]
        return [shape.macs / seconds(call) / 1e9 for call in calls]


@click.command()
@click.option("--model", default=weights.DEFAULT, show_default=True, help="A name or a path.")
def main(model: str) -> None:
    """Print Markdown tables of the rates that this processor reaches, and the floor."""
    try:
        loaded = load(weights.find(model))
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    codec = Codec(loaded, "cpu", torch.float32)
    shapes = convolutions(codec, Image.new("RGB", SIZE))
    pixels = SIZE[0] * SIZE[1]
    totals = Counter({shape: shape.macs * count for shape, count in shapes.items()})
    all_macs = sum(totals.values())
    moved = sum(shape.bytes * count for shape, count in shapes.items())
    grids = [codec.config.grid(i, SIZE[1], SIZE[0]) for i in range(len(codec.config.scales))]
    click.echo(
        f"Synthesis: {all_macs / pixels / 1e3:.1f} kMAC a pixel in {sum(shapes.values())} "
        f"products, {moved / pixels:.0f} bytes a pixel read and written by them.\n"
        f"Integer prior: {prior_macs(loaded.prior, grids) / pixels / 1e3:.1f} kMAC a pixel.\n"
    )
    names = ["torch f32", "torch bf16", "onnxruntime f32", "onnxruntime int8"]
    rows, floors = [], []
    for threads in THREADS:
        spent, covered = np.zeros(4), 0
        for shape, macs in totals.most_common(TIMED):
            reached = rates(shape, threads)
            spent += macs / np.array(reached) / 1e9
            covered += macs
            share = f"{macs / all_macs:.0%}"
            rows.append([str(shape), share, str(threads), *(f"{rate:.0f}" for rate in reached)])
        floors.append([str(threads), *(f"{1e3 * s * all_macs / covered:.0f}" for s in spent)])
    click.echo(tables.markdown(["convolution, GMAC/s", "share", "threads", *names], rows))
    click.echo()
    click.echo(tables.markdown(["floor of synthesis, ms; threads", *names], floors))


if __name__ == "__main__":
    main()
