"""The decoder for browsers, run in Node on files, and what it tells of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

PACKAGE = Path(__file__).parents[1] / "vqcodec" / "browser"
OLDEST = 20


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("npm")
    if program is None:
        pytest.skip("there is no program called npm")
    return subprocess.run([program, *arguments], cwd=PACKAGE, capture_output=True, text=True)


def built() -> str:
    """The program node, the package being built; skips where one of the two cannot be had."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no program called node")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST:
        pytest.skip(f"node is {version.strip()}, older than {OLDEST}")
    if not (PACKAGE / "node_modules").is_dir():
        done = npm("ci", "--no-audit", "--no-fund")
        if done.returncode:
            reason = done.stderr.partition("\n")[0]
            pytest.skip(f"{PACKAGE}/node_modules is not there, and npm ci failed: {reason}")
    built = npm("run", "library")
    assert built.returncode == 0, built.stdout + built.stderr
    return program


def told(
    node: str,
    model: Path,
    out: Path,
    files: Mapping[str, bytes],
    *,
    engine: str = "onnx",
    tile: int = 1024,
    extent: str = "whole",
) -> dict[str, dict[str, Any]]:
    """What the decoder tells of files; pixels are `pixels`, uint8 `[H, W, 4]`."""
    paths = [out / f"{name}.vqc" for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    options = [engine, str(tile), extent, str(model), str(out)]
    command = [node, "test/dump.mjs", *options, *map(str, paths)]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))
    for name, answer in result.items():
        if "width" in answer:
            shape = answer["height"], answer["width"], 4
            answer["pixels"] = np.fromfile(out / f"{name}.rgba", np.uint8).reshape(shape)
    return result


def same_indices(
    read: Sequence[Sequence[list[int]]], expected: Sequence[Sequence[NDArray[Any]]]
) -> None:
    for level, groups in zip(read, expected, strict=True):
        for group, other in zip(level, groups, strict=True):
            np.testing.assert_array_equal(group, other.ravel())


def same_pixels(answer: dict[str, Any], picture: Image.Image) -> None:
    """No more than one code value away, and opacity that is stored as it is the same."""
    assert answer["alpha"] == (picture.mode in ("LA", "RGBA"))
    assert answer["gray"] == (picture.mode in ("L", "LA"))
    expected = np.array(picture.convert("RGBA"), int)
    assert answer["pixels"].shape == expected.shape
    assert abs(answer["pixels"] - expected).max() <= 1
