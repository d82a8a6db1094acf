"""vqcodec: a learned image codec. A photograph goes in, a small .vqc file comes out, and back.

Importing the package is cheap: PyTorch is loaded when something is first encoded or decoded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcodec.api import (
        decode,
        decode_indices,
        encode,
        encode_indices,
        encode_to_psnr,
        encode_to_size,
    )
    from vqcodec.codec.codec import Codec
    from vqcodec.model.vector_quantizer import VectorQuantizer

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "VectorQuantizer",
    "decode",
    "decode_indices",
    "encode",
    "encode_indices",
    "encode_to_psnr",
    "encode_to_size",
    "register",
]

_HOMES = {
    "Codec": "vqcodec.codec.codec",
    "decode": "vqcodec.api",
    "decode_indices": "vqcodec.api",
    "encode": "vqcodec.api",
    "encode_indices": "vqcodec.api",
    "encode_to_psnr": "vqcodec.api",
    "encode_to_size": "vqcodec.api",
    "VectorQuantizer": "vqcodec.model.vector_quantizer",
}


def register() -> None:
    """Teach Pillow the .vqc format; the same as `import vqcodec.VqcImagePlugin`."""
    importlib.import_module("vqcodec.VqcImagePlugin")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
