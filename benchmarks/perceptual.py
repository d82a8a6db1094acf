"""ColorVideoVDP, HaarPSI and VIF, by the packages of the extra `perceptual`.

Every function takes the original and what was made of it, two Pillow images of mode RGB and the
same size, 8 bits a channel; all are computed on the CPU. They raise ImportError where the package
is missing, and the message says what to install.
"""

import functools
import importlib
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.metrics import check, tensor

PACKAGES = {"cvvdp": "pycvvdp", "haarpsi": "piq", "vif": "piq"}
DISPLAY = "standard_fhd"  # a 24 inch screen of 1920x1080, 200 cd/m², seen from 0.6 m
# The shorter side that the four scales of VIF and the three of HaarPSI need.
MIN_SIDES = {"haarpsi": 16, "vif": 41}


def load(metric: str) -> ModuleType:
    """Import the package of a metric, a key of PACKAGES.

    Raises:
        ImportError: it cannot be imported; the message names the extra.
    """
    from benchmarks import stand_ins

    package = PACKAGES[metric]
    try:
        with stand_ins.torchvision():
            return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # the latter from another torch's torchvision
        raise ImportError(
            f"{metric} needs the package {package} ({error}): pip install 'vqcodec[perceptual]', "
            "best into an environment of its own"
        ) from error


def cvvdp(x: Image.Image, x_hat: Image.Image) -> float:
    """ColorVideoVDP in JOD on the display: 10 is equal, 9 what 3 of 4 people call worse."""
    check(x, x_hat)
    quality, _ = _cvvdp().predict(np.asarray(x_hat), np.asarray(x), dim_order="HWC")
    return float(quality)


def haarpsi(x: Image.Image, x_hat: Image.Image) -> float | None:
    """HaarPSI in YIQ, 0 to 1; None for an image with a side under 16 pixels."""
    check(x, x_hat)
    if min(x.size) < MIN_SIDES["haarpsi"]:
        return None
    value = float(load("haarpsi").haarpsi(tensor(x_hat), tensor(x), data_range=255))
    return min(value, 1.0)  # rounding takes it a little beyond


def vif(x: Image.Image, x_hat: Image.Image) -> float | None:
    """VIF in the pixel domain, of luma: 1 is equal, more is possible where contrast was raised.

    None for an image with a side under 41 pixels.
    """
    check(x, x_hat)
    if min(x.size) < MIN_SIDES["vif"]:
        return None
    return float(load("vif").vif_p(tensor(x_hat), tensor(x), data_range=255))  # original last


@functools.cache
def _cvvdp() -> Any:
    import torch

    return load("cvvdp").cvvdp(display_name=DISPLAY, device=torch.device("cpu"))
