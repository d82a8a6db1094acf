"""The configuration of a weights file and the names of its arrays: "The weights file"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from .arrays import Array


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a decoder goes by. The values are those of keys that a file leaves out."""

    phases: list[list[int]]
    groups: list[list[tuple[int, int, int]]]
    strides: list[int] = field(default_factory=lambda: [8, 8])
    transforms: list[str] = field(default_factory=lambda: ["lapped", "lapped"])
    activation: str = "rooted"
    picture_after: list[int] = field(default_factory=lambda: [1, 3])
    gain_range: float = 1.0
    synthesis_blocks: int = 2


def read_config(text: str) -> Config:
    """Return the configuration in `vqcodec_config`."""
    known = {each.name for each in fields(Config)}
    return Config(**{key: value for key, value in json.loads(text).items() if key in known})


def named_as_on_the_page(arrays: Mapping[str, Array], config: Config) -> dict[str, Array]:
    """Return the arrays with the names of photo-5's files replaced."""
    return {_new_name(name, len(config.phases[0])): array for name, array in arrays.items()}


def _new_name(name: str, coarse_levels: int) -> str:
    parts = name.split(".")
    if re.match(r"network\.levels\.\d+\.\d+\.", name):
        grid, level = int(parts[2]), int(parts[3])
        parts[2:4] = [str(level + coarse_levels * grid)]
    for before in (["prior", "upsample"], ["network", "expand"]):
        if parts[:2] == before and not parts[2].isdigit():
            parts.insert(2, "0")
    renamed = {"take": "project", "put": "unproject", "words": "codewords", "parts": "groups"}
    return ".".join(renamed.get(part, part) for part in parts)
