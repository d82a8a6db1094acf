"""The README's Python runs as it stands there, in a folder with the samples."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pictures import SAMPLES
from PIL import Image

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SAMPLES, tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    # What the comments beside the lines promise.
    photo, image, thumbnail = names["photo"], names["image"], names["thumbnail"]
    data, small, coarse = names["data"], names["small"], names["coarse"]
    assert isinstance(photo, Image.Image)
    assert isinstance(image, Image.Image)
    assert isinstance(thumbnail, Image.Image)
    assert thumbnail.size == (photo.width // 8, photo.height // 8)
    assert image.size == photo.size
    assert isinstance(data, bytes)
    assert isinstance(small, bytes)
    assert isinstance(coarse, bytes)
    assert len(small) <= 5000
    assert len(coarse) <= 2000 < len(data)
