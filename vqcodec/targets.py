"""Meeting a target: at most so many bytes, or a picture of no less than so many decibels.

Both grow with quality. The coefficients of an image say roughly how fast, and how far that is off
is told by samples, small pictures made of squares of the image. That forecast picks a quality,
and the file made at it is near enough, or is made to be by what is quickly done: it is cut to the
size, or its finest level is chosen again for the decibels. Else it corrects the forecast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vqcodec.codec import Codec
from vqcodec.container import Container, pack
from vqcodec.errors import TargetError
from vqcodec.image import Pixels, Prepared, assemble, chunks_of
from vqcodec.model.config import PLANES
from vqcodec.model.layers import QUALITIES, log_step_gain, quality_weights
from vqcodec.picture import bordered
from vqcodec.truncate import room, truncate, without_ballast

# Log bytes of a stream: good enough within these of the target. A longer one is cut: up to a tenth,
# that costs little against a lower quality (benchmarks.cuts), which takes time to find.
_LEAST_SIZE, _MOST_SIZE = math.log(0.955), math.log(1.08)
# A picture may be so many dB better than asked.
_SURPLUS = 0.2
# What the forecast has to be shifted by: polynomials of `centred` quality, fitted by train.forecast
# on training photographs. Where they fit worse it takes an attempt more.
LOG_BYTES_SHIFT = (0.167, -0.294, -1.505)
PSNR_SHIFT = (-0.373, 2.632, 19.689)
_BINS = 400
# The finest level is chosen again for a picture that is no more dB off than these. When errors are
# worth 2^-k times as much it loses about _PRICED * k^1.5 dB, at 1 to 3 % more bytes than a lower
# quality would take; when they are worth more it gains little.
_LEAST_SURPLUS, _MOST_SURPLUS = -0.04, 0.45
_PRICED = 0.1
_CHOICES = 4  # of the finest level at a quality
# Samples: one pixel in so many, first to come near and then nearer, in squares of whole blocks of
# the coarser grid, which fade into each other. Of few squares a sample says little, and more than
# many are not needed.
_SHARES = (16, 4)
_SQUARE, _FADE = 64, 8  # pixels
_FEWEST, _MOST = 4, 128
# By how much more a sample is off its own forecast than the image is. From train.forecast too.
SAMPLE_LOG_BYTES, SAMPLE_PSNR = 0.003, -0.148


Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Attempt:
    """The stream that a quality gave, and of what was to be reached: log bytes, or dB."""

    quality: int
    payload: bytes
    value: float


Measure = Callable[[int], Attempt]


def to_size(codec: Codec, prepared: Prepared, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a file of an image of at most `max_bytes` bytes, and in words what it leaves out.

    Where a quality is high enough it takes at least 95 % of them. Raises TargetError if no file is
    as small.
    """
    forecast = log_bytes(codec, prepared)
    whole = Container(codec.header(prepared, QUALITIES), chunks_of(prepared))
    wanted = min(max_bytes // 2, round(math.exp(forecast[-1])))
    frame, notes = without_ballast(whole, max_bytes, wanted)
    space = room(frame, max_bytes)
    if space < 0:
        raise TargetError(f"no .vqc file of this image is smaller than {max_bytes - space} bytes")
    target = math.log(space or 1)
    least, most = target + _LEAST_SIZE, target + _MOST_SIZE
    parts = (
        (log_bytes(codec, part) + SAMPLE_LOG_BYTES, size_attempts(codec, part))
        for part in samples(prepared)
    )
    forecast = sampled(forecast, parts, (least + most) / 2)
    tried = _search(size_attempts(codec, prepared), forecast, least, most)
    longer = [each for each in tried if each.value > target]
    best = max((each for each in tried if each.value <= target), key=_value, default=None)
    if best is None or (best.value < least and longer):
        best = min(longer, key=_value)
    file = replace(frame, header=codec.header(prepared, best.quality), payload=best.payload)
    return truncate(pack(file), max_bytes)[0], notes


def to_psnr(codec: Codec, prepared: Prepared, decibels: float) -> tuple[bytes, list[str]]:
    """Return the smallest file of an image whose picture has so many dB or more, notes in words.

    In 8 bits, over all pixels and colours as they are stored. Where the best quality falls short,
    its file is returned, with a note.
    """
    parts = (
        (psnr(codec, part) + SAMPLE_PSNR, psnr_attempts(codec, part)) for part in samples(prepared)
    )
    forecast = sampled(psnr(codec, prepared), parts, decibels + _SURPLUS / 2)
    measure = psnr_attempts(codec, prepared, decibels)
    tried = _search(measure, forecast, decibels, decibels + _SURPLUS)
    reaching = [each for each in tried if each.value >= decibels]
    notes = []
    if reaching:
        best = min(reaching, key=_value)
    else:
        best = max(tried, key=_value)
        notes = [f"{decibels:g} dB are out of reach, wrote {best.value:.2f} dB"]
    container = Container(codec.header(prepared, best.quality), chunks_of(prepared), best.payload)
    return pack(container), notes


def size_attempts(codec: Codec, prepared: Prepared) -> Measure:
    """Return what encodes an image at a quality and takes the log bytes of the stream."""

    def measure(quality: int) -> Attempt:
        payload = codec.encode_stream(prepared.pixels, quality)
        return Attempt(quality, payload, math.log(len(payload) or 1))

    return measure


def psnr_attempts(codec: Codec, prepared: Prepared, wanted: float | None = None) -> Measure:
    """Return what encodes an image at a quality and takes the decibels of its picture.

    Where these are near what is `wanted`, the finest level is chosen again to meet it.
    """
    picture = np.empty_like(prepared.pixels)

    def measure(quality: int) -> Attempt:
        steps: list[float] = [0.0]
        reached: list[float] = []

        def adjust() -> float | None:
            reached.append(_decibels(prepared, picture))
            step = None if wanted is None else next_step(steps, [x - wanted for x in reached])
            if step is None:
                return None
            steps.append(step)
            return math.pow(2, step)

        payload = codec.encode_stream(prepared.pixels, quality, picture, adjust)
        # It is not asked for in large images, which are several tiles.
        value = reached[-1] if reached else _decibels(prepared, picture)
        return Attempt(quality, payload, value)

    return measure


def next_step(steps: Sequence[float], surpluses: Sequence[float]) -> float | None:
    """Return by how many doublings to change what errors are worth, None to leave it at the last.

    `surpluses` are the dB above those wanted that came of the `steps` taken so far, of which the
    first is 0.
    """
    first, last = surpluses[0], surpluses[-1]
    near = _LEAST_SURPLUS <= first <= _MOST_SURPLUS
    if 0 <= last <= _SURPLUS or not near or len(steps) == _CHOICES:
        return None
    if first < 0:
        return steps[-1] + 1
    lost = _PRICED if len(steps) == 1 else max(first - last, _PRICED / 4) / abs(steps[-1]) ** 1.5
    return -math.pow((first - _SURPLUS / 2) / lost, 2 / 3)


def _value(attempt: Attempt) -> float:
    return attempt.value


def samples(prepared: Prepared) -> list[Prepared]:
    """Return samples of an image, the larger one last; none of a small image.

    Each is `[rows * 64, columns * 64, 3]` of squares: of all there are, in the order of how busy
    they are, every so-many-th. Neighbours are faded into each other, since edges would cost more
    than anything in a smooth picture.
    """
    height, width = (side // _SQUARE for side in prepared.pixels.shape[:2])
    places = [(_SQUARE * row, _SQUARE * column) for row in range(height) for column in range(width)]
    result = []
    order = np.argsort([_activity(_square(prepared, place)) for place in places])
    for share in _SHARES:
        count = min(len(places) // share, _MOST)
        if count < _FEWEST:
            continue
        across = math.isqrt(count)
        count = count // across * across
        chosen = order[((np.arange(count) + 0.5) * len(places) / count).astype(int)]
        squares = [_square(prepared, places[index], _FADE) for index in chosen]
        result.append(replace(prepared, pixels=_faded(squares, across), alpha=None))
    return result


def _square(prepared: Prepared, place: tuple[int, int], margin: int = 0) -> Pixels:
    spans = (slice(first - margin, first + _SQUARE + margin) for first in place)
    return bordered(prepared.pixels, *spans)


def _activity(square: Pixels) -> float:
    """Return how much neighbouring pixels differ, the mean over a square."""
    values = square.sum(2, dtype=np.int16)
    return float(sum(np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)))


def _faded(squares: Sequence[Pixels], across: int) -> Pixels:
    """Return squares, which have a margin, as one picture: margins overlap the next square."""
    side = _SQUARE + 2 * _FADE
    ramp = np.minimum((np.arange(side) + 0.5) / (2 * _FADE), 1).astype(np.float32)
    weight = np.outer(ramp * ramp[::-1], ramp * ramp[::-1])[..., None]
    rows = len(squares) // across
    total = np.zeros((rows * _SQUARE + 2 * _FADE, across * _SQUARE + 2 * _FADE, 3), np.float32)
    weights = np.zeros((*total.shape[:2], 1), np.float32)
    for number, square in enumerate(squares):
        row, column = (_SQUARE * index for index in divmod(number, across))
        total[row : row + side, column : column + side] += weight * square
        weights[row : row + side, column : column + side] += weight
    picture: Pixels = (total / weights).round().astype(np.uint8)
    return picture[_FADE:-_FADE, _FADE:-_FADE]


def sampled(forecast: Curve, parts: Iterable[tuple[Curve, Measure]], goal: float) -> Curve:
    """Return the forecast shifted by what the parts of an image are off their own near `goal`."""
    expected = forecast
    for own, measure in parts:
        quality = _nearest(expected, goal)
        shift: float = measure(quality).value - own[quality - 1]
        expected = forecast + shift
    return expected


def _nearest(forecast: Curve, goal: float) -> int:
    return 1 + int(np.abs(forecast - goal).argmin())


def _search(measure: Measure, forecast: Curve, least: float, most: float) -> list[Attempt]:
    """Try qualities until one gives a value within `least` … `most`; return all, by rising quality.

    What an attempt is off the forecast by is expected of the other qualities too. Without a value
    in between, two qualities next to each other were tried that it would lie between, or the last
    one there is.
    """
    goal = (least + most) / 2
    tried: dict[int, Attempt] = {}
    low, high = 1, QUALITIES
    while low <= high:
        quality = low - 1 + _nearest(forecast[low - 1 : high], goal)
        attempt = tried[quality] = measure(quality)
        if least <= attempt.value <= most:
            break
        forecast = forecast + attempt.value - forecast[quality - 1]
        if attempt.value < least:
            low = quality + 1
        else:
            high = quality - 1
    return [tried[quality] for quality in sorted(tried)]


class Forecast:
    """What to expect of an image at qualities 1..100, float64 `[100]`: log bytes, and PSNR in dB.

    A coefficient h costs about log(1 + (h / step)^2), and what it leaves of an error is h^2 where
    that is small against the step.
    """

    def __init__(self, codec: Codec, pixels: Pixels) -> None:
        # Padding costs bits, and is not seen.
        coded, seen = torch.zeros(2, _BINS, dtype=torch.float64)
        for part, (rows, columns) in codec.coefficients(pixels):
            size = part[PLANES:].float().abs().clamp(2.0**-12, 2.0**8).log2()
            coded += torch.histc(size, _BINS, -12, 8).cpu()
            seen += torch.histc(size[:, rows, columns], _BINS, -12, 8).cpu()
        power = 4 ** torch.linspace(-12, 8, 2 * _BINS + 1, dtype=torch.float64)[1::2]
        quality = torch.arange(1.0, QUALITIES + 1)
        gain = log_step_gain(codec.config.lmbda_min, codec.config.lmbda_max)
        steps = torch.exp(-(quality_weights(quality) @ gain)).double()
        ratio = power / steps[:, None] ** 2
        bits: Curve = (torch.log1p(ratio) @ coded).numpy()
        errors: Curve = ((power / (1 + ratio)) @ seen).numpy()
        errors = errors / (pixels.shape[0] * pixels.shape[1])
        u = centred(quality.double().numpy())
        self.log_bytes: Curve = np.log(bits) + np.polyval(LOG_BYTES_SHIFT, u)
        self.psnr: Curve = -10 * np.log10(errors) + np.polyval(PSNR_SHIFT, u)


def log_bytes(codec: Codec, prepared: Prepared) -> Curve:
    """Return the log bytes of a stream to expect of an image at qualities 1..100."""
    return Forecast(codec, prepared.pixels).log_bytes


def psnr(codec: Codec, prepared: Prepared) -> Curve:
    """Return the decibels to expect of the picture of an image at qualities 1..100."""
    return Forecast(codec, prepared.pixels).psnr


def centred(quality: Curve) -> Curve:
    """Return qualities 0..100 as -1..1."""
    return (quality - 50) / 50


def _decibels(prepared: Prepared, pixels: Pixels) -> float:
    """Return the PSNR of decoded pixels, uint8 `[H, W, 3]`, in dB."""
    original = prepared.pixels[..., 0] if prepared.gray else prepared.pixels
    decoded = np.asarray(assemble(pixels, gray=prepared.gray), np.float32)
    error = np.square(decoded - original).mean(dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else math.inf
