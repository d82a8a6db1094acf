"""The weights at hand, and how they are found: by name, path or model id.

They ship with this package, or are installed in others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from vqcodec.errors import ModelError, UnknownModelError
from vqcodec.weights.packages import MOVED, offered, package_of

# What a picture can be made for: the least squared error, or to look like the original.
TUNED = {"psnr": "photo-6-psnr", "ssim": "photo-6-ssim"}
DEFAULT = TUNED["ssim"]
DENSITY = "density-2"
MODEL_ID_BYTES = 4
MAX_BYTES = 64 << 20
SUFFIX = ".safetensors"

_FOLDER = Path(__file__).parent
_DENSITY_PREFIX = "density-"
# Beside the weights of a model, those that draw its natural look.
_NATURAL = ".natural"


@dataclass(frozen=True)
class ModelInfo:
    """A weights file and the card (JSON) beside it."""

    path: Path

    @property
    def name(self) -> str:
        """The name that `--model` takes."""
        return self.path.stem

    @property
    def data(self) -> bytes:
        """The file's bytes; raises ModelError if it cannot be read or is absurdly large."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise ModelError(f"{self.path}: larger than {MAX_BYTES >> 20} MiB, not loaded")
            return self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.path}: {error.strerror}") from error

    @cached_property
    def model_id(self) -> bytes:
        """The first four bytes of the file's SHA-256, which every file coded with it carries."""
        return hashlib.sha256(self.data).digest()[:MODEL_ID_BYTES]

    @property
    def natural(self) -> ModelInfo:
        """The weights of the model's natural look, which it need not have."""
        return ModelInfo(self.path.with_name(f"{self.path.stem}{_NATURAL}{SUFFIX}"))

    @property
    def card(self) -> Mapping[str, Any]:
        """The model card; empty if there is none. Raises ModelError if it is damaged."""
        path = self.path.with_suffix(".json")
        try:
            card = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, RecursionError, ValueError) as error:
            raise ModelError(f"{path}: damaged model card: {error}") from error
        if not isinstance(card, dict):
            raise ModelError(f"{path}: damaged model card: no JSON object")
        return card


@lru_cache
def shipped() -> tuple[ModelInfo, ...]:
    """Return the shipped models of the codec, the default first."""
    paths = sorted(_FOLDER.glob(f"*{SUFFIX}"), key=lambda path: (path.stem != DEFAULT, path.stem))
    return tuple(ModelInfo(path) for path in paths if _is_codec(path.stem))


@lru_cache
def installed() -> tuple[ModelInfo, ...]:
    """Return the models of the codec that other packages alone have; any may be broken."""
    own = {info.name for info in shipped()}
    files = sorted(offered(SUFFIX).items())
    return tuple(ModelInfo(path) for name, path in files if name not in own and _is_codec(name))


def _is_codec(name: str) -> bool:
    return not (name.startswith(_DENSITY_PREFIX) or name.endswith(_NATURAL))


def _each() -> Iterator[ModelInfo]:
    """Yield the models of the codec; other packages are asked when none that ships was the one."""
    yield from shipped()
    yield from installed()


def available() -> tuple[ModelInfo, ...]:
    """Return the models of the codec, the default first and those in other packages last."""
    return tuple(_each())


def densities() -> tuple[ModelInfo, ...]:
    """Return the shipped density models."""
    return tuple(ModelInfo(path) for path in sorted(_FOLDER.glob(f"{_DENSITY_PREFIX}*{SUFFIX}")))


def choose(
    tune: str | None = None, model: str | Path | None = None, psnr: float | None = None
) -> str | Path:
    """Return the model to encode with: the one named, tuned as asked, or for a target in dB.

    Raises ValueError for a tune that there is none of, and for a tune and a model.
    """
    if model is not None:
        if tune is not None:
            raise ValueError("tune chooses a model: leave out tune or model")
        return model
    if tune is None:
        return DEFAULT if psnr is None else TUNED["psnr"]  # which reaches it in fewer bytes
    if tune not in TUNED:
        raise ValueError(f"cannot tune for {tune!r}: one of {', '.join(TUNED)}")
    return TUNED[tune]


def find(model: str | Path) -> ModelInfo:
    """Return the model of a name or path; raises ModelError if there is none."""
    if not isinstance(model, str | Path):
        raise TypeError(f"model is a name or a path, not {type(model).__name__}")
    path = Path(model)
    if path.suffix == SUFFIX and path.is_file():
        return ModelInfo(path)
    for info in _each():
        if info.name == str(model):
            return info
    names = ", ".join(info.name for info in available())
    raise ModelError(f"no model called {model!s}: give a path to a {SUFFIX} file or one of {names}")


def find_density(model: str | Path = DENSITY) -> ModelInfo:
    """Return the density model of a name or path; raises ModelError if there is none."""
    for info in densities():
        if info.name == str(model):
            return info
    path = Path(model)
    if path.suffix == SUFFIX and path.is_file():
        return ModelInfo(path)
    names = ", ".join(info.name for info in densities()) or "none ships with this version"
    raise ModelError(f"no density model called {model!s}: give a path to a {SUFFIX} file ({names})")


def find_id(model_id: bytes) -> ModelInfo:
    """Return the model with this id; raises UnknownModelError if there is none."""
    for info in shipped():
        if info.model_id == model_id:
            return info
    for info in installed():
        with suppress(ModelError):  # a broken package, which may be of any model
            if info.model_id == model_id:
                return info
    name = MOVED.get(model_id.hex())
    install = f"pip install {package_of(name)}, or " if name else ""
    raise UnknownModelError(
        f"coded with model {model_id.hex()}, which this version does not ship: "
        f"{install}give its weights file with --model"
    )
