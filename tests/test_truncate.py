"""Files made smaller: by `vqcodec truncate`, which leaves them whole, and by accident."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pictures import psnr
from PIL import Image, ImageFile

import vqcodec.VqcImagePlugin  # noqa: F401  (for Image.open)
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.errors import CorruptError, TargetError, TruncatedError
from vqcodec.fileformat.container import ChunkTag, Container, Header, pack, read_header, unpack
from vqcodec.fileformat.truncate import truncate

STREAM = bytes(range(1, 201))
HEADER = Header(b"\x00\x01\x02\x03", 768, 512, quality=60)
PLAIN = pack(Container(HEADER, payload=STREAM))
CHUNKS = {ChunkTag.ICC: bytes(40), ChunkTag.EXIF: bytes(30), ChunkTag.ALPHA: bytes(50)}
FULL = pack(Container(HEADER, CHUNKS, STREAM))


@pytest.mark.parametrize(("data", "least"), [(PLAIN, 24), (FULL, 80)])
def test_no_longer_than_asked_and_no_shorter_than_a_word(data: bytes, least: int) -> None:
    for size in range(least, len(data) + 3):
        smaller, _ = truncate(data, size)
        assert len(smaller) <= size
        container = unpack(smaller)
        assert STREAM.startswith(container.payload)
        assert container.header.cut == (container.payload != STREAM)
        assert replace(container.header, cut=False) == HEADER
        if container.header.cut:
            assert size - len(smaller) < 5  # a word, and the byte that its number of bytes takes


def test_what_is_small_enough_stays_as_it_is() -> None:
    assert truncate(FULL, len(FULL)) == (FULL, [])


def test_chunks_give_way_to_the_picture_in_order() -> None:
    kept = [set(unpack(truncate(FULL, size)[0]).chunks) for size in range(80, len(FULL))]
    icc, exif, alpha = ChunkTag.ICC, ChunkTag.EXIF, ChunkTag.ALPHA
    order = [{alpha}, {icc, alpha}, {icc, exif, alpha}]
    assert [tags for n, tags in enumerate(kept) if n == 0 or tags != kept[n - 1]] == order
    _, notes = truncate(FULL, 80)
    assert [note.split()[0] for note in notes] == ["EXIF", "ICC"]


def test_a_file_cannot_be_smaller_than_its_frame() -> None:
    for size in range(1, 21):
        with pytest.raises(TargetError, match="than 21 bytes"):
            truncate(PLAIN, size)
    assert unpack(truncate(PLAIN, 21)[0]).payload == b""


def test_a_damaged_file_is_not_made_sound() -> None:
    with pytest.raises(CorruptError):
        truncate(PLAIN[:50] + b"\xff" + PLAIN[51:], 40)
    with pytest.raises(TruncatedError):
        truncate(PLAIN[:-1], 40)


def test_more_bytes_are_a_better_picture(codec: Codec, photo: Image.Image) -> None:
    whole = codec.encode(photo, quality=80)
    sizes = np.geomspace(60, len(whole), 12).astype(int)
    cut = [truncate(whole, int(size))[0] for size in sizes]
    distances = [psnr(photo, codec.decode(data)) for data in cut]
    assert distances[-1] == psnr(photo, codec.decode(whole))
    assert distances[-1] > distances[0] + 8
    assert min(np.diff(distances)) > -0.3, distances
    assert np.mean(np.diff(distances) > 0) > 0.8, distances


def test_cut_file_and_truncated_file_are_the_same_picture(codec: Codec, photo: Image.Image) -> None:
    data = codec.encode(photo, quality=50)
    cut, _ = truncate(data, len(data) // 2)
    stream = unpack(cut).payload
    front = data[: data.index(stream) + len(stream)]
    assert codec.decode(cut).tobytes() == codec.decode(front, partial=True).tobytes()


def test_every_prefix_with_a_header_is_a_picture(codec: Codec, photo: Image.Image) -> None:
    data = codec.encode(photo, quality=30)
    _, header_size = read_header(data)
    for size in (*range(header_size, header_size + 12), len(data) - 5, len(data) - 1):
        assert codec.decode(data[:size], partial=True).size == photo.size
    for size in range(header_size):
        with pytest.raises(TruncatedError):
            codec.decode(data[:size], partial=True)


def test_a_hundred_and_fifty_bytes_show_the_picture(codec: Codec, photo: Image.Image) -> None:
    data = codec.encode(photo, quality=50)
    mean = Image.new("RGB", photo.size, tuple(int(v) for v in np.asarray(photo).mean((0, 1))))
    shown = psnr(photo, codec.decode(data[:150], partial=True))
    assert shown > psnr(photo, mean) + 3


# The command line


def vqcodec_(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_truncate_and_partial(
    codec: Codec, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = codec.encode(photo, quality=60)
    Path("a.vqc").write_bytes(data)
    assert vqcodec_("truncate", "a.vqc", "--max-bytes", "150").exit_code == 0
    assert len(Path("a.cut.vqc").read_bytes()) <= 150
    again = vqcodec_("truncate", "a.vqc", "--max-bytes", "100")
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    assert "front of a longer" in vqcodec_("info", "a.cut.vqc").stdout
    assert Image.open("a.cut.vqc").convert("RGB").size == photo.size
    assert vqcodec_("decode", "a.cut.vqc").exit_code == 0

    Path("b.vqc").write_bytes(data[:150])
    refused = vqcodec_("decode", "b.vqc")
    assert (refused.exit_code, "truncated" in refused.stderr) == (1, True)
    assert vqcodec_("decode", "b.vqc", "--partial").exit_code == 0
    assert Image.open("b.png").size == photo.size
    assert vqcodec_("truncate", "b.vqc", "--max-bytes", "100").exit_code == 1
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert Image.open("b.vqc").convert("RGB").tobytes() == Image.open("b.png").tobytes()


def test_too_few_bytes_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.vqc"
    path.write_bytes(PLAIN)
    result = vqcodec_("truncate", str(path), "--max-bytes", "20")
    assert result.exit_code == 1
    assert "than 21 bytes" in result.stderr.splitlines()[0]
    assert list(tmp_path.iterdir()) == [path]


def test_truncating_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.vqc"
    path.write_bytes(FULL)
    program = (
        "import sys, atexit\n"
        "slow = {'torch', 'numpy', 'PIL', 'constriction', 'safetensors'}\n"
        "atexit.register(lambda: print(sorted(slow & set(sys.modules))))\n"
        "from vqcodec.commands.main import cli\n"
        f"cli(['truncate', {str(path)!r}, '--max-bytes', '90'])\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (out.returncode, out.stdout) == (0, "[]\n"), out.stderr
