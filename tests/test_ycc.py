"""What images were before they were RGB, found from their pixels."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vqcodec import weights
from vqcodec.commands.main import cli
from vqcodec.density import ycc
from vqcodec.density.measure import bit_map, measure
from vqcodec.density.store import load
from vqcodec.density.ycc import (
    JFIF,
    PHOTO_CD,
    SPACES,
    Seen,
    as_recorded,
    as_stored,
    subtracted,
)
from vqcodec.fileformat.image import Pixels

SAMPLE = Path(__file__).parent.parent / "samples" / "photo.png"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photograph that was scaled, so that its values come from no integers of YCC."""
    return Image.open(SAMPLE).convert("RGB").resize((128, 96), Image.Resampling.LANCZOS)


def jpeg(image: Image.Image, subsampling: int = 2) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling=subsampling)
    return stream.getvalue()


def decoded(data: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def follows(space: ycc.Space, seen: Seen) -> Pixels:
    return space.to_rgb(subtracted(seen.pixels)).astype(np.uint8)


def came_from(space: ycc.Space, seed: int = 0) -> Pixels:
    """Return RGB of random YCC, smooth enough to be clipped here and there alone."""
    rng = np.random.default_rng(seed)
    luma = rng.integers(20, round(240 / space.luma), (48, 40))
    colours = rng.integers(-20, 21, (48, 40, 2))
    return space.to_rgb(np.dstack([luma, colours]).astype(np.int64)).astype(np.uint8)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_jfif_is_what_libjpeg_decodes(photo: Image.Image, subsampling: int) -> None:
    data = jpeg(photo, subsampling)
    raw = Image.open(io.BytesIO(data))
    raw.draft("YCbCr", raw.size)
    planes = np.array(raw).astype(np.int64) - np.array([0, 128, 128])
    np.testing.assert_array_equal(JFIF.to_rgb(planes), decoded(data))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_integers_of_ycc_are_found_again(space: ycc.Space) -> None:
    pixels = came_from(space)
    seen = as_recorded(pixels)
    assert seen.space == space.name
    np.testing.assert_array_equal(follows(space, seen), pixels)


def test_colours_of_kodak_come_from_a_photo_cd() -> None:
    """A few of image 23, and what is not one of them."""
    colours = [[166, 169, 135], [105, 125, 53], [178, 98, 97], [192, 64, 55], [182, 82, 73]]
    # Y, Cb - 156 and Cr - 137 of each.
    before = np.array([[121, -13, 1], [82, -26, -3], [90, -11, 31], [75, -21, 50], [82, -17, 39]])
    np.testing.assert_array_equal(PHOTO_CD.to_rgb(before), colours)


def test_a_decoded_jpeg_file_is_seen_as_its_ycc(photo: Image.Image) -> None:
    pixels = decoded(jpeg(photo))
    seen = as_recorded(pixels)
    assert seen.space == "JFIF"
    assert (follows(JFIF, seen) == pixels).all(2).mean() > 0.999


def test_clipped_colours_are_explained_too(photo: Image.Image) -> None:
    pixels = decoded(jpeg(photo.point(lambda value: min(255, 2 * value))))
    clipped = (pixels == 255).any(2)
    assert 0.4 < clipped.mean() < 0.9
    seen = as_recorded(pixels)
    assert seen.space == "JFIF"
    assert (follows(JFIF, seen) == pixels).all(2)[clipped].mean() > 0.9


def test_other_images_are_seen_as_they_are(photo: Image.Image) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    gray = np.array(photo.convert("L").convert("RGB"))
    for pixels in (np.array(photo), noise, gray):
        seen = as_recorded(pixels)
        assert seen.space == "RGB"
        assert seen.pixels is pixels
        assert seen.nats.sum() == pytest.approx(math.log(3))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_images_of_a_few_pixels(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert as_recorded(pixels).pixels.shape == pixels.shape


def test_what_does_not_follow_is_told_by_itself() -> None:
    pixels = came_from(PHOTO_CD)
    before = as_recorded(pixels)
    assert before.nats.sum() == pytest.approx(math.log(3) + math.log(1921), rel=1e-4)
    pixels[20, 3, 1] += 1
    seen = as_recorded(pixels)
    away = np.abs(follows(PHOTO_CD, seen).astype(int) - pixels)
    assert np.argwhere(away.any(2)).tolist() == [[20, 3]]
    more = float(seen.nats.sum() - before.nats.sum())
    # Where it is, how far off each value is, and that all steps to both sides sum to three.
    expected = math.log(1920) + away.sum() * math.log(2) + 3 * math.log(3)
    assert more == pytest.approx(expected, rel=1e-4)
    assert seen.nats.argmax() == 20 * 40 + 3


def test_an_image_that_is_half_explained_is_seen_as_it_is(photo: Image.Image) -> None:
    both = np.concatenate([decoded(jpeg(photo)), np.array(photo)])
    assert as_recorded(both).space == "RGB"


def test_strips_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = came_from(JFIF)
    whole = as_recorded(pixels)
    monkeypatch.setattr(ycc, "_TOGETHER", 100)
    np.testing.assert_array_equal(as_recorded(pixels).pixels, whole.pixels)


def test_fewer_bits_for_what_a_jpeg_file_held(photo: Image.Image) -> None:
    model = load(weights.find_density(weights.DENSITY))
    pixels = decoded(jpeg(photo))
    stored, seen = measure(model, as_stored(pixels), 1), as_recorded(pixels)
    assert measure(model, seen, 1).elbo < stored.elbo - 0.4
    bits = bit_map(model, seen)
    assert float(bits.mean()) == pytest.approx(measure(model, seen, 1).elbo, rel=1e-5)


def test_command_says_what_an_image_was(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(photo))
    result = CliRunner().invoke(cli, ["bpd", str(path), "-k", "1"])
    assert result.exit_code == 0, result.output
    assert "photo.jpg  128x96, as the YCC of JFIF, bits per dimension" in result.output
