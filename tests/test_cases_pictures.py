"""Pictures from the field: what alpha hides, gray that is stored as colour, alpha under a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vqcodec import metrics
from vqcodec.codec.codec import Codec
from vqcodec.errors import TargetError
from vqcodec.fileformat.container import ChunkTag, unpack
from vqcodec.fileformat.hidden import fill_hidden
from vqcodec.fileformat.image import prepare
from vqcodec.fileformat.truncate import truncate

Array = NDArray[np.uint8]


def disc(size: tuple[int, int], *, soft: bool = False) -> Image.Image:
    """Opacity: a disc of 255 on 0, with a rim in between if `soft`."""
    width, height = size
    opacity = Image.new("L", (4 * width, 4 * height))
    box = (width, height // 2, 3 * width, 3 * height)
    ImageDraw.Draw(opacity).ellipse(box, fill=255)
    how = Image.Resampling.BOX if soft else Image.Resampling.NEAREST
    return opacity.resize(size, how)


def hidden(photo: Image.Image, opacity: Image.Image) -> dict[str, Image.Image]:
    """The same sprite with several colours where opacity is 0."""
    noise = np.random.default_rng(0).integers(0, 256, (photo.height, photo.width, 3))
    under = {
        "black": Image.new("RGB", photo.size),
        "magenta": Image.new("RGB", photo.size, "magenta"),
        "noise": Image.fromarray(noise.astype(np.uint8)),
    }
    shown = opacity.point(lambda value: 255 if value else 0)
    for image in under.values():
        image.paste(photo, mask=shown)
        image.putalpha(opacity)
    return under


# D9: colours under alpha 0


@pytest.mark.parametrize("soft", [False, True])
def test_d9_what_is_hidden_costs_nothing(codec: Codec, photo: Image.Image, soft: bool) -> None:
    opacity = disc(photo.size, soft=soft)
    files = [codec.encode(image, quality=50) for image in hidden(photo, opacity).values()]
    assert files[0] == files[1] == files[2]
    decoded = codec.decode(files[0])
    assert decoded.mode == "RGBA"
    assert decoded.getchannel("A").tobytes() == opacity.tobytes()


def test_d9_the_rim_is_as_good_as_without_alpha(codec: Codec, photo: Image.Image) -> None:
    opacity = disc(photo.size)
    visible = np.asarray(opacity) > 0

    def shown(image: Image.Image) -> float:
        decoded = codec.decode(codec.encode(image, quality=50)).convert("RGB")
        return metrics.psnr(np.asarray(photo)[visible], np.asarray(decoded)[visible])

    for name, image in hidden(photo, opacity).items():
        assert shown(image) > shown(photo) - 1, name


def test_d9_visible_colours_are_left_alone(photo: Image.Image) -> None:
    alpha = np.array(disc(photo.size, soft=True))
    assert {0, 255} < set(np.unique(alpha))
    filled = np.asarray(fill_hidden(photo, alpha))
    assert np.array_equal(filled[alpha > 0], np.asarray(photo)[alpha > 0])
    photo.putalpha(Image.fromarray(alpha))
    prepared = prepare(photo)
    assert prepared.alpha is not None
    assert np.array_equal(prepared.alpha, alpha)
    assert np.array_equal(prepared.pixels, filled)


def test_d9_holes_are_filled_with_what_is_around_them() -> None:
    y, x = np.mgrid[0:90, 0:130].astype(float)
    plane = np.stack([60 + x, 200 - y, 20 + x / 2 + y], axis=-1).astype(np.uint8)
    alpha = np.full(x.shape, 255, np.uint8)
    alpha[30:60, 40:90] = 0
    wild = np.where(alpha[..., None] > 0, plane, np.uint8(255))
    filled = np.asarray(fill_hidden(Image.fromarray(wild), alpha))
    assert abs(filled.astype(int) - plane).mean(axis=(0, 1)).max() < 1
    steps = abs(np.diff(filled.astype(int), axis=0)).max(), abs(np.diff(filled.astype(int))).max()
    assert steps[0] <= 8, "there is no edge at the rim or within"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (64, 1), (7, 5)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_d9_one_visible_pixel_colours_all(size: tuple[int, int], mode: str) -> None:
    image = Image.new(mode, size, 255)
    colour: int | tuple[int, ...] = 70 if mode == "L" else (70, 80, 90)
    image.putpixel((0, 0), colour)
    alpha = np.zeros(size[::-1], np.uint8)
    assert not np.asarray(fill_hidden(image, alpha)).any(), "none is visible"
    alpha[0, 0] = 1
    off = np.asarray(fill_hidden(image, alpha)).astype(int) - colour
    assert abs(off).max() <= 2  # of averages in 8 bits


@pytest.mark.slow
def test_d9_twelve_megapixels_take_seconds() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), np.uint8))
    begin = time.perf_counter()
    fill_hidden(image, np.array(disc(image.size)))
    assert time.perf_counter() - begin < 10


@pytest.mark.filterwarnings("ignore:palette expanded")
@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_d9_alpha_that_is_opaque_is_no_alpha(codec: Codec, photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode.removesuffix("A"))
    plain = codec.encode(image.convert("RGB") if mode == "PA" else image)
    image.putalpha(255)
    assert image.mode == mode
    assert prepare(image).alpha is None
    assert codec.encode(image) == plain
    image.putalpha(254)
    assert set(unpack(codec.encode(image)).chunks) == {ChunkTag.ALPHA}


# N1: gray


def as_palette(gray: Image.Image) -> Image.Image:
    return gray.convert("P")


def as_rgba(gray: Image.Image) -> Image.Image:
    image = gray.convert("RGBA")
    image.putalpha(disc(gray.size))
    return image


def over_magenta(gray: Image.Image) -> Image.Image:
    return hidden(gray.convert("RGB"), disc(gray.size))["magenta"]


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_n1_gray_stored_as_colour_stays_gray(
    codec: Codec, photo: Image.Image, quality: int
) -> None:
    gray = photo.convert("L")
    data = codec.encode(gray.convert("RGB"), quality=quality)
    assert data == codec.encode(gray, quality=quality)
    red, green, blue = codec.decode(data).convert("RGB").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


@pytest.mark.parametrize("disguise", [as_palette, as_rgba, over_magenta])
def test_n1_gray_is_found_in_every_mode(
    photo: Image.Image, disguise: Callable[[Image.Image], Image.Image]
) -> None:
    assert prepare(disguise(photo.convert("L"))).gray


def test_n1_one_coloured_pixel_is_colour(photo: Image.Image) -> None:
    image = photo.convert("L").convert("RGB")
    image.putpixel((3, 4), (10, 10, 11))
    assert not prepare(image).gray


# D10: alpha under a limit on size


def noisy_alpha(photo: Image.Image) -> Image.Image:
    """The photograph with an alpha of some 5 kB."""
    image = photo.copy()
    noise = np.random.default_rng(0).integers(0, 256, (photo.height, photo.width), np.uint8)
    image.putalpha(Image.fromarray(noise))
    return image


@pytest.mark.parametrize("target", [{"max_bytes": 3000}, {"bpp": 4.0}])
def test_d10_a_size_without_room_for_alpha_is_refused(
    codec: Codec, photo: Image.Image, target: dict[str, Any]
) -> None:
    image = noisy_alpha(photo)
    alpha = len(unpack(codec.encode(image)).chunks[ChunkTag.ALPHA])
    assert alpha > 5000
    with pytest.raises(TargetError, match=f"its alpha alone takes {alpha}$"):
        codec.encode(image, **target)


@pytest.mark.parametrize("spare", [40, 300, 4000])
def test_d10_alpha_stays_exact_and_colours_give_way(
    codec: Codec, photo: Image.Image, spare: int
) -> None:
    image = noisy_alpha(photo)
    alpha = len(unpack(codec.encode(image)).chunks[ChunkTag.ALPHA])
    data = codec.encode(image, max_bytes=alpha + spare)
    assert len(data) <= alpha + spare
    assert codec.decode(data).getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_d10_truncating_keeps_alpha_or_refuses(codec: Codec, photo: Image.Image) -> None:
    image = noisy_alpha(photo)
    data = codec.encode(image, quality=80)
    alpha = unpack(data).chunks[ChunkTag.ALPHA]
    smaller, notes = truncate(data, len(alpha) + 60)
    assert (unpack(smaller).chunks, notes) == ({ChunkTag.ALPHA: alpha}, [])
    with pytest.raises(TargetError, match=f"its alpha alone takes {len(alpha)}$"):
        truncate(data, len(alpha))
