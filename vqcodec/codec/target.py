"""What an encode is to reach: a quality, or what rate control meets: a size, a PSNR, a score.

Nothing here imports torch before there is something to encode.
"""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from vqcodec import collector
from vqcodec.errors import TargetError
from vqcodec.fileformat import coarse_alpha
from vqcodec.fileformat.container import DEFAULT_QUALITY, ChunkTag

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.codec.profiler import Profiler
    from vqcodec.fileformat.image import Prepared

MAX_BPP, MAX_PSNR, MAX_SSIMULACRA2 = 24, 100, 100
# Where a network may run, as PyTorch calls it.
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
# Arguments that are numbers: the type, the largest (all are above 0), and the range in words.
_RANGES = {
    "quality": (Integral, 100, "1..100"),
    "max_bytes": (Integral, math.inf, "1..∞"),
    "bpp": (Real, MAX_BPP, f"(0, {MAX_BPP}]"),
    "psnr": (Real, MAX_PSNR, f"(0, {MAX_PSNR}]"),
    "ssimulacra2": (Real, MAX_SSIMULACRA2, f"(0, {MAX_SSIMULACRA2}]"),
    "alpha_quality": (Integral, 100, "1..100"),
    "scale": (Integral, 64, "1..64"),
    "max_pixels": (Integral, math.inf, "1..∞"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """At most one of a quality of 1..100, bytes of the file, bits per pixel, dB and SSIMULACRA2.

    Beside it the quality of alpha, which is kept without loss if there is none.

    Raises TypeError for a value that is no such number, ValueError for one out of range, and for
    more than one; TargetError for SSIMULACRA2 without the package that measures it.
    """

    quality: int | None = None
    max_bytes: int | None = None
    bpp: float | None = None
    psnr: float | None = None
    ssimulacra2: float | None = None
    alpha_quality: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if len(given.keys() - {"alpha_quality"}) > 1:
            raise ValueError("of quality, max_bytes, bpp, psnr and ssimulacra2, one at a time")
        for name, value in given.items():
            check(name, value)
        if self.ssimulacra2 is not None and importlib.util.find_spec("ssimulacra2") is None:
            install = "pip install 'vqcodec[ssimulacra2]'"
            raise TargetError(f"SSIMULACRA2 takes a package that is not installed: {install}")


def check(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless the argument of that name may have this value."""
    kind, largest, span = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "a whole number" if kind is Integral else "a number"
        raise TypeError(f"{name} is {wanted}, not {type(value).__name__}")
    number: Any = value  # Not as a float, which not every whole number fits.
    if not 0 < number <= largest:
        raise ValueError(f"{name} {value} is not within {span}")


def encode_prepared(
    codec: Codec, prepared: Prepared, target: Target, profiler: Profiler | None = None
) -> tuple[bytes, list[str]]:
    """Return the file of a prepared image that meets the target, and in words what it leaves out.

    The profiler times the encode at a quality. Raises TargetError if no file is as small as asked,
    or an image too small to have the score asked for.
    """
    with collector.at_rest():
        import vqcodec.codec.encoder  # noqa: F401  (PyTorch, which all that follows takes)

    prepared = _with_alpha_chunk(codec, prepared, target.alpha_quality)
    if target.psnr is not None:
        from vqcodec.rate_control import encode_to_psnr

        return encode_to_psnr(codec, prepared, target.psnr)
    if target.ssimulacra2 is not None:
        from vqcodec.rate_control import encode_to_ssimulacra2

        return encode_to_ssimulacra2(codec, prepared, target.ssimulacra2)
    max_bytes = target.max_bytes
    if target.bpp is not None:
        height, width = prepared.pixels.shape[:2]
        max_bytes = max(1, int(target.bpp * width * height / 8))
    if max_bytes is not None:
        from vqcodec.rate_control import encode_to_size

        return encode_to_size(codec, prepared, max_bytes)
    quality = DEFAULT_QUALITY if target.quality is None else target.quality
    encoded = codec.encode_pixels(prepared.pixels, quality, profiler=profiler)
    return codec.pack(prepared, quality, encoded.stream), []


def _with_alpha_chunk(codec: Codec, prepared: Prepared, quality: int | None) -> Prepared:
    """Return an image whose alpha is coded at a quality; with loss only if that is smaller."""
    if quality is None or prepared.alpha is None:
        return prepared
    from vqcodec.fileformat.image import encode_alpha

    gray = prepared.alpha[..., None].repeat(3, axis=2)
    coarse = coarse_alpha.chunk_of(quality, codec.encode_pixels(gray, quality).stream)
    whole = encode_alpha(prepared.alpha)
    smaller = len(coarse) < len(whole)
    chunk = (ChunkTag.COARSE_ALPHA, coarse) if smaller else (ChunkTag.ALPHA, whole)
    return replace(prepared, alpha_chunk=chunk)
