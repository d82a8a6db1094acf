"""Meeting a target: at most so many bytes, or a picture of no less than so many dB.

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
from torch import Tensor

from vqcodec import metrics
from vqcodec.fileformat.container import ChunkTag, pack, unpack
from vqcodec.fileformat.image import Pixels, Prepared, assemble
from vqcodec.fileformat.truncate import drop_chunks, room, truncate
from vqcodec.model.layers import QUALITIES
from vqcodec.rate_control.forecast import FEATURES, SQUARE, Squares, from_card, squares
from vqcodec.rate_control.sample import sample
from vqcodec.rate_control.search import Attempt, Curve, Goal, nearest, search

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.encoder import Encoded

Measure = Callable[[int, float], Attempt]


@dataclass(frozen=True, kw_only=True)
class Quantity(Goal):
    """What a target is given in: its name in the model card, what is expected of it, its value.

    It is one of the picture or of the stream. One pixel in `share` of an image makes a sample.
    """

    name: str
    expect: Callable[[Squares, Tensor], Tensor]
    value: Callable[[Prepared, Encoded], float]
    of_picture: bool
    share: int

    def forecast(self, codec: Codec, pixels: Pixels) -> Curve:
        """Return what to expect of an image at qualities 1..100."""
        sides: Sequence[int] = pixels.shape[:2]
        if not self.of_picture:  # Padding is coded, and not seen.
            sides = [-(-side // SQUARE) * SQUARE for side in sides]
        coefficients = torch.tensor(from_card(codec, self.name, len(FEATURES) * [0.0])).double()
        return np.asarray(self.expect(squares(codec, pixels, sides), coefficients))

    def measuring(self, codec: Codec, prepared: Prepared) -> Measure:
        """Return what encodes an image at a quality, then again with other weights 2^k."""
        pixels = prepared.pixels
        encoded: Encoded | None = None

        def measure(quality: int, k: float) -> Attempt:
            nonlocal encoded
            if encoded and k:
                encoded = encoded.requantize(2**k)
            else:
                encoded = None  # There is no memory for two of a large image.
                encoded = codec.encode_pixels(pixels, quality, with_picture=self.of_picture)
            value = self.value(prepared, encoded)
            return Attempt(quality, value, encoded.stream, encoded.can_requantize)

        return measure


def _log_bytes(_: Prepared, encoded: Encoded) -> float:
    return math.log(len(encoded.stream) or 1)


def _psnr(prepared: Prepared, encoded: Encoded) -> float:
    assert encoded.picture is not None
    x = prepared.pixels[..., 0] if prepared.gray else prepared.pixels
    return metrics.psnr(x, np.asarray(assemble(encoded.picture, gray=prepared.gray)))


SIZE = Quantity(
    name="log_bytes",
    expect=Squares.log_bytes,
    value=_log_bytes,
    of_picture=False,
    share=4,
    # A longer stream is truncated: up to a tenth, that costs little against a lower quality
    # (benchmarks.truncation), which takes time to find.
    least=math.log(0.955),
    aim=math.log(1.06),
    most=math.log(1.12),
    near=(math.log(0.92), math.log(1.2)),
)
PSNR = Quantity(
    name="psnr",
    expect=Squares.psnr,
    value=_psnr,
    of_picture=True,
    share=6,
    least=0.0,
    aim=0.12,
    most=0.2,
    near=(-0.07, 0.45),
    loss=lambda quality: 0.1 + 0.19 * ((100 - quality) / 85) ** 3,
)


def encode_to_size(codec: Codec, prepared: Prepared, max_bytes: int) -> tuple[bytes, list[str]]:
    """Return a file of an image of at most `max_bytes` bytes, and in words what it leaves out.

    Where a quality is high enough it takes at least 95 % of them. Raises TargetError if no file is
    as small, with its alpha, and the profile that its colours were left in.
    """
    expected = SIZE.forecast(codec, prepared.pixels)
    wanted = min(max_bytes // 2, round(math.exp(expected[-1])))
    whole = unpack(codec.pack(prepared, QUALITIES, b""))
    needed = (ChunkTag.ICC,) if prepared.in_profile else ()
    frame, notes = drop_chunks(whole, max_bytes, wanted, needed)
    target = math.log(room(frame, max_bytes) or 1)
    attempts = _attempts(codec, prepared, SIZE, target, expected)
    fitting = [attempt for attempt in attempts if attempt.value <= target]
    longer = attempts[len(fitting) :]
    enough = bool(fitting) and SIZE.is_met(fitting[-1].value - target)
    best = longer[0] if longer and not enough else fitting[-1]
    header = replace(frame.header, quality=best.quality)
    data = pack(replace(frame, header=header, payload=best.stream))
    return truncate(data, max_bytes, needed=needed)[0], notes


def encode_to_psnr(codec: Codec, prepared: Prepared, psnr: float) -> tuple[bytes, list[str]]:
    """Return the smallest file of an image whose picture has `psnr` dB or more, notes in words.

    In 8 bits, over all pixels and colours as they are stored. Where the best quality falls short,
    its file is returned, with a note.
    """
    expected = PSNR.forecast(codec, prepared.pixels)
    attempts = _attempts(codec, prepared, PSNR, psnr, expected)
    best = next((attempt for attempt in attempts if attempt.value >= psnr), attempts[-1])
    notes = []
    if best.value < psnr:
        notes = [f"{psnr:g} dB are out of reach, wrote {best.value:.2f} dB"]
    return codec.pack(prepared, best.quality, best.stream), notes


def _attempts(
    codec: Codec, prepared: Prepared, quantity: Quantity, target: float, expected: Curve
) -> list[Attempt]:
    """Return the attempts of a search that begins with a forecast and with what a sample gives."""
    if picture := sample(prepared, quantity.share):
        of_sample = quantity.forecast(codec, picture.pixels)
        of_sample += from_card(codec, f"sample_{quantity.name}", 0.0)
        measure = quantity.measuring(codec, picture)
        expected = corrected(expected, of_sample, measure, target + quantity.aim)
    return search(quantity, target, expected, quantity.measuring(codec, prepared))


def corrected(expected: Curve, of_sample: Curve, measure: Measure, aim: float) -> Curve:
    """Return a forecast shifted by what a sample is off its own, near the value to aim at."""
    quality = nearest(expected, aim)
    shift: float = measure(quality, 0.0).value - of_sample[quality - 1]
    return expected + shift
