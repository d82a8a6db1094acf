"""`vqcodec bpd` and `vqcodec info --bpd` as a user meets them."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import vqcodec
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.fileformat.container import unpack


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photo.png in it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(vqcodec.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    return tmp_path


def vqcodec_(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def facts(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_bounds_stand_beside_lossless_files(tiny_density: Path) -> None:
    options = ("--model", str(tiny_density), "-k", "3")
    result = vqcodec_("bpd", "photo.png", *options, "--json")
    assert result.exit_code == 0, result.output
    (found,) = facts(result)
    assert (found["width"], found["height"], found["dimensions"]) == (96, 64, 96 * 64 * 3)
    assert isinstance(found["files"], dict)
    png = 8 * found["files"]["png"] * found["dimensions"] / 64
    assert png == pytest.approx(round(png))
    assert found["iwae"] <= found["elbo"]  # type: ignore[operator]
    text = vqcodec_("bpd", "photo.png", *options).stdout
    for word in ("photo.png  96x64, bits per dimension", "ELBO", "IWAE-3", "png", "webp", " ± "):
        assert word in text


def test_streams_folders_and_odd_kinds_are_taken(tiny_density: Path) -> None:
    options = ("--model", str(tiny_density), "-k", "1", "--json")
    data = Path("photo.png").read_bytes()
    (found,) = facts(vqcodec_("bpd", "-", *options, stdin=data))
    assert (found["file"], found["elbo_error"]) == ("-", None)
    Path("album").mkdir()
    Image.new("L", (1, 1), 77).save("album/a.png")
    Image.new("RGBA", (40, 7), (9, 90, 200, 100)).save("album/b.png")
    Image.new("CMYK", (17, 30)).save("album/c.tif")
    result = vqcodec_("bpd", "album", *options)
    assert result.exit_code == 0
    gray, see_through, _ = facts(result)
    assert gray["dimensions"] == 1
    assert "alpha left out" in see_through["notes"]  # type: ignore[operator]
    assert "CMYK converted" in result.stderr


def test_one_bad_file_does_not_stop_the_others(tiny_density: Path) -> None:
    Path("bad.png").write_bytes(b"no picture")
    model = ("--model", str(tiny_density), "-k", "1")
    result = vqcodec_("bpd", "bad.png", "gone.png", "photo.png", *model)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if "left out" not in line]
    assert lines == ["bad.png: not an image that Pillow can read", "gone.png: no such file"]
    assert result.stdout.startswith("photo.png  96x64")


def test_map_is_a_picture_that_is_not_overwritten(tiny_density: Path) -> None:
    arguments = ("bpd", "photo.png", "--model", str(tiny_density), "-k", "1", "--map", "map.png")
    assert "map        black" in vqcodec_(*arguments).stdout
    with Image.open("map.png") as image:
        assert image.size == (96, 64)
    numbers = (*arguments[:-1], "map.npy")
    (found,) = facts(vqcodec_(*numbers, "--json"))
    bits = np.load("map.npy")
    assert bits.shape == (64, 96)
    assert float(bits.mean()) == pytest.approx(found["elbo"], rel=1e-5)
    before = Path("map.png").read_bytes()
    again = vqcodec_(*arguments)
    assert again.exit_code == 1
    assert again.stderr == "Error: map.png exists already (--force overwrites it)\n"
    assert vqcodec_(*arguments, "-f").exit_code == 0
    assert Path("map.png").read_bytes() == before


def test_csv_and_the_mean_of_a_folder(tiny_density: Path) -> None:
    Path("album").mkdir()
    with Image.open("photo.png") as image:
        image.save("album/a, b.png")
        image.crop((0, 0, 50, 40)).save("album/c.png")
        image.transpose(Image.Transpose.ROTATE_90).save("album/d.png")
    options = ("--model", str(tiny_density), "-k", "2")
    result = vqcodec_("bpd", "album", *options, "--csv")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["file"] for row in rows] == ["album/a, b.png", "album/c.png", "album/d.png"]
    parts = [float(rows[0][f"kl_of_scales_{number}"]) for number in range(4)]
    whole = sum(parts) + float(rows[0]["reconstruction"])
    assert float(rows[0]["elbo"]) == pytest.approx(whole)
    assert float(rows[1]["files_webp"]) > 0
    elbo = [float(row["elbo"]) for row in rows]
    mean, error = statistics.mean(elbo), statistics.stdev(elbo) / 3**0.5
    said = f"mean of 3 images, bits per dimension: ELBO {mean:.4f} ± {error:.4f}, IWAE-2 "
    assert said in result.stderr
    assert [each["elbo"] for each in facts(vqcodec_("bpd", "album", *options, "--json"))] == elbo
    assert said in vqcodec_("bpd", "album", *options).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.png", "-k", "0"],
        ["photo.png", "-"],
        ["photo.png", "photo.png", "--map", "map.png"],
        ["photo.png", "--codes", "--map", "map.png"],
        ["photo.png", "--map", "map.txt"],
        ["photo.png", "--json", "--csv"],
    ],
)
def test_arguments_that_make_no_sense_are_code_2(arguments: list[str]) -> None:
    result = vqcodec_("bpd", *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_damaged_model_is_one_line_however_many_images(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing of the kind")
    result = vqcodec_("bpd", "photo.png", "photo.png", "--model", str(damaged), "-k", "1")
    assert result.exit_code == 1
    assert result.stderr.count("damaged.safetensors") == 1
    assert result.stderr.startswith("Error: ")


def test_no_density_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "densities", tuple)
    result = vqcodec_("bpd", "photo.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: no density model called density-2: give a path")
    assert result.stderr.count("\n") == 1


def test_codes_tell_the_stream_level_by_level(codec: Codec) -> None:
    (found,) = facts(vqcodec_("bpd", "photo.png", "--codes", "-q", "70", "--json"))
    with Image.open("photo.png") as image:
        data = codec.encode(image, quality=70)
    stream = 8 * len(unpack(data).payload) / (96 * 64)
    assert found["stream"] == pytest.approx(stream)
    assert isinstance(found["levels"], list)
    # Of so few bytes: after the last index that is not 0 the coder ends with at most two words.
    assert sum(found["levels"]) == pytest.approx(stream, abs=64 / (96 * 64))
    assert "level 5" in vqcodec_("bpd", "photo.png", "--codes").stdout


def test_info_shows_a_files_own_rate(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    vqcodec_("encode", "photo.png")
    (found,) = facts(vqcodec_("info", "photo.vqc", "--bpd", "--json"))
    size = Path("photo.vqc").stat().st_size
    assert isinstance(found["bpd"], dict)
    assert found["bpd"]["file"] == pytest.approx(8 * size / (96 * 64 * 3))
    assert len(found["bpd"]["levels"]) == sum(map(len, codec.config.channels))
    assert "codes by level" in vqcodec_("info", "photo.vqc", "--bpd").stdout
    assert "bpd" not in facts(vqcodec_("info", "photo.vqc", "--json"))[0]


def test_info_asks_the_density_model_about_the_picture(
    codec: Codec, tiny_density: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vqcodec_("encode", "photo.png")
    shipped = tmp_path / "density-2.safetensors"
    shipped.write_bytes(tiny_density.read_bytes())
    monkeypatch.setattr(weights, "densities", lambda: (weights.ModelInfo(shipped),))
    (found,) = facts(vqcodec_("info", "photo.vqc", "--bpd", "--json"))
    assert isinstance(found["bpd"], dict)
    assert 0.5 < found["bpd"]["elbo"] < 8


def test_help_imports_nothing_slow() -> None:
    program = (
        "import atexit, sys\n"
        "slow = {'torch', 'numpy', 'PIL', 'tqdm', 'constriction', 'safetensors'}\n"
        "atexit.register(lambda: print('slow:', sorted(slow & set(sys.modules))))\n"
        "from vqcodec.commands.main import cli\n"
        "cli(['bpd', '--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "slow: []", done.stderr
