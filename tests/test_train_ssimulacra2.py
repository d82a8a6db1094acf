"""SSIMULACRA2 to train for: the package's figure, and a gradient that leads to better pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from pictures import SAMPLE
from PIL import Image
from torch import Tensor

from benchmarks.metrics import ssimulacra2
from train.ssimulacra2 import distortion, score


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double() / 255


@pytest.fixture
def sample() -> Image.Image:
    return Image.open(SAMPLE).convert("RGB")


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize("size", [(384, 256), (383, 255)])
@pytest.mark.parametrize("quality", [5, 60])
def test_the_score_is_the_package_s(
    sample: Image.Image, size: tuple[int, int], quality: int
) -> None:
    image = sample.crop((0, 0, *size))
    coded = as_jpeg(image, quality)
    ours = score(float(distortion(tensor(image), tensor(coded))))
    assert ours == pytest.approx(ssimulacra2(image, coded), abs=1e-4)


def test_each_image_of_a_batch_has_its_own(sample: Image.Image) -> None:
    image = sample.crop((0, 0, 96, 96))
    x = tensor(image).float()
    x_hat = tensor(as_jpeg(image, 20)).float()
    both = distortion(torch.cat([x, x]), torch.cat([x, x_hat]))
    assert float(both[0]) == pytest.approx(0, abs=1e-3)
    torch.testing.assert_close(both[1:], distortion(x, x_hat))


def test_following_the_gradient_makes_it_smaller(sample: Image.Image) -> None:
    image = sample.crop((100, 60, 196, 156))
    x, x_hat = tensor(image).float(), tensor(as_jpeg(image, 10)).float().requires_grad_()
    before = distortion(x, x_hat)
    before.sum().backward()  # type: ignore[no-untyped-call]
    assert x_hat.grad is not None
    assert torch.isfinite(x_hat.grad).all()
    step = 1e-3 * x_hat.grad / x_hat.grad.abs().amax()
    assert float(distortion(x, x_hat.detach() - step)) < float(before.detach())


def test_the_gradient_is_finite_where_nothing_differs() -> None:
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x_hat = x.clone().requires_grad_()
    distortion(x, x_hat).sum().backward()  # type: ignore[no-untyped-call]
    assert x_hat.grad is not None
    assert torch.isfinite(x_hat.grad).all()
