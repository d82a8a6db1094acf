"""Stand-ins for the parts of torchvision that packages of metrics ask for when they are imported.

The builds of torchvision on PyPI belong to the torch with CUDA that is there too, and beside any
other build of torch they fail. ColorVideoVDP needs one class of it, a Gaussian blur; what else of
it is asked for belongs to metrics that are not used here.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import torch
from torch.nn import functional


class GaussianBlur(torch.nn.Module):
    """The blur of `torchvision.transforms` with a fixed σ: reflected edges, the kernel cut off."""

    def __init__(self, kernel_size: int, sigma: float) -> None:
        super().__init__()
        radius = kernel_size // 2
        taps = torch.linspace(-(kernel_size - 1) / 2, (kernel_size - 1) / 2, kernel_size)
        kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
        self._kernel = kernel / kernel.sum()
        self._padding = [radius] * 4

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Blur `[..., H, W]`, each plane for itself."""
        planes = image.reshape(-1, 1, *image.shape[-2:])
        planes = functional.pad(planes, self._padding, mode="reflect")
        kernel = self._kernel.to(planes)
        planes = functional.conv2d(planes, kernel[None, None, :, None])
        return functional.conv2d(planes, kernel[None, None, None, :]).reshape(image.shape)


@contextlib.contextmanager
def torchvision() -> Iterator[None]:
    """Let packages be imported as if torchvision were there; where it is, this changes nothing."""
    if importlib.util.find_spec("torchvision"):
        yield
        return
    modules: dict[str, dict[str, object]] = {
        "torchvision": {},
        "torchvision.transforms": {"GaussianBlur": GaussianBlur},
        "torchvision.ops": {"MLP": torch.nn.Module},
        "torchvision.models": {
            "vgg16": torch.nn.Module,
            "vgg19": torch.nn.Module,
            "inception": _module(
                "torchvision.models.inception",
                dict.fromkeys(("InceptionA", "InceptionC", "InceptionE"), torch.nn.Module),
            ),
        },
    }
    sys.modules.update({name: _module(name, content) for name, content in modules.items()})
    try:
        yield
    finally:
        for name in modules:  # nobody else should take them for the real ones
            del sys.modules[name]


def _module(name: str, content: dict[str, object]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
