"""Meeting a target: at most so many bytes, or a picture of no less than so many decibels.

Both grow with quality. A forecast says roughly how fast for an image, and how far it is off
is told by a sample of it. That forecast picks a quality, and the file made at it is near enough, or
is made to be by what is quickly done: it is mended (`attempts`), and cut to the size. Else
it corrects the forecast.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vqcodec.codec.codec import Codec
from vqcodec.errors import TargetError
from vqcodec.fileformat.container import Container, pack
from vqcodec.fileformat.image import Prepared, chunks_of
from vqcodec.fileformat.truncate import room, truncate, without_ballast
from vqcodec.model.layers import QUALITIES
from vqcodec.rate_control.attempts import (
    LEAST_SIZE,
    MOST_SIZE,
    SURPLUS,
    Attempt,
    Measure,
    psnr_attempts,
    size_attempts,
)
from vqcodec.rate_control.forecast import Curve, log_bytes, psnr
from vqcodec.rate_control.samples import sample

# So many log bytes or dB above the target an attempt is to be.
_AIM_SIZE, _AIM_PSNR = math.log(1.06), 0.12
# Of the image, one pixel in so many makes a sample.
SIZE_SHARE, PSNR_SHARE = 4, 6
# By how much more a sample is off its own forecast than the image is, by train.forecast.
SAMPLE_BYTES, SAMPLE_PSNR = -0.039, 0.019


def to_size(codec: Codec, prepared: Prepared, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a file of an image of at most `max_bytes` bytes, and in words what it leaves out.

    Where a quality is high enough it takes at least 95 % of them. Raises TargetError if no file is
    as small.
    """
    forecast = log_bytes(codec, prepared.pixels)
    whole = Container(codec.header(prepared, QUALITIES), chunks_of(prepared))
    wanted = min(max_bytes // 2, round(math.exp(forecast[-1])))
    frame, notes = without_ballast(whole, max_bytes, wanted)
    space = room(frame, max_bytes)
    if space < 0:
        raise TargetError(f"no .vqc file of this image is smaller than {max_bytes - space} bytes")
    target = math.log(space or 1)
    least, most, goal = target + LEAST_SIZE, target + MOST_SIZE, target + _AIM_SIZE
    if part := sample(prepared, SIZE_SHARE):
        own = log_bytes(codec, part.pixels) + SAMPLE_BYTES
        forecast = sampled(forecast, own, size_attempts(codec, part), goal)
    tried = _search(size_attempts(codec, prepared, target), forecast, least, most, goal)
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
    forecast = psnr(codec, prepared.pixels)
    if part := sample(prepared, PSNR_SHARE):
        own = psnr(codec, part.pixels) + SAMPLE_PSNR
        forecast = sampled(forecast, own, psnr_attempts(codec, part), decibels + _AIM_PSNR)
    measure = psnr_attempts(codec, prepared, decibels)
    tried = _search(measure, forecast, decibels, decibels + SURPLUS, decibels + _AIM_PSNR)
    reaching = [each for each in tried if each.value >= decibels]
    notes = []
    if reaching:
        best = min(reaching, key=_value)
    else:
        best = max(tried, key=_value)
        notes = [f"{decibels:g} dB are out of reach, wrote {best.value:.2f} dB"]
    container = Container(codec.header(prepared, best.quality), chunks_of(prepared), best.payload)
    return pack(container), notes


def _value(attempt: Attempt) -> float:
    return attempt.value


def sampled(forecast: Curve, own: Curve, measure: Measure, goal: float) -> Curve:
    """Return the forecast shifted by what a sample is off its own near `goal`."""
    quality = _nearest(forecast, goal)
    shift: float = measure(quality).value - own[quality - 1]
    return forecast + shift


def _nearest(forecast: Curve, goal: float) -> int:
    return 1 + int(np.abs(forecast - goal).argmin())


def _search(
    measure: Measure, forecast: Curve, least: float, most: float, goal: float
) -> list[Attempt]:
    """Try qualities until one gives a value within `least` … `most`; return all, by rising quality.

    The one tried is expected to be nearest to `goal`. What an attempt is off the forecast by is
    expected of the other qualities too. Without a value in between, two qualities next to each
    other were tried that it would lie between, or the last one there is.
    """
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
