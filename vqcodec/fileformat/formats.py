"""The formats of images that are read: those of pixels, each by its name in Pillow.

Pillow tells a format by a file's content, so a name says nothing of what would be run. Left out is
what is a program or leads to one: EPS, which Ghostscript runs, and IPTC, whose content may be any
format again; so are containers that another library must read, such as HDF5.
"""

from __future__ import annotations

from PIL import Image

# Those without a signature, which are tried on anything, come last.
_READ = (
    "PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "HEIF", "JXL", "JPEG2000",
    "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "MCIDAS", "MSP",
    "PCX", "PIXAR", "PSD", "QOI", "SGI", "SUN", "XBM", "XPM", "XVTHUMB",
    "IM", "IMT", "PCD", "SPIDER", "TGA",
)  # fmt: skip


def readable() -> list[str]:
    """Return the formats that this Pillow, with the plugins it was told of, can read safely."""
    Image.init()
    return [name for name in _READ if name in Image.OPEN]
