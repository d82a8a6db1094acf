"""Previews: the search within a budget of bytes, the placeholders, the means over the images."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import codecs, hashes, metrics, preview, preview_summary, tables
from benchmarks.preview import highest_quality, search, shown

# ThumbHash's own example, flower.jpg (75x100), as the tests of its ports have it.
FLOWER = base64.b64decode("k0oGLQaSVsN0BVhn2oq2Z5SQUQcZ")
# The example on BlurHash's page, 4x3 components.
BLURRED = b"LEHV6nWB2yk8pyo0adR*.7kCMdnj"


@pytest.fixture
def folder(tmp_path: Path, photo: Image.Image) -> Path:
    """Two photographs, one of them upright."""
    path = tmp_path / "photos"
    path.mkdir()
    photo.save(path / "1.png")
    photo.transpose(Image.Transpose.ROTATE_90).resize((171, 257)).save(path / "2.png")
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(preview.main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def hash_or_skip(name: str) -> hashes.Hash:
    try:
        return hashes.build(name)
    except codecs.CodecUnavailableError as error:
        pytest.skip(str(error))


# The search


def test_a_photograph_is_shown_at_256_pixels_and_never_enlarged(photo: Image.Image) -> None:
    assert shown(Image.new("RGB", (768, 512))).size == (256, 171)
    assert shown(Image.new("RGB", (512, 768))).size == (171, 256)
    assert shown(photo).tobytes() == photo.tobytes()


@pytest.mark.parametrize("budget", [10, 299, 300, 305, 1290, 1300, 5000])
def test_highest_quality_is_the_last_that_fits(budget: int) -> None:
    sizes = {quality: 290 + 10 * quality for quality in range(1, 101)}
    expected = max((quality for quality, size in sizes.items() if size <= budget), default=0)
    assert highest_quality(lambda quality: bytes(sizes[quality]), budget) == expected


def test_search_finds_what_trying_everything_finds(photo: Image.Image) -> None:
    codec = codecs.build("webp")
    budgets = (60, 90, 120, 400)
    found = search(codec, photo, budgets)
    tried = []
    for scale in preview.SCALES:
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        small = photo.resize(size, Image.Resampling.LANCZOS)
        for quality in range(1, 101):
            data = codec.encode(small, quality)
            if len(data) <= max(budgets):
                picture = codec.decode(data).resize(photo.size, Image.Resampling.LANCZOS)
                tried.append((len(data), metrics.psnr(photo, picture)))
    for budget in budgets:
        best = max(psnr for size, psnr in tried if size <= budget)
        assert (chosen := found[budget]) is not None
        assert chosen.num_bytes <= budget
        assert best - 0.3 < chosen.psnr <= best


def test_more_bytes_never_show_less(photo: Image.Image) -> None:
    budgets = (280, 350, 500, 1000)
    found = search(codecs.build("jpeg", progressive=False), photo, budgets)
    psnrs = [chosen.psnr for budget in budgets if (chosen := found[budget])]
    assert len(psnrs) >= 3
    assert psnrs == sorted(psnrs)


def test_search_finds_nothing_where_headers_alone_are_larger(photo: Image.Image) -> None:
    assert search(codecs.build("jpeg"), photo, (50,)) == {50: None}


def test_squeezed_jpeg_is_smaller_than_that_of_the_other_benchmarks() -> None:
    image = Image.new("RGB", (32, 32), (90, 120, 60))
    sizes = [
        len(codecs.build("jpeg", **options).encode(image, 50))
        for options in (preview.SQUEEZED["jpeg"], {})
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("name", [name for name in preview.SEARCHED if name != "vqcodec"])
def test_every_codec_takes_the_whole_scale_of_qualities(name: str) -> None:
    try:
        codec = codecs.build(name, **preview.SQUEEZED.get(name, {}))
    except codecs.CodecUnavailableError as error:
        pytest.skip(str(error))
    image = Image.linear_gradient("L").resize((12, 8)).convert("RGB")
    for quality in (1, preview.QUALITIES):
        assert codec.decode(codec.encode(image, quality)).size == (12, 8)


# Placeholders


def test_blurhash_draws_the_reference_hash() -> None:
    picture = hash_or_skip("blurhash").render(BLURRED, (32, 24))
    assert picture.size == (32, 24)
    # The average colour, written in characters 3 to 6 of any BlurHash, here "V6nW" of base 83.
    digits = ["0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
              .index(chr(c)) for c in BLURRED[2:6]]  # fmt: skip
    average = sum(digit * 83**power for power, digit in enumerate(reversed(digits)))
    light = (np.asarray(picture, dtype=float) / 255) ** 2.2  # BlurHash averages light, not codes
    measured = 255 * light.mean(axis=(0, 1)) ** (1 / 2.2)
    assert measured == pytest.approx([average >> 16, average >> 8 & 255, average & 255], abs=6)


def test_thumbhash_draws_the_published_hash() -> None:
    picture = hash_or_skip("thumbhash").render(FLOWER, (75, 100))
    assert picture.size == (75, 100)
    # Luminance and the two colour axes are the first three numbers of a ThumbHash, 6 bits each.
    header = int.from_bytes(FLOWER[:3], "little")
    luminance, yellow, red = header & 63, header >> 6 & 63, header >> 12 & 63
    r, g, b = np.asarray(picture, dtype=float).mean(axis=(0, 1)) / 255
    assert (r + g + b) / 3 == pytest.approx(luminance / 63, abs=0.02)
    assert (r + g) / 2 - b == pytest.approx(yellow / 31.5 - 1, abs=0.05)
    assert r - g == pytest.approx(red / 31.5 - 1, abs=0.05)


@pytest.mark.parametrize(("name", "num_bytes"), [("blurhash", 28), ("thumbhash", 21)])
def test_placeholders_show_where_it_is_dark(name: str, num_bytes: int) -> None:
    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")  # black at the top
    made = hash_or_skip(name)
    data = made.encode(image)
    assert len(data) <= num_bytes
    rows = np.asarray(made.render(data, image.size), dtype=float).mean(axis=(1, 2))
    assert rows[:4].max() < 60
    assert rows[-4:].min() > 190


@pytest.mark.parametrize("size", [(48, 32), (32, 48)])
def test_blurhash_has_more_components_along_the_longer_side(size: tuple[int, int]) -> None:
    data = hash_or_skip("blurhash").encode(Image.new("RGB", size, (10, 200, 90)))
    first = 3 + 2 * 9 if size[0] > size[1] else 2 + 3 * 9  # (across - 1) + 9 (down - 1)
    assert data[:1] == b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[first : first + 1]


# Measuring


def test_preview_writes_bytes_and_psnr_of_real_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.csv"
    run(folder, "-o", out, "-c", "webp", "-b", "40", "-b", "300")
    rows = tables.read_csv(out)
    assert [(row["image"], row["width"], row["height"], row["budget"]) for row in rows] == [
        ("1.png", "96", "64", "40"), ("1.png", "96", "64", "300"),
        ("2.png", "170", "256", "40"), ("2.png", "170", "256", "300"),
    ]  # fmt: skip
    last = rows[-1]
    image = shown(Image.open(folder / "2.png").convert("RGB"))
    small = image.resize(
        (round(170 * float(last["scale"])), round(256 * float(last["scale"]))),
        Image.Resampling.LANCZOS,
    )
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=int(last["quality"]), method=6)
    assert int(last["bytes"]) == len(stream.getvalue()) <= 300
    picture = Image.open(stream).convert("RGB").resize(image.size, Image.Resampling.LANCZOS)
    assert float(last["psnr"]) == pytest.approx(metrics.psnr(image, picture), abs=1e-4)
    assert [bool(row["ms_ssim"]) for row in rows] == [False, False, bool(rows[2]["bytes"]), True]


def test_preview_says_that_no_file_is_so_small_and_continues(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "preview.csv"
    arguments = (folder, "-o", out, "-c", "jpeg", "-c", "thumbhash", "-b", "20")
    hash_or_skip("thumbhash")
    run(*arguments)
    rows = tables.read_csv(out)
    assert [(row["codec"], row["budget"], bool(row["bytes"])) for row in rows] == [
        ("jpeg", "20", False), ("thumbhash", "", True),
        ("jpeg", "20", False), ("thumbhash", "", True),
    ]  # fmt: skip
    assert "4 rows were there, 0 to measure" in run(*arguments)
    assert "4 rows were there, 2 to measure" in run(*arguments, "-b", "30")


def test_preview_skips_a_codec_that_is_not_here(folder: Path, tmp_path: Path) -> None:
    missing = ("-c", "vqcodec", "--model", tmp_path / "missing.safetensors")
    said = run(folder, "-o", tmp_path / "p.csv", "-c", "webp", "-b", "90", *missing)
    assert "skipping vqcodec" in said
    assert {row["codec"] for row in tables.read_csv(tmp_path / "p.csv")} == {"webp"}


# Means


def made_row(image: str, codec: str, budget: str, psnr: str) -> tables.Row:
    row = dict.fromkeys(preview.FIELDS, "") | {"dataset": "made", "codec_version": "1"}
    row |= {"image": image, "codec": codec, "budget": budget, "psnr": psnr}
    return row | ({"bytes": "90", "ms_ssim": "0.7"} if psnr else {})


def test_summary_averages_over_images_and_counts_those_that_fit(tmp_path: Path) -> None:
    rows = [
        made_row("1", "webp", "50", ""), made_row("2", "webp", "50", "20"),
        made_row("1", "webp", "100", "21"), made_row("2", "webp", "100", "24"),
        made_row("1", "thumbhash", "", "17"), made_row("2", "thumbhash", "", "18"),
    ]  # fmt: skip
    source, out = tmp_path / "preview.csv", tmp_path / "means.csv"
    tables.write_csv(source, preview.FIELDS, rows)
    result = CliRunner().invoke(preview_summary.main, [str(source), "--csv", str(out)])
    assert result.exit_code == 0, result.output
    assert "| PSNR | own size | 50 bytes | 100 bytes |" in result.output
    assert "| webp |  | – (1) | 22.50 |" in result.output
    assert "| thumbhash | 17.50 (90 bytes) |  |  |" in result.output
    assert "made (2 images), shown at 256 pixels" in result.output
    assert [row["psnr"] for row in tables.read_csv(out)] == ["", "22.5000", "17.5000"]


def test_summary_refuses_an_unfinished_run_and_mixed_versions() -> None:
    rows = [made_row(image, "webp", "50", "20") for image in ("1", "2")]
    with pytest.raises(ValueError, match="1 of 2 images"):
        list(preview_summary.means([*rows, made_row("1", "jxl", "50", "20")]))
    with pytest.raises(ValueError, match="two versions of webp"):
        list(preview_summary.means([rows[0], rows[1] | {"codec_version": "2"}]))
    with pytest.raises(ValueError, match="one set"):
        list(preview_summary.means([rows[0], rows[1] | {"dataset": "other"}]))
