"""The configuration of a weights file: "The weights file"."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields


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
