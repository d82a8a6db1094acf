"""The photographs that a page was sent last, and what codecs make of them in equally many bytes.

That is what `vqcodec compare --serve` shows; answers are dictionaries that JSON can hold.
"""

from __future__ import annotations

import math
import secrets
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus

from PIL import Image

from vqcodec.commands.comparison import Contender, flat, lossless, squeeze, squeezed
from vqcodec.fileformat.image import open_image, prepare

PHOTOS = 3  # kept; a tab of the browser needs one
_FILES = 32  # kept of each codec and photograph: a search tries seven settings
Answer = dict[str, object]


class Refused(Exception):
    """A request that is not met: the status says of which kind, the message why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photograph, and the codecs by name; they remember the files that they made of it."""

    image: Image.Image
    codecs: Mapping[str, Contender]


class Gallery:
    """The photographs that came last, and what the codecs make of them."""

    def __init__(self, ours: Contender, rivals: Sequence[Contender], absent: Sequence[str]) -> None:
        self.names = [codec.name for codec in (ours, *rivals)]
        self._codecs = [ours, *rivals]
        self._absent = list(absent)
        self._photos: OrderedDict[str, _Photo] = OrderedDict()

    def take(self, data: bytes, pixels: int) -> Answer:
        """Keep the photograph of a file, made smaller if it has more than `pixels`.

        The answer has its name ("photo"), width, height, notes, and the picture as a URL.

        Raises:
            VqcError: as `open_image` and `prepare`.
        """
        image, notes = flat(prepare(open_image(data)))
        if image.width * image.height > pixels:
            size = f"{image.width}×{image.height}"
            image = _reduced(image, pixels)
            notes.append(f"reduced from {size} to {image.width}×{image.height} pixels")
        name = secrets.token_urlsafe(16)
        codecs = {codec.name: _remembering(codec, image) for codec in self._codecs}
        self._photos[name] = _Photo(image, codecs)
        if len(self._photos) > PHOTOS:
            self._photos.popitem(last=False)
        return {
            "photo": name,
            "width": image.width,
            "height": image.height,
            "notes": [*self._absent, *notes],
            "original": _url(*lossless(image)),
        }

    def show(self, photo: str, codec: str, quality: int) -> Answer:
        """Return what a codec makes of a photograph in the bytes that ours takes at a quality.

        The answer has the picture as a URL, its label, and its cells under `FIGURES`.

        Raises:
            Refused: no such photograph or codec, or nothing that the codec can do.
        """
        if photo not in self._photos:
            raise Refused(HTTPStatus.GONE, "this photo is no longer kept: choose it again")
        if codec not in self.names:
            known = ", ".join(self.names)
            raise Refused(HTTPStatus.NOT_FOUND, f"no codec named {codec!r}; there are {known}")
        self._photos.move_to_end(photo)
        image, codecs = self._photos[photo].image, self._photos[photo].codecs
        ours = codecs[self.names[0]]
        data = ours.encode(image, quality)
        budget = len(data)
        try:
            if codec == ours.name:
                result = squeezed(ours, image, quality, data)
            elif (found := squeeze(codecs[codec], image, budget)) is not None:
                result = found
            else:
                raise ValueError(f"it cannot go down to {budget:,} bytes")
        except (OSError, ValueError) as error:  # WebP and AVIF have limits on sides, for one
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(str(error).split())) from error
        picture = _url(*result.viewable())
        return {"picture": picture, "label": result.label, "figures": result.figures(budget)}


def _reduced(image: Image.Image, pixels: int) -> Image.Image:
    """Return an image of nearly the same proportions and at most `pixels` pixels."""
    scale = math.sqrt(pixels / (image.width * image.height))
    width = max(1, min(int(scale * image.width), pixels))
    height = max(1, min(int(scale * image.height), pixels // width))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _remembering(codec: Contender, image: Image.Image) -> Contender:
    """Return a codec for one image that keeps the files it made last."""
    files = lru_cache(_FILES)(lambda setting: codec.encode(image, setting))
    return replace(codec, encode=lambda _, setting: files(setting))


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{b64encode(data).decode()}"
