"""Weights in packages of their own: made, installed, found; broken ones are in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from program import FOREIGN, program, vqcodec_

import vqcodec
from train.package import main
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.weights import packages

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package of the small network is installed into."""
    # Not by its spec, for which setuptools would replace distutils in this process.
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("an environment without pip")
    folder = tmp_path_factory.mktemp("package")
    made = CliRunner().invoke(main, [str(tiny_weights), str(folder / "project")])
    assert made.exit_code == 0, made.output
    assert "vqcodec-model-tiny, for files of model " in made.output
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--disable-pip-version-check", "--target", str(folder / "site")]
    done = subprocess.run([*command, folder / "project"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """What lets packages in a folder be found, until the end of a test."""

    def find(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        weights.installed.cache_clear()

    yield find
    weights.installed.cache_clear()


def test_an_installed_model_decodes_its_files_in_a_process_of_its_own(
    site: Path, tiny_codec: Codec, photo: Image.Image, workplace: Path
) -> None:
    data = tiny_codec.encode(photo, quality=60)
    Path("a.vqc").write_bytes(data)
    alone = vqcodec_("decode", "a.vqc")
    assert alone.exit_code == 1
    message = f"coded with model {tiny_codec.model_id.hex()}, which this version does not ship: "
    assert f"a.vqc: {message}give its weights file with --model\n" in alone.stderr
    code, _, err = program("", "decode", "a.vqc", PYTHONPATH=f"{ROOT}{os.pathsep}{site}")
    assert code == 0, err
    assert Image.open("a.png").tobytes() == tiny_codec.decode(data).tobytes()


def test_an_installed_model_has_a_name(
    site: Path,
    found: Callable[[Path], None],
    tiny_codec: Codec,
    photo: Image.Image,
    workplace: Path,
) -> None:
    found(site)
    photo.save("a.png")
    assert vqcodec_("encode", "a.png", "--model", "tiny", "-q", "60").exit_code == 0
    assert Path("a.vqc").read_bytes() == tiny_codec.encode(photo, quality=60)
    model_id = tiny_codec.model_id.hex()
    assert f"tiny ({model_id})" in vqcodec_("info", "a.vqc").stdout
    listed = vqcodec_("models").stdout
    assert f"tiny  {model_id}  " in listed
    assert "  architecture: tiny" in listed


def test_a_package_brings_no_code(site: Path) -> None:
    folder = site / "vqcodec_model_tiny"
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "tiny.json", "tiny.safetensors"}
    (line,) = (folder / "__init__.py").read_text().splitlines()
    assert line.startswith('"""tiny, weights ')


def test_no_folder_is_overwritten(tiny_weights: Path, workplace: Path) -> None:
    Path("out/vqcodec_model_tiny").mkdir(parents=True)
    made = CliRunner().invoke(main, [str(tiny_weights), "out"])
    assert made.exit_code == 1
    assert made.output.count("\n") == 1
    assert not Path("out/pyproject.toml").exists()


@pytest.fixture
def broken(workplace: Path, found: Callable[[Path], None]) -> None:
    """Let packages be found, each of which is broken in its own way."""
    group = f"[{packages.GROUP}]\n".encode()
    entries = {
        "gone": group + b"gone = nowhere_at_all",
        "hollow": group + b"hollow = hollow",
        "damaged": group + b"damaged = damaged",
        "colons": group + b"colons = ::",
        "unnamed": group + b"without a value",
        "binary": b"\xff\xfe",
        "twin": group + f"{weights.DEFAULT} = damaged".encode(),
    }
    for name, text in entries.items():
        Path(name).mkdir()
        about = Path(f"{name}-1.dist-info")
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_bytes(text)
    Path("damaged/damaged.safetensors").write_bytes(b"nothing")
    Path("damaged/__init__.py").write_text("raise RuntimeError('imported')")
    found(workplace)


@pytest.mark.usefixtures("broken")
def test_broken_packages_are_in_nobodys_way(photo: Image.Image) -> None:
    names = [info.name for info in weights.available()]
    assert names[: len(weights.shipped())] == [info.name for info in weights.shipped()]
    assert names.count(weights.DEFAULT) == 1
    assert {"gone", "hollow", "damaged", "colons"} <= set(names)
    photo.save("a.png")
    for arguments in (["encode", "a.png"], ["info", "a.vqc"], ["decode", "a.vqc", "-o", "b.png"]):
        assert vqcodec_(*arguments).exit_code == 0
    assert weights.find(weights.DEFAULT) in weights.shipped()
    with pytest.raises(vqcodec.UnknownModelError, match="coded with model 00010203"):
        vqcodec.decode(FOREIGN)
    listed = vqcodec_("models")
    assert listed.exit_code == 0
    assert weights.DEFAULT in listed.stdout
    assert "gone: " in listed.stderr
    assert "hollow: " in listed.stderr


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["gone", "hollow", "damaged", "colons"])
def test_a_broken_package_is_named_when_it_is_asked_for(photo: Image.Image, name: str) -> None:
    photo.save("a.png")
    result = vqcodec_("encode", "a.png", "--model", name)
    assert result.exit_code == 1
    assert f"{name}.safetensors: " in result.stderr.splitlines()[0]
    with pytest.raises(vqcodec.ModelError, match=f"{name}.safetensors: "):
        vqcodec.encode(photo, model=name)


def test_an_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.MOVED, "00010203", "photo-6-psnr")
    message = "does not ship: pip install vqcodec-model-photo-6-psnr, or give its weights file"
    with pytest.raises(vqcodec.UnknownModelError, match=message):
        vqcodec.decode(FOREIGN)


def test_what_is_installed_is_not_asked_for_a_model_that_ships() -> None:
    script = (
        "import sys; from vqcodec import weights; weights.find(weights.DEFAULT)\n"
        "weights.find_id(weights.find(weights.DEFAULT).model_id)\n"
        "assert 'importlib.metadata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
