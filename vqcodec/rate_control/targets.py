"""Meeting a target: at most so many bytes, or a picture of no less than so many dB or points.

A forecast says roughly what each quality gives of an image, and a sample of it by how much the
forecast is off. With that the search begins, and mostly ends after one encode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vqcodec import metrics
from vqcodec.errors import ModelError, TargetError
from vqcodec.fileformat.container import ChunkTag, pack, unpack
from vqcodec.fileformat.image import Pixels, Prepared, assemble
from vqcodec.fileformat.truncate import drop_chunks, room, truncate
from vqcodec.model.config import QUALITIES
from vqcodec.rate_control.forecast import FEATURES, SQUARE, Squares, from_card, squares
from vqcodec.rate_control.sample import sample
from vqcodec.rate_control.scan import Expected, scan, surplus
from vqcodec.rate_control.search import Attempt, Curve, Goal, nearest, search

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.encoder import Encoded

Measure = Callable[[int, float], Attempt]

# SSIMULACRA2 has no scale for a shorter side, and calls any picture perfect.
_LEAST_SIDE = 8
# What is expected of a model of which nothing is known: what the transform codec gives, and a
# straight line of scores.
_NO_DIFFERENCE = tuple(len(FEATURES) * [0.0])
_USUAL_SCORES = ((1, -20.0), (100, 85.0))
_LEAST_DIVISOR = 1e-3  # of what a card may say that is divided by
# Streams that are not longer than expected by this share of what no photograph's is are worth no
# decode to see whether the picture is a photograph's.
_SUSPICIOUS = 0.4
_MUCH = 1.0  # dB: the least by which truncation makes a picture worth another look
# A search of more qualities is that of no photograph, and what it met may show the better picture.
_USUAL_QUALITIES = 4


@dataclass(frozen=True, kw_only=True)
class Quantity(Goal):
    """What a target is given in: its name in the model card, what is expected of it, its value.

    It is one of the picture or of the stream. One pixel in `share` of an image makes a sample. What
    is expected is made of numbers in the card, which have a `shape`, or else of `unknown`. What
    falls short of it by `unlike` (a stream: is longer) is not a photograph's, where the card says
    nothing else.
    """

    name: str
    expect: Callable[[Squares, Tensor], Tensor]
    value: Callable[[Prepared, Encoded], float]
    of_picture: bool
    share: int
    unknown: ArrayLike = _NO_DIFFERENCE
    shape: tuple[int, ...] = (len(FEATURES),)
    unlike: float = math.inf

    def forecast(self, codec: Codec, pixels: Pixels) -> Curve:
        """Return what to expect of an image at qualities 1..100; ModelError for a damaged card."""
        sides: Sequence[int] = pixels.shape[:2]
        if not self.of_picture:  # Padding is coded, and not seen.
            sides = [-(-side // SQUARE) * SQUARE for side in sides]
        numbers = torch.from_numpy(from_card(codec, self.name, self.unknown, self.shape))
        curve = np.asarray(self.expect(squares(codec, pixels, sides), numbers))
        if not np.isfinite(curve).all():
            raise ModelError(f"damaged model card: {self.name} of its forecast is out of range")
        return curve

    def goal(self, codec: Codec) -> Goal:
        """Return the goal of a search with a model, whose card may say what requantising loses."""
        numbers = from_card(codec, f"requantized_{self.name}", (), (2,), (_LEAST_DIVISOR, 0.0))
        return replace(self, loss=loss_of(*numbers.tolist())) if numbers.size else self

    def unlike_of(self, codec: Codec) -> float:
        """Return by how much a model's photographs do not fall short of what is expected."""
        return float(from_card(codec, f"unlike_{self.name}", self.unlike, least=_LEAST_DIVISOR))

    def measuring(self, codec: Codec, prepared: Prepared) -> Measure:
        """Return what encodes an image at a quality, then again with other weights 2^k."""
        pixels = prepared.pixels
        encoded: Encoded | None = None

        def measure(quality: int, k: float) -> Attempt:
            nonlocal encoded
            changed = True
            if encoded and k:
                before = encoded.stream
                encoded = encoded.requantize(2**k)
                changed = encoded.stream != before  # The finest level may hold nothing.
            else:
                encoded = None  # There is no memory for two of a large image.
                encoded = codec.encode_pixels(pixels, quality, with_picture=self.of_picture)
            value = self.value(prepared, encoded)
            return Attempt(
                quality,
                value,
                encoded.stream,
                encoded.can_requantize and changed,
                k,
                encoded.is_off,
            )

        return measure


def _log_bytes(_: Prepared, encoded: Encoded) -> float:
    return math.log(len(encoded.stream) or 1)


def _psnr(prepared: Prepared, encoded: Encoded) -> float:
    return metrics.psnr(*_pictures(prepared, encoded))


def _ssimulacra2(prepared: Prepared, encoded: Encoded) -> float:
    return metrics.ssimulacra2(*_pictures(prepared, encoded))


def _pictures(prepared: Prepared, encoded: Encoded) -> tuple[Pixels, Pixels]:
    """Return the original and what it is decoded to, `[H, W]` if gray, else `[H, W, 3]`."""
    assert encoded.picture is not None
    picture = np.asarray(assemble(encoded.picture, gray=prepared.gray))
    return (prepared.pixels[..., 0] if prepared.gray else prepared.pixels), picture


def _scores(_: Squares, points: Tensor) -> Tensor:
    """Return the scores of a usual photograph: what differs in another its sample shows."""
    qualities, scores = points.numpy().T
    return torch.from_numpy(np.interp(np.arange(QUALITIES) + 1.0, qualities, scores))


def loss_of(least: float, rise: float) -> Callable[[int], float]:
    """Return the dB that half the weight loses at a quality: more where steps are coarse."""
    return lambda quality: least + rise * coarseness(quality)


def coarseness(quality: int) -> float:
    """Return how coarse a quality is, 0 at 100: the loss of requantising is linear in it."""
    return ((100 - quality) / 85) ** 3


SIZE = Quantity(
    name="log_bytes",
    expect=Squares.log_bytes,
    value=_log_bytes,
    of_picture=False,
    share=4,
    # A longer stream is truncated. That costs as much as a lower quality that leaves a few percent
    # unused where qualities are low, and far more where they are high (benchmarks.truncation).
    least=math.log(0.955),
    aim=math.log(0.99),
    most=lambda quality: 0.03 * coarseness(quality),
    # As much less as half the weight takes; a quarter costs more than a lower quality.
    near=(math.log(0.92), math.log(1.025)),
    unlike=0.9,
)
PSNR = Quantity(
    name="psnr",
    expect=Squares.psnr,
    value=_psnr,
    of_picture=True,
    share=6,
    least=0.0,
    aim=0.12,
    most=lambda _: 0.2,
    near=(-0.07, 0.45),
    unlike=8.0,
    loss=loss_of(0.1, 0.19),
)
SSIMULACRA2 = Quantity(
    name="ssimulacra2",
    expect=_scores,
    value=_ssimulacra2,
    of_picture=True,
    share=6,
    unknown=_USUAL_SCORES,
    shape=(-1, 2),
    # One quality more is about half a point: none is requantised.
    least=0.0,
    aim=0.3,
    most=lambda _: 0.6,
    near=(0.0, 0.0),
)


def encode_to_size(codec: Codec, prepared: Prepared, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a file of an image of at most `max_bytes` bytes, and in words what it leaves out.

    Where a quality is high enough, and a lower one gives no better picture, it takes at least 95 %
    of them. Raises TargetError if no file is as small, with its alpha, and the profile that its
    colours were left in.
    """
    expected = SIZE.forecast(codec, prepared.pixels)
    wanted = min(max_bytes // 2, round(math.exp(expected[-1])))
    whole = unpack(codec.pack(prepared, QUALITIES, b""))
    needed = (ChunkTag.ICC,) if prepared.in_profile else ()
    frame, notes = drop_chunks(whole, max_bytes, wanted, needed)
    space = room(frame, max_bytes)
    target = math.log(space or 1)
    attempts = _attempts(codec, prepared, SIZE, target, expected)
    fitting = [attempt for attempt in attempts if attempt.value <= target]
    longer = attempts[len(fitting) :]
    enough = bool(fitting) and SIZE.is_met(fitting[-1].quality, fitting[-1].value - target)
    best = longer[0] if longer and not enough else fitting[-1]

    def file(attempt: Attempt) -> bytes:
        header = replace(frame.header, quality=attempt.quality)
        data = pack(replace(frame, header=header, payload=attempt.stream))
        return truncate(data, max_bytes, needed=needed)[0]

    data = file(best)
    cut = best.is_off and len(best.stream) > space
    complete: list[Attempt] = []  # that may show more, with the dB of their pictures
    if (cut and _loses_much(codec, prepared, best, data)) or _may_be_better(
        codec, prepared, best, expected
    ):
        scanned = scan(_plain(PSNR.measuring(codec, prepared)), math.inf, space)
        complete = [attempt for attempt in scanned if len(attempt.stream) <= space]
    elif sum(not attempt.log2_weight for attempt in attempts) > _USUAL_QUALITIES:
        complete = [replace(each, value=_psnr_of_whole(codec, prepared, each)) for each in fitting]
    better = max(complete, key=lambda attempt: attempt.value, default=None)
    if better and better.value > _psnr_of_file(codec, prepared, data):
        data = file(better)
    return data, notes


def encode_to_psnr(codec: Codec, prepared: Prepared, psnr: float) -> tuple[bytes, list[str]]:
    """Return the smallest file of an image whose picture has `psnr` dB or more, notes in words.

    In 8 bits, over all pixels and colours as they are stored. Where no quality reaches it, the file
    of the best picture is returned, with a note.
    """
    data, reached = _reach(codec, prepared, PSNR, psnr)
    notes = [f"{psnr:g} dB are out of reach, wrote {reached:.2f} dB"]
    return data, notes if reached < psnr else []


def encode_to_ssimulacra2(
    codec: Codec, prepared: Prepared, score: float
) -> tuple[bytes, list[str]]:
    """Return the smallest file of an image whose picture has that score or more, notes in words.

    Of colours as they are stored, by the package `ssimulacra2`; above 0. Where no quality reaches
    it, the file of the best picture is returned, with a note. Raises TargetError for an image that
    is too small to have a score.
    """
    if min(prepared.pixels.shape[:2]) < _LEAST_SIDE:
        raise TargetError(f"SSIMULACRA2 takes images of {_LEAST_SIDE} pixels a side or more")
    data, reached = _reach(codec, prepared, SSIMULACRA2, score)
    notes = [f"an SSIMULACRA2 of {score:g} is out of reach, wrote {reached:.2f}"]
    return data, notes if reached < score else []


def _reach(
    codec: Codec, prepared: Prepared, quantity: Quantity, target: float
) -> tuple[bytes, float]:
    """Return the smallest file whose picture has a value, or that of the best, and what it has."""
    values = quantity.forecast(codec, prepared.pixels)
    attempts = _attempts(codec, prepared, quantity, target, values)
    expected = _expected(codec, quantity, SIZE.forecast(codec, prepared.pixels), values)
    if expected.is_wrong(attempts):
        attempts += scan(_plain(quantity.measuring(codec, prepared)), target, math.inf)
    reaching = [attempt for attempt in attempts if attempt.value >= target]
    if reaching:
        best = min(reaching, key=lambda attempt: len(attempt.stream))
    else:
        best = max(attempts, key=lambda attempt: attempt.value)
    return codec.pack(prepared, best.quality, best.stream), best.value


def _loses_much(codec: Codec, prepared: Prepared, found: Attempt, data: bytes) -> bool:
    """Return whether a truncated file shows much less than the whole, as those of patterns do."""
    lost = _psnr_of_whole(codec, prepared, found) - _psnr_of_file(codec, prepared, data)
    return lost > _MUCH


def _may_be_better(codec: Codec, prepared: Prepared, found: Attempt, log_bytes: Curve) -> bool:
    """Return whether a lower quality than that found for a size may give a better picture."""
    if surplus(found, log_bytes) < _SUSPICIOUS * SIZE.unlike_of(codec):
        return False
    expected = _expected(codec, PSNR, log_bytes, PSNR.forecast(codec, prepared.pixels))
    return expected.is_unlike(replace(found, value=_psnr_of_whole(codec, prepared, found)))


def _expected(codec: Codec, quantity: Quantity, log_bytes: Curve, values: Curve) -> Expected:
    longer, worse = SIZE.unlike_of(codec), quantity.unlike_of(codec)
    return Expected(log_bytes, values, longer, worse)


def _plain(measure: Measure) -> Callable[[int], Attempt]:
    return lambda quality: measure(quality, 0.0)


def _psnr_of_whole(codec: Codec, prepared: Prepared, found: Attempt) -> float:
    """Return the dB of the picture that the file of an attempt decodes to, all of its stream."""
    return _psnr_of_file(codec, prepared, codec.pack(prepared, found.quality, found.stream))


def _psnr_of_file(codec: Codec, prepared: Prepared, data: bytes) -> float:
    """Return the dB of the picture that a file decodes to, alpha aside."""
    picture = codec.decode(data).convert("L" if prepared.gray else "RGB")
    x = prepared.pixels[..., 0] if prepared.gray else prepared.pixels
    return metrics.psnr(x, np.asarray(picture))


def _attempts(
    codec: Codec, prepared: Prepared, quantity: Quantity, target: float, expected: Curve
) -> list[Attempt]:
    """Return the attempts of a search that begins with a forecast and with what a sample gives."""
    if picture := sample(prepared, quantity.share):
        of_sample = quantity.forecast(codec, picture.pixels)
        of_sample += from_card(codec, f"sample_{quantity.name}", 0.0)
        measure = quantity.measuring(codec, picture)
        expected = corrected(expected, of_sample, measure, target + quantity.aim)
    goal = quantity.goal(codec)
    return search(goal, target, expected, quantity.measuring(codec, prepared))


def corrected(expected: Curve, of_sample: Curve, measure: Measure, aim: float) -> Curve:
    """Return a forecast shifted by what a sample is off its own, near the value to aim at."""
    quality = nearest(expected, aim)
    shift: float = measure(quality, 0.0).value - of_sample[quality - 1]
    return expected + shift
