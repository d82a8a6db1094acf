"""The floor of decoding: every convolution is counted, in every runtime it is the same one."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from benchmarks.complexity import QUALITY, network_macs
from benchmarks.floor import Shape, convolutions, in_onnxruntime, in_torch
from vqcodec.codec.codec import Codec

SHAPE = Shape(8, 4, 3, 5, 6)


def test_all_arithmetic_of_a_decode_is_counted(tiny_codec: Codec) -> None:
    image = Image.new("RGB", (128, 64))
    tokens = tiny_codec.tokenize(image, quality=QUALITY)
    shapes = convolutions(tiny_codec, image)
    counted = sum(shape.macs * count for shape, count in shapes.items())
    # The counter of operations knows the products of small filters, too, by another name.
    assert counted == pytest.approx(network_macs(lambda: tiny_codec.render(tokens)), rel=0.1)


def test_arithmetic_and_bytes_of_a_convolution() -> None:
    assert SHAPE.macs == 8 * 4 * 9 * 30
    assert SHAPE.bytes == 4 * 12 * 30
    assert str(SHAPE) == "8→4, 3×3, 6×5"


def test_every_runtime_gives_a_picture_of_that_shape() -> None:
    assert isinstance(result := in_torch(SHAPE, torch.float32)(), torch.Tensor)
    assert result.shape == (1, 4, 5, 6)
    for integers in (False, True):
        result = in_onnxruntime(SHAPE, 1, integers=integers)()
        assert isinstance(result, list)
        assert result[0].shape == (1, 4, 5, 6)
