"""Everything that can be wrong with a file, an image or a model, each as its own error."""


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
    """No file of the image is as small as asked."""


class ModelError(VqcError):
    """A weights file is missing, damaged or not one of ours."""


class RegionError(VqcError, ValueError):
    """The region asked for does not lie within the image."""
