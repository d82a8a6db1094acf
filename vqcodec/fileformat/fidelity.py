"""Whether a picture written in another format is still the same picture, and what to say if not.

Writers shrink, stretch, flatten and reduce to a palette without a word. What they made is opened
again and compared; only formats that can be opened are written.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vqcodec.errors import ImageError
from vqcodec.fileformat.formats import readable

_OPENED_AS = {"MPO": "JPEG"}  # of one picture it is one
# Nothing here opens it. It holds JPEG, and JPEG 2000 where there is opacity, in the picture's size.
_UNOPENED = "PDF"
_WHOLE_MODES = ("L", "LA", "RGB", "RGBA")


def writable(image_format: str) -> bool:
    """Tell whether pictures are written in a format, by its name in Pillow."""
    if image_format not in Image.SAVE:
        return False
    return image_format == _UNOPENED or _OPENED_AS.get(image_format, image_format) in readable()


def check(image: Image.Image, data: bytes, image_format: str) -> list[str]:
    """Return in words what a file that a picture was written to has lost of its pixels.

    `image` is of mode L, LA, RGB or RGBA. Raises ImageError if it is another picture: of another
    size, without its opacity, or of values that are no colours.
    """
    if image_format == _UNOPENED:
        return []
    try:
        written = Image.open(io.BytesIO(data), formats=[_OPENED_AS.get(image_format, image_format)])
    except Exception as error:  # As in `vqcodec.fileformat.image.prepare`.
        raise _unfit(image_format, f"it would not open: {error}") from error
    if written.size != image.size:
        raise _unfit(image_format, f"it would be {written.width}x{written.height}")
    if written.mode == "P":
        return _palette_notes(image, written, image_format)
    if written.mode not in _WHOLE_MODES:
        raise _unfit(image_format, f"it would be of mode {written.mode}")
    if not _is_opaque(image) and not written.has_transparency_data:
        raise _unfit(image_format, "it has no opacity")
    return []


def _unfit(image_format: str, reason: str) -> ImageError:
    return ImageError(f"{image_format} cannot hold this image: {reason}")


def _palette_notes(image: Image.Image, written: Image.Image, image_format: str) -> list[str]:
    before, after = np.array(image.convert("RGBA")), np.array(written.convert("RGBA"))
    opacity, kept = before[..., 3], after[..., 3]
    if kept.all() and not _is_opaque(image):
        raise _unfit(image_format, "it has no opacity")
    notes = []
    if (before[..., :3] != after[..., :3])[(opacity > 0) & (kept > 0)].any():
        notes.append(f"reduced to 256 colours: {image_format} has no more")
    if (opacity != kept).any():
        notes.append(f"opacity reduced to all or nothing: {image_format} has no more")
    return notes


def _is_opaque(image: Image.Image) -> bool:
    return "A" not in image.getbands() or image.getchannel("A").getextrema() == (255, 255)
