"""How much memory coding takes, in a process of its own, beside what is coded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import SAMPLE
from PIL import Image

from benchmarks import machine
from vqcodec.codec.codec import Codec

SIDE_BY_SIDE = 16
# The tokens of a photograph's file, side by side until there are 25 megapixels of them, are put in
# a file or counted, or read from one; printed is what the most memory rose by meanwhile, in bytes.
SCRIPT = f"""
import sys
from collections import defaultdict
import numpy as np
from benchmarks.machine import peak_memory
from vqcodec.codec.codec import Codec
from vqcodec.codec.tokens import Tokens
from vqcodec.entropy.coder import Encoder
from vqcodec.entropy.stream import join, replay
from vqcodec.fileformat.container import Container, Header, pack

times = {SIDE_BY_SIDE}

def spread(group, shape):
    whole = np.empty((len(group), times, shape.rows, times, shape.columns), group.dtype)
    whole[:] = group.reshape(-1, 1, shape.rows, 1, shape.columns)
    return whole.reshape(len(group), -1)

what, path, large = sys.argv[1:]
codec = Codec.load(device="cpu")
with open(path, "rb") as file:
    photo = codec.file_tokens(file.read())
if what == "read":
    with open(large, "rb") as file:
        data = file.read()
    before = peak_memory()
    codec.file_tokens(data)
else:
    width, height = times * photo.width, times * photo.height
    indices = [
        [spread(group, shape) for group in level]
        for level, shape in zip(photo.indices, photo.shapes)
    ]
    shapes = codec.token_shapes(width, height)
    tokens = Tokens(indices, shapes, width, height, photo.quality, photo.model_id)
    before = peak_memory()
    if what == "count":
        codec.bits(tokens)
    else:
        coders = defaultdict(lambda: Encoder(codec._loaded.tables))
        grid = codec.config.grid(0, height, width)
        prior = codec._loaded.prior
        replay(prior, tokens.quality, grid, indices, lambda number: coders[number].put)
        stream = join([coders[number].finish() for number in range(len(coders))])
        header = Header(tokens.model_id, width, height, tokens.quality)
        with open(large, "wb") as file:
            file.write(pack(Container(header, payload=stream)))
print(peak_memory() - before)
"""


def rise(what: str, small: Path, large: Path) -> float:
    """Bytes a pixel by which the most memory of a process rose."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what, str(small), str(large)],
        cwd=machine.ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},  # every thread has a strip in memory
        capture_output=True,
        text=True,
        check=True,
    )
    photo = Image.open(SAMPLE)
    with photo:
        width, height = photo.size
    return int(done.stdout) / (width * height * SIDE_BY_SIDE**2)


@pytest.mark.slow
def test_coding_takes_little_memory_beside_the_indices(codec: Codec, tmp_path: Path) -> None:
    if machine.peak_memory() is None:
        pytest.skip("this system does not say")
    photo, large = tmp_path / "photo.vqc", tmp_path / "large.vqc"
    photo.write_bytes(codec.encode(Image.open(SAMPLE).convert("RGB"), quality=50))
    assert rise("write", photo, large) < 10
    assert rise("count", photo, large) < 10
    # An index takes two bytes, and there are three a pixel.
    assert rise("read", photo, large) < 6 + 14
