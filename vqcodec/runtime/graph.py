"""An ONNX graph under construction: values are names, layers are methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
_END = np.iinfo(np.int64).max


class Graph:
    """Nodes, constants and inputs, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, *shape: int | None) -> str:
        """Add an input of float32; None stands for a side that is not known."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant."""
        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        plus: str | None = None,
        stride: int = 1,
    ) -> str:
        """Add a convolution, `weight` `[out, in, k, k]` or `[out, in]`, and `plus` a value.

        It is padded with zeros unless it has a stride.
        """
        if weight.ndim == 4 and weight.shape[2:] == (1, 1):
            weight = weight[:, :, 0, 0]
        if weight.ndim == 2:
            return self._linear(x, weight, bias, plus)
        constants = [self.constant(array) for array in (weight, bias) if array is not None]
        side = weight.shape[2]
        y = self.op(
            "Conv",
            x,
            *constants,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2 if stride == 1 else 0] * 4,
        )
        return y if plus is None else self.op("Add", y, plus)

    def _linear(self, x: str, weight: Array, bias: Array | None, plus: str | None) -> str:
        """Add a convolution that sees one place, as a product of matrices.

        What a convolution gives is in another order of memory, which would have to be undone.
        """
        columns = self.reshaped(x, weight.shape[1], -1)
        added = [] if plus is None else [self.reshaped(plus, len(weight), -1)]
        if bias is not None:
            added.append(self.constant(bias[:, None]))
        y = self.op("Gemm", self.constant(weight), columns, *added[:1])
        for other in added[1:]:  # Gemm takes one
            y = self.op("Add", y, other)
        return self._with_sides(y, [1, len(weight)], self.op("Shape", x, start=2))

    def concat(self, *parts: str, axis: int) -> str:
        """Add a concatenation."""
        return self.op("Concat", *parts, axis=axis)

    def part(self, x: str, axis: int, start: int = 0, stop: int = _END) -> str:
        """Add a slice along an axis."""
        bounds = (self.constant([number], np.int64) for number in (start, stop, axis))
        return self.op("Slice", x, *bounds)

    def reshaped(self, x: str, *shape: int) -> str:
        """Add a new shape, in which 0 stands for a side as it was."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def depth_to_space(self, x: str, ratio: int, batch: int = 1) -> str:
        """Add what turns channel `ratio^2 c + ratio i + j` into channel c at row i, column j.

        In two transpositions of one axis each, which take half the time of DepthToSpace; a new
        shape between them keeps them two.
        """
        sides = self.op("Shape", x, start=2)
        x = self._with_sides(x, [-1, ratio, ratio], sides)
        x = self.op("Transpose", x, perm=[0, 1, 3, 4, 2])
        sides = self.op("Mul", sides, self.constant([1, ratio], np.int64))
        x = self._with_sides(x, [-1, ratio], sides)
        x = self.op("Transpose", x, perm=[0, 2, 1, 3])
        sides = self.op("Mul", sides, self.constant([ratio, 1], np.int64))
        return self._with_sides(x, [batch, -1], sides)

    def _with_sides(self, x: str, first: list[int], sides: str) -> str:
        """Add a new shape that ends in sides which are values of the graph."""
        shape = self.concat(self.constant(first, np.int64), sides, axis=0)
        return self.op("Reshape", x, shape)

    def times(self, x: str, factor: float) -> str:
        """Add a product with a number."""
        return self.op("Mul", x, self.constant(factor))

    def model(self, output: str, dtype: int = TensorProto.FLOAT) -> bytes:
        """Return the model with that output."""
        outputs = [helper.make_tensor_value_info(output, dtype, None)]
        graph = helper.make_graph(self._nodes, "vqcodec", self._inputs, outputs, self._constants)
        opset = [helper.make_opsetid("", 20)]
        model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=10)
        return model.SerializeToString()  # type: ignore[attr-defined, no-any-return]
