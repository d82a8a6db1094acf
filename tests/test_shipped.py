"""The shipped model: its files are as short as its prior says, and as good as their quality."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import SAMPLE, psnr
from PIL import Image
from test_codec import assert_same, ideal_bytes

import vqcodec
from vqcodec import weights
from vqcodec.codec.codec import Codec


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    image: Image.Image = Image.open(SAMPLE)
    return image.convert("RGB")


def test_shipped_file_size_is_the_cross_entropy(codec: Codec, sample: Image.Image) -> None:
    data = codec.encode(sample, quality=70)
    assert 8 * len(data) > 0.2 * sample.width * sample.height  # below, the header counts for more
    path = weights.find(weights.DEFAULT).path
    ideal = ideal_bytes(path, 70, sample.size, codec.file_tokens(data).indices)
    assert 0.95 * ideal < len(data) < 1.01 * ideal


def test_shipped_qualities_rise(codec: Codec, sample: Image.Image) -> None:
    files = [codec.encode(sample, quality=quality) for quality in (10, 30, 50, 70, 90)]
    assert (np.diff([len(data) for data in files]) > 0).all()
    distances = [psnr(sample, codec.decode(data)) for data in files]
    assert (np.diff(distances) >= 0).all(), distances


def test_shipped_model_decodes_what_it_encodes(codec: Codec, sample: Image.Image) -> None:
    data = codec.encode(sample, quality=50)
    assert_same(codec.file_tokens(data).indices, codec.tokenize(sample, quality=50).indices)
    assert len(data) < sample.width * sample.height / 8
    assert psnr(sample, codec.decode(data)) > 30
    assert vqcodec.decode(data, device="cpu").tobytes() == codec.decode(data).tobytes()


def test_shipped_model_keeps_gray_gray_and_alpha_exact(codec: Codec, sample: Image.Image) -> None:
    small = sample.resize((150, 100))
    gray = codec.decode(codec.encode(small.convert("L")))
    assert gray.mode == "L"
    assert psnr(small.convert("L"), gray) > 25
    alpha = small.getchannel("B")
    small.putalpha(alpha)
    decoded = codec.decode(codec.encode(small))
    assert decoded.mode == "RGBA"
    assert decoded.getchannel("A").tobytes() == alpha.tobytes()


def test_tokens_know_what_they_are_of(codec: Codec, photo: Image.Image) -> None:
    tokens = vqcodec.tokenize(photo, quality=40, device="cpu")
    file = codec.file_tokens(codec.encode(photo, quality=40))
    assert_same(tokens.indices, file.indices)
    for found in (tokens, file):
        assert (found.width, found.height, found.quality) == (*photo.size, 40)
        assert found.model_id == codec.model_id
    picture = vqcodec.render(tokens, device="cpu")
    assert picture.tobytes() == codec.decode(codec.encode(photo, quality=40)).tobytes()
