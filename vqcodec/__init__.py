"""vqcodec: a learned image codec. A photograph goes in, a small .vqc file comes out, and back.

Importing the package is cheap: PyTorch is loaded when something is first encoded or decoded.
"""

import importlib as _importlib
import typing as _typing

from vqcodec.api import FileInfo, decode, encode, info, render, tokenize, truncate
from vqcodec.errors import (
    CorruptError,
    ImageError,
    ModelError,
    NotVqcError,
    RegionError,
    TargetError,
    TooLargeError,
    TruncatedError,
    UnknownModelError,
    UnsupportedVersionError,
    VqcError,
    VqcWarning,
)

if _typing.TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.tokens import Tokens
    from vqcodec.model.vector_quantizer import VectorQuantizer

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "CorruptError",
    "FileInfo",
    "ImageError",
    "ModelError",
    "NotVqcError",
    "RegionError",
    "TargetError",
    "Tokens",
    "TooLargeError",
    "TruncatedError",
    "UnknownModelError",
    "UnsupportedVersionError",
    "VectorQuantizer",
    "VqcError",
    "VqcWarning",
    "decode",
    "encode",
    "info",
    "register",
    "render",
    "tokenize",
    "truncate",
]

# What needs torch is imported when it is first asked for.
_LAZY = {
    "Codec": "vqcodec.codec.codec",
    "Tokens": "vqcodec.codec.tokens",
    "VectorQuantizer": "vqcodec.model.vector_quantizer",
}


def register() -> None:
    """Teach Pillow the .vqc format; the same as `import vqcodec.VqcImagePlugin`."""
    _importlib.import_module("vqcodec.VqcImagePlugin")


def __getattr__(name: str) -> _typing.Any:
    if name in _LAZY:
        return getattr(_importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
