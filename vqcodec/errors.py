"""All that can be wrong with a file, an image or a model, each as its own error; warnings."""

import sys
import warnings
from collections.abc import Iterable
from types import FrameType


class VqcError(ValueError):
    """Base of all errors of this package; the message is one line, fit to be shown to a user."""


class NotVqcError(VqcError):
    """The data is not a .vqc file."""


class UnsupportedVersionError(VqcError):
    """The file needs a later version of this package."""


class UnknownModelError(VqcError):
    """The file was made with weights that are not at hand, or no model has the name asked for."""


class TruncatedError(VqcError):
    """The file ends too early."""


class CorruptError(VqcError):
    """The file contradicts itself or its checksums."""


class TooLargeError(VqcError):
    """The image has more pixels than the limit."""


class ImageError(VqcError):
    """The image to encode cannot be read or has no form that can be coded."""


class TargetError(VqcError):
    """No file of the image is what was asked for, or nothing can measure whether it is."""


class ModelError(VqcError):
    """A weights file is missing, damaged or not one of ours."""


class RegionError(VqcError):
    """The region asked for does not lie within the image."""


class VqcWarning(UserWarning):
    """A file was made, but had to leave something out or falls short of what was asked for."""


def warn(notes: Iterable[str]) -> None:
    """Warn of every note, in the name of the line that called this package, or Pillow's `save`."""
    level, frame = 1, sys._getframe()
    while frame.f_back and _package(frame) in ("vqcodec", "PIL"):
        level, frame = level + 1, frame.f_back
    for note in notes:
        warnings.warn(note, VqcWarning, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
