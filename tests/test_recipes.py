"""The page of recipes: its code runs as it stands there, and does what is said beside it."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_node import PACKAGE
from PIL import Image

import vqcodec
from vqcodec import weights

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
NEEDS = {
    "Zarr and Dask": ["zarr", "dask"],
    "Tokens": ["pyarrow"],
    "imageio": ["imageio"],
    "WebDataset": ["webdataset"],
    "Hugging Face datasets": ["datasets"],
    "A DataLoader of PyTorch": [],
    "Spark": ["pyspark", "pandas", "pyarrow"],
    "FFmpeg": [],
    "Browsers and Node": [],
}


@pytest.fixture(autouse=True)
def folder(photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with photo.png and photo.vqc."""
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    Path("photo.vqc").write_bytes(vqcodec.encode(photo, quality=80))


def blocks(heading: str, language: str) -> str:
    """The code of a section in a language."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", section, re.S | re.M))


def values(heading: str, *expressions: str) -> list[Any]:
    """Run a section's Python as a program of its own; return what expressions are after it.

    A program, since spawned workers begin it again, and other libraries warn of this and that.
    """
    for package in NEEDS[heading]:
        if find_spec(package) is None:
            pytest.skip(f"takes {package}, which is not installed")
    saved = (
        f"    import pickle\n    pickle.dump(({', '.join(expressions)},), open('values', 'wb'))\n"
    )
    code = blocks(heading, "python") + f"\nif __name__ == '__main__':\n{saved}"
    Path("recipe.py").write_text(code, encoding="utf-8")
    root = str(Path(vqcodec.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    told = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": "hf"}
    environment = os.environ | told | {"PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "recipe.py"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return list(pickle.loads(Path("values").read_bytes()))


def apart(one: Any, other: Any) -> int:
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def decoded() -> np.ndarray[Any, Any]:
    return np.asarray(vqcodec.decode(Path("photo.vqc").read_bytes()))


def test_every_section_is_tested() -> None:
    assert set(re.findall(r"^## (.+)$", PAGE, re.M)) == NEEDS.keys()


def test_zarr_and_dask() -> None:
    part, means, whole = values(
        "Zarr and Dask", "part", "means", "zarr.open_array('photo.zarr')[:]"
    )
    assert apart(part, whole[10:30, 50:90]) <= 1
    assert np.allclose(means, whole.mean(axis=(0, 1)))


def test_tokens() -> None:
    sequence, where, picture = values("Tokens", "sequence", "where", "picture")
    assert len(sequence) == len(where)
    assert (
        picture.tobytes()
        == vqcodec.decode(vqcodec.encode(Image.open("photo.png"), quality=60)).tobytes()
    )


def test_imageio() -> None:
    (pixels,) = values("imageio", "pixels")
    assert apart(pixels, decoded()) <= 1
    assert vqcodec.info(Path("copy.vqc").read_bytes()).quality == 70


def test_webdataset() -> None:
    (image,) = values("WebDataset", "image")
    assert apart(image, decoded()) <= 1


@pytest.mark.skipif(shutil.which("java") is None, reason="takes Java")
def test_spark() -> None:
    Path("broken.png").write_bytes(b"no picture")
    (rows,) = values("Spark", "[tuple(row) for row in rows]")
    coded = {Path(path).name: (vqc, error) for path, vqc, error in rows}
    vqc, error = coded["photo.png"]
    assert bytes(vqc) == vqcodec.encode(Image.open("photo.png"), quality=60)
    assert not error
    vqc, error = coded["broken.png"]
    assert not vqc
    assert "not an image" in error


def test_datasets_keep_bytes_and_code_open_images_again() -> None:
    image, stored, worse = values("Hugging Face datasets", "image", "stored", "worse")
    assert apart(image, decoded()) <= 1
    assert stored == Path("photo.vqc").read_bytes()
    assert worse != stored
    assert vqcodec.info(worse).quality == 50


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks")
def test_workers_of_a_loader() -> None:
    shapes, loader = values("A DataLoader of PyTorch", "shapes", "loader.batch_size")
    assert shapes == [(2, 3, 64, 96)] * 2
    assert loader == 2


def test_ffmpeg() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no program called ffmpeg")
    program = f'vqcodec() {{ "{sys.executable}" -m vqcodec "$@"; }}\n' + blocks("FFmpeg", "sh")
    root = str(Path(vqcodec.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(["bash", "-ec", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Image.open("small.png") as small:
        assert small.width == 64
    assert vqcodec.info(Path("again.vqc").read_bytes()).width == 96


def test_browsers_and_node(node: str) -> None:
    Path("node_modules").mkdir()
    Path("node_modules/vqcodec").symlink_to(PACKAGE)
    shutil.copy(weights.find(weights.DEFAULT).path, "weights.safetensors")
    Path("recipe.mjs").write_text(blocks("Browsers and Node", "js"), encoding="utf-8")
    done = subprocess.run([node, "recipe.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pixels = np.fromfile("photo.rgba", np.uint8).reshape(*decoded().shape[:2], 4)
    assert apart(pixels[..., :3], decoded()) <= 1
