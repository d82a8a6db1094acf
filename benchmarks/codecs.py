"""The codecs under test, each with the settings that span about 0.05 to 1.5 bits per pixel.

A setting is a number, and a larger one always means better quality.
"""

import functools
import importlib.metadata
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, features

from vqcodec import threads as own_threads
from vqcodec import weights
from vqcodec.codec.looks import FAITHFUL, NATURAL
from vqcodec.commands.comparison import OPTIONS

Options = dict[str, Any]  # what Pillow's `save` takes

# Weights and look of vqcodec as it comes, tuned for what it is not tuned for unasked, and the files
# of the first shown with another look.
_OWN = {
    "vqcodec": (weights.DEFAULT, FAITHFUL),
    **{
        f"vqcodec-{tune}": (name, FAITHFUL)
        for tune, name in weights.TUNED.items()
        if name != weights.DEFAULT
    },
    f"vqcodec-{NATURAL}": (weights.DEFAULT, NATURAL),
}

# AVIF, which is the better the slower, and with colours at full instead of half size.
_AVIF_SPEEDS: dict[str, Options] = {"avif": {}} | {
    f"avif-speed{speed}": {"speed": speed} for speed in (4, 2, 1, 0)
}
_AVIF = _AVIF_SPEEDS | {
    f"{name}-444": chosen | {"subsampling": "4:4:4"} for name, chosen in _AVIF_SPEEDS.items()
}


class CodecUnavailableError(Exception):
    """This codec cannot run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class BenchCodec:
    """An encoder and decoder under one name."""

    name: str
    version: str
    settings: Sequence[float]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    timings: Callable[[], Mapping[str, float]] | None = None
    """Seconds of each part of the last call, from the codecs that say."""


def build(
    name: str, *, model: str | None = None, device: str = "auto", **options: Any
) -> BenchCodec:
    """Make the codec of that name.

    `model` and `device` choose the weights of vqcodec and where they run; `options` go to one of
    Pillow's encoders, beside those we choose or in their place.

    Raises:
        CodecUnavailableError: a library or the weights are not installed.
        KeyError: no codec has that name.
    """
    if name in _OWN:
        return _vqcodec(name, model, device)
    return _PILLOW[name](options)


def build_threaded(name: str, threads: int, *, model: str | None, device: str) -> BenchCodec:
    """Make the codec, which from now on takes so many threads in this process, if it can use them.

    JPEG, JPEG 2000 and WebP cannot. Raises as `build`.
    """
    if name.startswith("avif"):
        codec = build(name, max_threads=threads)
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = threads  # those of its decoder
    elif name.startswith("jxl"):
        codec = build(name, num_threads=threads)
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = threads
    else:
        codec = build(name, model=model, device=device)
        if name in _OWN:
            own_threads.use(threads)
    return codec


def trained_for(version: str) -> tuple[str, ...]:
    """Return the metrics that a codec of this version was trained for, as its model card has them.

    None are known of weights that do not ship, and codecs without a network have none.
    """
    for info in weights.available():
        if version.endswith(f"model {info.model_id.hex()}"):
            return tuple(info.card.get("trained for", ()))
    return ()


def decode_pillow(data: bytes) -> Image.Image:
    """Decode any format that Pillow knows to mode RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def _vqcodec(name: str, model: str | None, device: str) -> BenchCodec:
    try:
        import vqcodec
        from vqcodec.api import load_codec
        from vqcodec.codec.profiler import Profiler
        from vqcodec.errors import VqcError
        from vqcodec.fileformat.container import read_header
    except ImportError as error:
        raise CodecUnavailableError(str(error)) from error
    own, look = _OWN[name]
    try:
        codec = load_codec(model or own, device)
    except VqcError as error:
        raise CodecUnavailableError(str(error)) from error
    # The file itself names its weights, so the version is that of what was really measured.
    header, _ = read_header(codec.encode(Image.new("RGB", (16, 16)), quality=50))
    profiler = Profiler()

    def encode(image: Image.Image, setting: float) -> bytes:
        profiler.seconds.clear()
        return codec.encode(image, quality=round(setting), profiler=profiler)

    def decode(data: bytes) -> Image.Image:
        profiler.seconds.clear()
        return codec.decode(data, look=look, profiler=profiler).convert("RGB")

    return BenchCodec(
        name=name,
        version=f"vqcodec {vqcodec.__version__} model {header.model_id.hex()}",
        settings=range(5, 100, 5),
        encode=encode,
        decode=decode,
        timings=lambda: profiler.seconds,
    )


def _pillow(
    name: str,
    library: str,
    settings: Sequence[float],
    image_format: str,
    vary: Callable[[float], Options],
    fixed: Options,
) -> BenchCodec:
    def encode(image: Image.Image, setting: float) -> bytes:
        stream = io.BytesIO()
        image.save(stream, image_format, **vary(setting), **fixed)
        return stream.getvalue()

    options = " ".join(f"{key}={value}" for key, value in fixed.items())
    version = f"pillow {importlib.metadata.version('pillow')} {library} {options}"
    return BenchCodec(name, version, settings, encode, decode_pillow)


def _library(feature: str) -> str:
    if not features.check(feature):
        raise CodecUnavailableError(f"this Pillow was built without {feature}")
    return f"{feature} {features.version(feature)}"


def _quality(setting: float) -> Options:
    return {"quality": round(setting)}


def _jpeg(options: Options) -> BenchCodec:
    feature = "libjpeg_turbo" if features.check("libjpeg_turbo") else "jpg"
    settings = (1, 4, 7, 11, 16, 23, 32, 42, 54, 66, 77)
    fixed = OPTIONS["jpeg"] | options
    return _pillow("jpeg", _library(feature), settings, "JPEG", _quality, fixed)


def _webp(options: Options) -> BenchCodec:
    settings = (0, 1, 3, 7, 13, 21, 31, 43, 56, 69, 81)
    fixed = OPTIONS["webp"] | options
    return _pillow("webp", _library("webp"), settings, "WEBP", _quality, fixed)


def _avif(name: str, options: Options) -> BenchCodec:
    settings = (3, 9, 16, 24, 32, 40, 48, 56, 64, 71)
    fixed = OPTIONS["avif"] | _AVIF[name] | options
    return _pillow(name, _library("avif"), settings, "AVIF", _quality, fixed)


def _jxl(name: str, effort: int, options: Options) -> BenchCodec:
    try:
        import pillow_jxl  # noqa: F401  (registers the format)
    except ImportError as error:
        raise CodecUnavailableError("pillow-jxl-plugin is not installed") from error
    library = f"pillow-jxl-plugin {importlib.metadata.version('pillow-jxl-plugin')}"
    settings = (0, 7, 14, 22, 30, 40, 50, 60, 70, 77, 83)  # 0 is the lowest rate of the plugin
    fixed = {"effort": effort, "num_threads": 1} | options

    def lossy(setting: float) -> Options:
        return {"quality": min(round(setting), 99)}  # the plugin cannot encode at 100

    return _pillow(name, library, settings, "JXL", lossy, fixed)


def _jpeg2000(options: Options) -> BenchCodec:
    def ratio(bpp: float) -> Options:
        return {"quality_layers": [24 / bpp]}

    settings = (0.05, 0.08, 0.12, 0.18, 0.26, 0.37, 0.52, 0.73, 1.05, 1.5)  # bits per pixel
    # Without mct=1 Pillow codes red, green and blue apart, at twice the bits.
    fixed = {"quality_mode": "rates", "irreversible": True, "mct": 1} | options
    return _pillow("jpeg2000", _library("jpg_2000"), settings, "JPEG2000", ratio, fixed)


_PILLOW: dict[str, Callable[[Options], BenchCodec]] = {
    "jpeg": _jpeg,
    "webp": _webp,
    **{name: functools.partial(_avif, name) for name in _AVIF},
    "jxl": functools.partial(_jxl, "jxl", 7),
    "jxl-effort9": functools.partial(_jxl, "jxl-effort9", 9),
    "jpeg2000": _jpeg2000,
}

NAMES: tuple[str, ...] = (*_OWN, *_PILLOW)
# What is measured unless codecs are chosen: not the slow variants, nor those of colour or look.
USUAL = (
    *(name for name, (_, look) in _OWN.items() if look == FAITHFUL),
    "jpeg", "webp", "avif", "avif-speed4", "jxl", "jpeg2000",
)  # fmt: skip
