"""Large images tile by tile, parts of images, and images at a fraction of their size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pictures import SAMPLE, psnr
from PIL import Image

import vqcodec
import vqcodec.VqcImagePlugin  # for Image.open
from vqcodec.codec import renderer, tiled_encoder, tiles
from vqcodec.codec.codec import Codec
from vqcodec.codec.tiles import Tile, box, pieces, split
from vqcodec.commands.main import cli
from vqcodec.errors import RegionError, TooLargeError
from vqcodec.threads import use


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    """The sample photograph without its last rows and columns: no multiple of anything."""
    return Image.open(SAMPLE).convert("RGB").crop((0, 0, 331, 217))


@pytest.fixture(scope="module")
def file(codec: Codec, sample: Image.Image) -> bytes:
    return codec.encode(sample, quality=70)


def make_tiles_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the sample is many tiles."""
    monkeypatch.setattr(tiles, "SIDE", 22)
    monkeypatch.setattr(tiles, "PIECE_SIDE", 22)
    monkeypatch.setattr(tiles, "DECODED_SIDE", 30)
    monkeypatch.setattr(tiles, "ONE_TILE", 22**2)


def test_tiles_cover_what_is_asked_for_once() -> None:
    for height, width in ((1, 1), (200, 300), (192, 192), (600, 80)):
        for rows, columns in (
            (slice(0, height), slice(0, width)),
            (slice(height // 3, height), slice(0, 1)),
        ):
            seen = np.zeros((height, width), int)
            for tile in split(height, width, rows, columns, 22):
                seen[tile.rows, tile.columns] += 1
                for inner, wide, end in (
                    (tile.rows, tile.wide_rows, height),
                    (tile.columns, tile.wide_columns, width),
                ):
                    assert wide.start % 2 == 0
                    assert inner.stop - inner.start <= tiles.SIDE
                    assert wide.start <= max(0, inner.start - 22)
                    assert wide.stop == min(end, inner.stop + 22)
            assert (seen[rows, columns] == 1).all()
            assert seen.sum() == seen[rows, columns].size


def test_pieces_cover_a_tile_with_its_margin_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiles_small(monkeypatch)
    whole = Tile.whole(90, 70)
    wider = replace(whole, rows=slice(20, 60), columns=slice(0, 50)).narrowed(12)
    tile = wider.narrowed(8)
    seen = np.zeros((90, 70), int)
    for piece in pieces(tile, wider, 4):
        seen[piece.rows, piece.columns] += 1
        for inner, wide, most in (
            (piece.rows, piece.wide_rows, wider.wide_rows),
            (piece.columns, piece.wide_columns, wider.wide_columns),
        ):
            assert wide.start % 2 == 0
            assert most.start <= wide.start <= max(most.start, inner.start - 4)
            assert wide.stop == min(most.stop, inner.stop + 4)
    assert (seen[tile.wide_rows, tile.wide_columns] == 1).all()
    assert seen.sum() == seen[tile.wide_rows, tile.wide_columns].size


def test_a_small_image_is_one_tile_without_a_margin() -> None:
    whole = slice(0, tiles.SIDE)
    (tile,) = split(tiles.SIDE, tiles.SIDE, whole, whole, 22)
    assert tile.inner == (whole, whole)


def test_tiles_change_neither_indices_nor_bytes_nor_pixels(
    codec: Codec, sample: Image.Image, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices, decoded = codec.tokenize(sample, quality=70).indices, np.array(codec.decode(file), int)
    make_tiles_small(monkeypatch)
    tiled = codec.tokenize(sample, quality=70).indices
    for level, other in zip(indices, tiled, strict=True):
        for groups in zip(level, other, strict=True):
            np.testing.assert_array_equal(*groups)
    assert codec.encode(sample, quality=70) == file
    assert abs(np.array(codec.decode(file), int) - decoded).max() <= 1
    encoded = codec.encode_pixels(np.array(sample), 70, with_picture=True)
    assert encoded.picture is not None
    assert abs(encoded.picture.astype(int) - decoded).max() <= 1


def test_tiles_worked_on_at_once_give_the_same(
    tiny_codec: Codec, sample: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny_codec.encode(sample, quality=70)
    make_tiles_small(monkeypatch)
    pictures = []
    for threads in (1, 3):
        with ThreadPoolExecutor(1, initializer=use, initargs=(threads,)) as pool:
            assert pool.submit(tiny_codec.encode, sample, quality=70).result() == file
            pictures.append(pool.submit(tiny_codec.decode, file).result())
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_a_very_large_image_whose_features_are_not_kept_gives_the_same_bytes(
    tiny_codec: Codec, sample: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny_codec.encode(sample, quality=70)
    make_tiles_small(monkeypatch)
    monkeypatch.setattr(tiled_encoder, "KEPT", 0)
    assert tiny_codec.encode(sample, quality=70) == file


def test_an_error_in_a_tile_is_that_of_the_encoder(
    tiny_codec: Codec, sample: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiles_small(monkeypatch)
    before = torch.get_num_threads()

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(tiled_encoder.TiledEncoder, "analysed", fail)
    with pytest.raises(MemoryError, match="no room"):
        tiny_codec.encode(sample, quality=70)
    assert torch.get_num_threads() == before


def test_tiles_in_pytorch_give_the_same(
    tiny_codec: Codec, sample: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_torch = Codec(tiny_codec._loaded, device="cpu", dtype=torch.float32)
    file = in_torch.encode(sample, quality=70)
    whole = np.array(in_torch.decode(file), int)
    make_tiles_small(monkeypatch)
    assert abs(np.array(in_torch.decode(file), int) - whole).max() <= 1
    part = np.array(in_torch.decode(file, region=(40, 30, 200, 150)), int)
    assert abs(part - whole[30:180, 40:240]).max() <= 1


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_tiles_change_no_scale(
    codec: Codec, file: bytes, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    whole = np.array(codec.decode(file, scale=scale), int)
    make_tiles_small(monkeypatch)
    assert abs(np.array(codec.decode(file, scale=scale), int) - whole).max() <= 1


def test_without_what_is_in_reach_tiles_would_show(
    codec: Codec, sample: Image.Image, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How far that is, is tested in test_reach.py: what is farthest has next to no weight here.
    make_tiles_small(monkeypatch)
    decoded = np.array(codec.decode(file), int)
    monkeypatch.setattr(renderer, "reach", lambda config, levels, **_: 0)
    assert abs(np.array(codec.decode(file), int) - decoded).max() > 1


def test_without_what_a_stage_looks_at_its_pieces_would_show(
    codec: Codec, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiles_small(monkeypatch)
    decoded = np.array(codec.decode(file), int)
    monkeypatch.setattr(renderer, "choice_reach", lambda config, levels, **_: 0)
    assert abs(np.array(codec.decode(file), int) - decoded).max() > 1


@pytest.mark.parametrize("region", [(0, 0, 331, 217), (13, 27, 99, 101), (330, 216, 1, 1)])
def test_a_region_is_that_part_of_the_image(
    codec: Codec, file: bytes, region: tuple[int, int, int, int]
) -> None:
    left, upper, width, height = region
    part = codec.decode(file).crop((left, upper, left + width, upper + height))
    decoded = codec.decode(file, region=region)
    assert decoded.size == (width, height)
    assert abs(np.array(decoded, int) - np.array(part, int)).max() <= 1


def test_a_region_of_an_image_with_alpha(codec: Codec, sample: Image.Image) -> None:
    sample = sample.copy()
    sample.putalpha(Image.linear_gradient("L").resize(sample.size))
    data = codec.encode(sample, quality=50)
    part = codec.decode(data, region=(100, 50, 20, 30))
    assert (
        part.getchannel("A").tobytes() == sample.crop((100, 50, 120, 80)).getchannel("A").tobytes()
    )
    small = codec.decode(data, scale=4)
    assert small.getchannel("A").tobytes() == sample.reduce(4).getchannel("A").tobytes()


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 332, 1), (331, 0, 1, 1), (0, 210, 5, 8)]
)
def test_a_region_must_lie_within(codec: Codec, file: bytes, region: tuple[int, ...]) -> None:
    with pytest.raises(RegionError, match="not within the image, 331x217"):
        codec.decode(file, region=region)  # type: ignore[arg-type]
    assert box(None, 5, 7) == (slice(0, 7), slice(0, 5))


def test_scales_are_smaller_pictures_of_the_same(
    codec: Codec, sample: Image.Image, file: bytes
) -> None:
    for scale, least in ((2, 33), (4, 33), (8, 33), (16, 28), (32, 28), (64, 28)):
        small, expected = codec.decode(file, scale=scale), sample.reduce(scale)
        assert small.size == expected.size
        assert psnr(expected, small) > least
    with pytest.raises(ValueError, match="1/3"):
        codec.decode(file, scale=3)
    with pytest.raises(ValueError, match="1/2"):
        codec.decode(file, scale=2, region=(0, 0, 5, 5))


def test_scales_of_a_model_with_fewer_levels(tiny_codec: Codec, sample: Image.Image) -> None:
    data = tiny_codec.encode(sample, quality=50)
    for scale in (1, 2, 4, 8, 16, 32, 64):
        assert tiny_codec.decode(data, scale=scale).size == sample.reduce(scale).size


def test_a_limit_on_pixels(codec: Codec, sample: Image.Image, file: bytes) -> None:
    with pytest.raises(TooLargeError):
        codec.decode(file, max_pixels=331 * 217 - 1)
    assert vqcodec.decode(file, max_pixels=331 * 217).size == sample.size


def test_smaller_pictures_read_less_of_the_file(codec: Codec, file: bytes) -> None:
    # The front of the file is all that a picture of few levels needs.
    whole = codec.decode(file, scale=16)
    front = codec.decode(file[: len(file) // 4], partial=True, scale=16)
    assert front.tobytes() == whole.tobytes()


def test_pillow_takes_a_smaller_picture_for_a_thumbnail(
    codec: Codec, file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.vqc"
    path.write_bytes(file)
    with Image.open(path) as image:
        assert image.draft("L", (40, 40)) == ("RGB", (0, 0, 331 / 4, 217 / 4))
        assert image.size == (83, 55)
        assert image.tobytes() == codec.decode(file, scale=4).tobytes()
        assert image.draft("L", (1, 1)) is None
    with Image.open(path) as image:
        image.thumbnail((60, 60))
        assert image.size == (60, 39)
    with Image.open(path) as image:
        assert image.draft(None, (331, 217)) is None
        assert image.tobytes() == codec.decode(file).tobytes()


def test_options(file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.vqc").write_bytes(file)

    def decode(*arguments: str) -> Result:
        result = CliRunner().invoke(cli, ["decode", "a.vqc", "-f", "-o", "a.png", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    assert decode("--scale", "1/16").exit_code == 0
    assert Image.open("a.png").size == (21, 14)
    assert decode("--region", "30,20,50,40").exit_code == 0
    assert Image.open("a.png").size == (50, 40)
    outside = decode("--region", "300,20,50,40")
    assert (outside.exit_code, outside.stderr.count("not within the image")) == (1, 1)
    assert decode("--region", "1,2,3").exit_code == 2
    assert decode("--region", "1,2,3,4", "--scale", "1/2").exit_code == 2
