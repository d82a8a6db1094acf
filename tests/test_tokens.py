"""Tokens out of the codec and back: the flat order, tables of them, and the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from program import vqcodec_

import vqcodec
from vqcodec import token_files
from vqcodec.codec.tokens import LevelShape, Tokens, from_flat, places
from vqcodec.entropy.schedule import phase_positions

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.entropy.levels import Indices

# Two groups, one of which has more codewords than a byte tells apart.
SHAPES = (LevelShape(1, 2, 1, (2,), (300,)), LevelShape(4, 6, 3, (1, 2), (7, 900)))
FORMATS = ["npz", "parquet"]


@pytest.fixture
def made_up() -> Tokens:
    """Indices of a model that there is none of, each another number."""
    rng = np.random.default_rng(0)
    wide, narrow = rng.integers(0, 300, (2, 2)), rng.integers(0, 7, (1, 24))
    numbers = np.arange(48, dtype=np.uint16).reshape(2, 24)
    indices: Indices = [[wide.astype(np.uint16)], [narrow.astype(np.uint8), numbers]]
    return Tokens(indices, SHAPES, 96, 64, 33, b"\1\2\3\4", gray=True)


def assert_same(tokens: Tokens, others: Tokens) -> None:
    for level, other in zip(tokens.indices, others.indices, strict=True):
        for group, other_group in zip(level, other, strict=True):
            assert group.dtype == other_group.dtype
            assert np.array_equal(group, other_group)
    fields = ("shapes", "width", "height", "quality", "model_id", "gray")
    assert all(getattr(tokens, name) == getattr(others, name) for name in fields)


# The flat order


def test_the_flat_order_is_the_one_documented(made_up: Tokens) -> None:
    expected = []
    for shape, groups in zip(SHAPES, made_up.indices, strict=True):
        for phase in range(shape.phases):
            for position in phase_positions(shape.phases, phase, shape.rows, shape.columns):
                expected += [int(book[position]) for group in groups for book in group]
    flat = made_up.flat()
    assert flat.dtype == np.uint16
    assert flat.tolist() == expected
    assert_same(replace(made_up, indices=from_flat(flat, SHAPES)), made_up)


def test_places_say_where_each_token_belongs(made_up: Tokens) -> None:
    for token, place in zip(made_up.flat(), places(SHAPES), strict=True):
        shape = SHAPES[place["level"]]
        books = np.concatenate([group.astype(int) for group in made_up.indices[place["level"]]])
        position = place["row"] * shape.columns + place["column"]
        assert books[place["codebook"], position] == token
        assert position in phase_positions(shape.phases, place["phase"], shape.rows, shape.columns)
    order = places(SHAPES)[["level", "phase", "row", "column", "codebook"]].tolist()
    assert order == sorted(order)
    assert len(set(order)) == len(order)


def test_a_sequence_of_another_length_is_refused(made_up: Tokens) -> None:
    with pytest.raises(vqcodec.CorruptError, match="75 tokens are not those"):
        from_flat(made_up.flat()[:-1], SHAPES)


# Tables


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_gives_back_what_it_was_given(
    made_up: Tokens, tiny_codec: Codec, photo: Image.Image, suffix: str, tmp_path: Path
) -> None:
    need(suffix)
    path = tmp_path / f"codes.{suffix}"
    rows = [("one", made_up), ("zwei ü", tiny_codec.tokenize(photo)), ("one", made_up)]
    token_files.write(path, rows)
    found = list(token_files.read(path))
    assert [name for name, _ in found] == ["one", "zwei ü", "one"]
    for (_, tokens), (_, other) in zip(found, rows, strict=True):
        assert_same(tokens, other)
    with pytest.raises(FileExistsError):
        token_files.write(path, rows)
    token_files.write(path, [], force=True)
    assert list(token_files.read(path)) == []


def test_parquet_has_the_columns_that_are_documented(made_up: Tokens, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="takes vqcodec[tokens]")
    token_files.write(tmp_path / "codes.parquet", [("one", made_up)])
    table = parquet.read_table(tmp_path / "codes.parquet")
    (row,) = table.to_pylist()
    assert row.keys() == {
        "name", "width", "height", "gray", "quality", "model_id", "levels", "tokens",
    }  # fmt: skip
    assert row["tokens"] == made_up.flat().tolist()
    assert row["levels"][1] == {
        "rows": 4, "columns": 6, "phases": 3, "codebooks": [1, 2], "codewords": [7, 900],
    }  # fmt: skip
    assert (row["quality"], row["model_id"]) == (33, "01020304")


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_no_table_of_tokens(suffix: str, tmp_path: Path, made_up: Tokens) -> None:
    need(suffix)
    path = tmp_path / f"codes.{suffix}"
    path.write_bytes(b"something else")
    with pytest.raises(vqcodec.CorruptError, match="not a table of tokens"):
        list(token_files.read(path))
    if suffix == "npz":
        np.savez(path, width=np.zeros(3))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"width": [1, 2]}), path)
    with pytest.raises(vqcodec.CorruptError, match="not a table of tokens"):
        list(token_files.read(path))
    with pytest.raises(ValueError, match="ends in neither"):
        token_files.write(tmp_path / "codes.csv", [("one", made_up)])


def need(suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="takes vqcodec[tokens]")


def test_tokens_that_are_none_of_a_picture_are_refused(
    tiny_codec: Codec, photo: Image.Image
) -> None:
    tokens = tiny_codec.tokenize(photo)
    with pytest.raises(vqcodec.CorruptError, match="not those of a picture of 500x64 pixels"):
        tiny_codec.render(replace(tokens, width=500))
    level, words = next(
        (level, shape.codewords[0])
        for level, shape in enumerate(tokens.shapes)
        if shape.codewords[0] < 256
    )
    tokens.indices[level][0][0, 0] = words
    with pytest.raises(vqcodec.CorruptError, match=f"token {words} of a codebook of {words}"):
        tiny_codec.render(tokens)


# The command line


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.usefixtures("workplace")
def test_a_table_of_pictures_and_files_renders_to_what_files_decode_to(
    photo: Image.Image, suffix: str
) -> None:
    need(suffix)
    Path("in").mkdir()
    photo.save("in/a.png")
    gray = photo.convert("L")
    gray.save("in/b.png")
    Path("in/c.vqc").write_bytes(vqcodec.encode(photo.resize((50, 30)), quality=80, tune="psnr"))
    Path("in/d.png").write_bytes(b"broken")
    result = vqcodec_("tokens", "in", "-q", "30", "-o", f"codes.{suffix}")
    assert result.exit_code == 1
    problem, summary = result.stderr.splitlines()
    assert problem.startswith("in/d.png: ")
    assert summary.startswith("3 images, 1 failed: ")
    rows = dict(token_files.read(f"codes.{suffix}"))
    assert list(rows) == ["in/a.png", "in/b.png", "in/c.vqc"]
    files = {
        "in/a.png": vqcodec.encode(photo, quality=30),
        "in/b.png": vqcodec.encode(gray, quality=30),
        "in/c.vqc": Path("in/c.vqc").read_bytes(),
    }
    for name, data in files.items():
        picture, decoded = vqcodec.render(rows[name]), vqcodec.decode(data)
        assert (picture.mode, picture.size) == (decoded.mode, decoded.size)
        assert picture.tobytes() == decoded.tobytes()
    again = vqcodec_("tokens", "in/a.png", "-o", f"codes.{suffix}")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


@pytest.mark.usefixtures("workplace")
def test_what_the_command_leaves_out_and_refuses(photo: Image.Image) -> None:
    photo.putalpha(photo.convert("L"))
    photo.save("a.png")
    Path("a.vqc").write_bytes(vqcodec.encode(photo))
    result = vqcodec_("tokens", "a.png", "a.vqc", "-o", "codes.npz")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == [
        "a.png: alpha left out", "a.vqc: the alpha of the file left out",
    ]  # fmt: skip
    one, other = token_files.read("codes.npz")
    assert_same(one[1], other[1])
    for arguments, said in [
        (("a.png", "-o", "codes.csv"), "ends in neither .parquet nor .npz"),
        (("a.png", "-", "-o", "b.npz"), "must be the only input"),
        (("a.png", "-o", "b.npz", "--tune", "psnr", "--model", "photo-6-psnr"), "tune or model"),
    ]:
        result = vqcodec_("tokens", *arguments)
        assert result.exit_code == 2
        assert said in result.stderr.splitlines()[-1]
    result = vqcodec_("tokens", "nowhere.png", "-o", "b.npz")
    assert result.exit_code == 1
    assert not Path("b.npz").exists()


def test_bits_of_a_table(
    tiny_codec: Codec, tiny_weights: Path, photo: Image.Image, tmp_path: Path
) -> None:
    from train.tokens import main

    rows = [(str(q), tiny_codec.tokenize(photo, quality=q)) for q in (20, 70)]
    token_files.write(tmp_path / "codes.npz", rows)
    arguments = [str(tmp_path / "codes.npz"), "--model", str(tiny_weights)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    _, _, *levels, total = (
        [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        for line in result.stdout.splitlines()
    )
    bits = np.sum([tiny_codec.bits(tokens) for _, tokens in rows], axis=0)
    assert [float(row[4]) for row in levels] == pytest.approx(bits, abs=0.5)
    assert [int(row[3]) for row in levels] == [2 * shape.size for shape in rows[0][1].shapes]
    size = sum(len(tokens.flat()) for _, tokens in rows)
    assert float(total[5]) == pytest.approx(bits.sum() / size, abs=6e-4)
    assert float(total[6]) == pytest.approx(bits.sum() / (2 * 96 * 64), abs=6e-5)
    token_files.write(tmp_path / "codes.npz", [], force=True)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "not those of one model" in result.stderr
