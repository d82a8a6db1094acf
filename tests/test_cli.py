"""The commands as a user meets them: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from golden import FOLDER as GOLDEN
from pictures import psnr
from PIL import Image

import vqcodec
from vqcodec import weights
from vqcodec.commands.main import cli
from vqcodec.fileformat.container import ChunkTag, Container, Header, pack, read_header, unpack

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec

COMMAND = [sys.executable, "-m", "vqcodec"]
FOREIGN = pack(
    Container(
        Header(b"\x00\x01\x02\x03", 768, 512, quality=60), {ChunkTag.EXIF: b"exif"}, b"stream"
    )
)
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the package is found from there too."""
    root = str(Path(vqcodec.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vqcodec_(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def run_ok(*arguments: str, stdin: bytes | None = None) -> Result:
    result = vqcodec_(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


# Without a model


def test_version_and_help() -> None:
    assert run_ok("--version").stdout == f"vqcodec {vqcodec.__version__}\n"
    for command in ("encode", "decode", "truncate", "compare", "info", "models"):
        assert command in run_ok("--help").stdout
        assert "Usage:" in run_ok(command, "-h").stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["info", "x.vqc"], ["models"], ["compare", "--help"]],
)
def test_quick_commands_import_nothing_slow(arguments: list[str]) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    program = (
        "import atexit, sys\n"
        "slow = {'torch', 'numpy', 'PIL', 'tqdm', 'constriction', 'safetensors'}\n"
        "atexit.register(lambda: print('slow:', sorted(slow & set(sys.modules))))\n"
        "from vqcodec.commands.main import cli\n"
        f"cli({arguments})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "slow: []", done.stderr


def test_decoding_imports_no_torch() -> None:
    Path("x.vqc").write_bytes((GOLDEN / "size-8x8.vqc").read_bytes())
    program = (
        "import atexit, sys; atexit.register(lambda: print('torch:', 'torch' in sys.modules))\n"
        "from vqcodec.commands.main import cli; cli(['decode', 'x.vqc', '--threads', '1'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "torch: False", done.stderr
    with Image.open("x.png") as picture:
        assert picture.size == (8, 8)


def test_info_tells_what_the_header_holds() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    facts = json.loads(run_ok("info", "--json", "x.vqc").stdout)
    assert facts == {
        "file": "x.vqc",
        "bytes": len(FOREIGN),
        "version": 1,
        "model_id": "00010203",
        "model": None,
        "width": 768,
        "height": 512,
        "gray": False,
        "cut": False,
        "quality": 60,
        "chunks": {"exif": 4},
        "stream_bytes": 6,
        "bpp": round(8 * len(FOREIGN) / (768 * 512), 4),
        "sound": True,
        "damage": None,
    }
    text = run_ok("info", "x.vqc").stdout
    for fact in ("vqc version 1", "00010203", "768x512 colour", "60", "exif 4 bytes", "right"):
        assert fact in text
    assert json.loads(run_ok("info", "--json", "-", stdin=FOREIGN).stdout)["width"] == 768


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FOREIGN[:-5], "truncated"),
        (FOREIGN[:-1] + bytes([FOREIGN[-1] ^ 1]), "checksum"),
    ],
)
def test_info_of_a_damaged_file_tells_the_header_and_the_damage(data: bytes, reason: str) -> None:
    Path("x.vqc").write_bytes(data)
    result = vqcodec_("info", "--json", "x.vqc")
    facts = json.loads(result.stdout)
    assert (facts["width"], facts["sound"]) == (768, False)
    assert reason in facts["damage"]
    assert result.exit_code == 1


def test_info_of_what_is_no_vqc_file() -> None:
    Path("x.vqc").write_bytes(b"\x89PNG\r\n")
    for name, reason in (("x.vqc", "not a .vqc file"), ("gone.vqc", "No such file or directory")):
        result = vqcodec_("info", name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"Error: {name}: {reason}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "x.png", "-q", "0"],
        ["encode", "x.png", "-q", "101"],
        ["encode", "x.png", "-j", "0"],
        ["encode", "x.png", "--device", "abacus"],
        ["encode", "x.png", "--tune", "taste"],
        ["encode", "x.png", "--tune", "psnr", "--model", weights.TUNED["psnr"]],
        ["encode", "x.png", "-", "y.png"],
        ["decode", "x.vqc", "-o", "x.docx"],
        ["transcode"],
    ],
)
def test_arguments_that_make_no_sense_are_code_2(arguments: list[str]) -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    result = vqcodec_(*arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_missing_files_are_named(command: str) -> None:
    result = vqcodec_(command, "gone", "away")
    assert result.exit_code == 1
    assert result.stderr.startswith("gone: no such file\naway: no such file\n0 files, 2 failed")


@posix_only
def test_an_interrupt_is_one_line_and_code_130(folder: Path) -> None:
    os.mkfifo("pipe")
    process = subprocess.Popen([*COMMAND, "info", "pipe"], stderr=subprocess.PIPE, text=True)
    with Path("pipe").open("wb"):  # opens as soon as the other side waits for what comes
        process.send_signal(signal.SIGINT)
    _, err = process.communicate()  # a program that goes on meets the end of the pipe
    assert (process.returncode, err) == (130, "Interrupted.\n")


@posix_only
def test_a_closed_pipe_is_no_traceback() -> None:
    Path("x.vqc").write_bytes(FOREIGN)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        done = subprocess.run(
            [*COMMAND, "info", "x.vqc"], stdout=stdout, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "")


# With the shipped model


@pytest.fixture
def photo_png(codec: Codec, photo: Image.Image) -> Image.Image:
    """photo.png in the working folder."""
    photo.save("photo.png")
    return photo


def test_encode_and_decode_need_no_options(photo_png: Image.Image) -> None:
    original = Path("photo.png").read_bytes()
    result = run_ok("encode", "photo.png")
    assert result.stdout == ""
    size = Path("photo.vqc").stat().st_size
    assert result.stderr.startswith(f"1 file: {len(original):,} bytes in, {size:,} bytes out, ")
    assert f" {8 * size / (96 * 64):.3f} bpp, " in result.stderr

    result = run_ok("decode", "photo.vqc")
    assert "photo.png is there already; wrote photo.decoded.png" in result.stderr
    assert Path("photo.png").read_bytes() == original
    with Image.open("photo.decoded.png") as decoded:
        assert (decoded.size, decoded.mode) == ((96, 64), "RGB")
        assert psnr(decoded, photo_png) > 25

    Path("photo.png").unlink()
    assert "already" not in run_ok("decode", "photo.vqc").stderr
    assert Path("photo.png").read_bytes() == Path("photo.decoded.png").read_bytes()


def test_force_never_reaches_the_original(photo_png: Image.Image) -> None:
    original = Path("photo.png").read_bytes()
    run_ok("encode", "photo.png")
    for _ in range(2):
        run_ok("decode", "photo.vqc", "-f")
    assert Path("photo.png").read_bytes() == original
    assert vqcodec_("decode", "photo.vqc").exit_code == 1


def test_quality_reaches_the_file(photo_png: Image.Image) -> None:
    for quality in ("10", "90"):
        run_ok("encode", "photo.png", "-q", quality, "-o", f"{quality}.vqc")
        assert unpack(Path(f"{quality}.vqc").read_bytes()).header.quality == int(quality)
    assert Path("10.vqc").stat().st_size < Path("90.vqc").stat().st_size


def test_tune_chooses_the_weights(photo_png: Image.Image) -> None:
    for tune, name in weights.TUNED.items():
        run_ok("encode", "photo.png", "--tune", tune, "-o", f"{tune}.vqc")
        header, _ = read_header(Path(f"{tune}.vqc").read_bytes())
        assert header.model_id == weights.find(name).model_id
        run_ok("decode", f"{tune}.vqc")
        assert psnr(Image.open(f"{tune}.png"), photo_png) > 25


def test_a_target_in_decibels_is_reached_by_the_tune_for_it(photo_png: Image.Image) -> None:
    run_ok("encode", "photo.png", "--psnr", "30")
    header, _ = read_header(Path("photo.vqc").read_bytes())
    assert header.model_id == weights.find(weights.TUNED["psnr"]).model_id


def test_streams_carry_the_same_bytes_as_files(photo_png: Image.Image) -> None:
    run_ok("encode", "photo.png")
    encoded = run_ok("encode", "-", stdin=Path("photo.png").read_bytes()).stdout_bytes
    assert encoded == Path("photo.vqc").read_bytes()
    run_ok("decode", "photo.vqc")
    assert run_ok("decode", "-", stdin=encoded).stdout_bytes == (
        Path("photo.decoded.png").read_bytes()
    )
    assert run_ok("decode", "photo.vqc", "-o", "-").stdout_bytes.startswith(b"\x89PNG")


def test_the_suffix_says_the_format(photo_png: Image.Image) -> None:
    run_ok("encode", "photo.png")
    for suffix, image_format in ((".jpg", "JPEG"), (".webp", "WEBP"), (".tif", "TIFF")):
        run_ok("decode", "photo.vqc", "-o", f"x{suffix}")
        with Image.open(f"x{suffix}") as image:
            assert (image.format, image.size) == (image_format, (96, 64))


def test_many_files_at_once_give_what_one_at_a_time_gives(photo_png: Image.Image) -> None:
    Path("album/sub").mkdir(parents=True)
    for index, name in enumerate(("a", "b", "sub/c")):
        photo_png.rotate(90 * index, expand=True).save(f"album/{name}.png")
    run_ok("encode", "album", "-o", "one")
    run_ok("encode", "album", "-o", "three", "-j", "3")
    for name in ("a.vqc", "b.vqc", "sub/c.vqc"):
        assert Path("one", name).read_bytes() == Path("three", name).read_bytes()
    run_ok("decode", "three", "-o", "pictures", "-j", "2")
    with Image.open("pictures/sub/c.png") as image:
        assert image.size == (96, 64)


def test_one_bad_file_does_not_stop_the_others(photo_png: Image.Image) -> None:
    Path("bad.png").write_bytes(b"no picture")
    photo_png.save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:200])
    result = vqcodec_("encode", "bad.png", "cut.png", "photo.png")
    assert result.exit_code == 1
    bad, cut, summary = result.stderr.splitlines()
    assert bad == "bad.png: not an image that Pillow can read"
    assert cut.startswith("cut.png: the image cannot be read")
    assert summary.startswith("1 file, 2 failed: ")
    assert sorted(path.name for path in Path().glob("*.vqc")) == ["photo.vqc"]

    Path("foreign.vqc").write_bytes(FOREIGN)
    Path("cut.vqc").write_bytes(Path("photo.vqc").read_bytes()[:-9])
    result = vqcodec_("decode", "foreign.vqc", "cut.vqc", "bad.png", "photo.vqc")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "foreign.vqc",
        "cut.vqc",
        "bad.png",
        "photo.vqc",
        "1 file, 3 failed",
    ]
    assert "00010203" in result.stderr


def test_what_is_converted_is_said(codec: Codec) -> None:
    Image.new("CMYK", (32, 32), (10, 20, 30, 40)).save("print.tif")
    result = run_ok("encode", "print.tif")
    assert result.stderr.startswith("print.tif: CMYK converted to RGB")


def test_a_format_that_cannot_hold_the_picture_is_an_error(codec: Codec) -> None:
    opacity = Image.linear_gradient("L").resize((32, 32))
    picture = Image.new("RGB", (32, 32), "teal")
    picture.putalpha(opacity)
    picture.save("logo.png")
    run_ok("encode", "logo.png")
    result = vqcodec_("decode", "logo.vqc", "-o", "logo.jpg")
    assert result.exit_code == 1
    assert result.stderr.startswith("logo.vqc: JPEG cannot hold this image")
    assert not Path("logo.jpg").exists()
    png = run_ok("decode", "logo.vqc", "-o", "-").stdout_bytes
    assert Image.open(io.BytesIO(png)).getchannel("A").tobytes() == opacity.tobytes()


def test_models_lists_the_one_that_info_names(photo_png: Image.Image) -> None:
    run_ok("encode", "photo.png")
    facts = json.loads(run_ok("info", "--json", "photo.vqc").stdout)
    assert f"{facts['model']}  {facts['model_id']}" in run_ok("models").stdout
    assert facts["sound"]


def test_an_unknown_model_is_one_line(photo_png: Image.Image) -> None:
    result = vqcodec_("encode", "photo.png", "--model", "no-such-model")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "no-such-model" in result.stderr
    assert len(result.stderr.splitlines()) == 1
