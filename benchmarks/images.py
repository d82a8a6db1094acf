"""The images to measure on: a folder of image files or a tar of them, sorted by name."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image of a folder or tar; small enough to be sent to another process."""

    source: Path
    name: str

    def load(self) -> Image.Image:
        """Read the image as mode RGB, 8 bits a channel; raises OSError when it cannot be read."""
        if self.source.is_dir():
            data = (self.source / self.name).read_bytes()
        else:
            with tarfile.open(self.source) as tar:
                member = tar.extractfile(self.name)
                if member is None:
                    raise OSError(f"{self.source}: {self.name} is not a file")
                data = member.read()
        return Image.open(io.BytesIO(data)).convert("RGB")


def find_images(source: Path) -> list[ImageRef]:
    """List the images of a folder (not its subfolders) or of a tar, sorted by name.

    Raises:
        ValueError: neither folder nor tar, or no image inside.
    """
    if source.is_dir():
        names = [path.name for path in source.iterdir() if path.is_file()]
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            names = [member.name for member in tar if member.isfile()]
    else:
        raise ValueError(f"{source}: neither a folder nor a tar file")
    names = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)
    if not names:
        raise ValueError(f"{source}: no images inside")
    return [ImageRef(source, name) for name in names]


def middle(image: Image.Image, side: int) -> Image.Image:
    """Return the middle of an image, `side` x `side`; raises ValueError if it has no so large."""
    if min(image.size) < side:
        raise ValueError(f"smaller than {side}x{side}")
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, upper, left + side, upper + side))
