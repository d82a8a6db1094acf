"""Where images for training lie: in folders, and in tar shards as WebDataset has them."""

from __future__ import annotations

import io
import logging
import struct
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.errors import DataError

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz")
SHARD_SUFFIXES = (".tar", *COMPRESSED_SUFFIXES)

_UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
_log = logging.getLogger("train")


@dataclass(frozen=True, slots=True)
class Photograph:
    """An image whose header was read: the bytes of a file, or `length` bytes in it from `start`."""

    name: str
    height: int
    width: int
    source: Path | bytes
    start: int = 0
    length: int = -1

    @property
    def nbytes(self) -> int:
        """What the image takes in memory when it is decoded."""
        return 3 * self.height * self.width

    def pixels(self) -> Pixels | None:
        """Decode to uint8 [H, W, 3]; None, and its name in a warning, if it cannot be read."""
        try:
            with Image.open(io.BytesIO(self._read())) as image:
                return np.asarray(image.convert("RGB"))
        except _UNREADABLE as error:
            _warn(self.name, error)
            return None

    def _read(self) -> bytes:
        if isinstance(self.source, bytes):
            return self.source
        with self.source.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


def find_photographs(paths: Sequence[str | Path]) -> list[Photograph]:
    """Return every image below `paths` (folders, tar shards, single files), from its header.

    The order is that of `paths`, and by name within a folder. An image whose header is unreadable
    is named in a warning and left out. A compressed shard is held in memory, since nothing in it
    can be found without what is before it.

    Raises DataError if a path is missing, a shard is unreadable, or there is no image.
    """
    found = list(_headers([Path(path) for path in paths]))
    photographs = [photograph for photograph in found if photograph is not None]
    if not photographs:
        raise nothing_in(paths, len(found))
    _summarise(len(found) - len(photographs), len(photographs))
    return photographs


def nothing_in(paths: Sequence[str | Path], unreadable: int) -> DataError:
    """Return the error of `paths` with no image to train on, but with unreadable ones."""
    reason = f"none of its {unreadable} images can be read" if unreadable else "it has no image"
    return DataError(f"nothing to train on in {', '.join(map(str, paths))}: {reason}")


def spread(photographs: Sequence[Photograph], count: int) -> list[Pixels]:
    """Decode up to `count` photographs, taken at even distances; unreadable ones are left out."""
    count = min(count, len(photographs))
    places = np.linspace(0, len(photographs), count, endpoint=False).astype(int)
    decoded = (photographs[place].pixels() for place in places)
    images = [pixels for pixels in decoded if pixels is not None]
    _summarise(count - len(images), len(images))
    return images


def _headers(paths: Sequence[Path]) -> Iterator[Photograph | None]:
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            yield from _headers([f for f in files if _is_image(f.name) or _is_shard(f)])
        elif not path.is_file():
            raise DataError(f"no such file or folder: {path}")
        elif _is_shard(path):
            yield from _shard_headers(path)
        elif _is_image(path.name):
            with path.open("rb") as file:
                yield _header(str(path), file, path)
        else:
            raise DataError(f"neither an image nor a tar shard: {path}")


def _shard_headers(path: Path) -> Iterator[Photograph | None]:
    compressed = path.name.lower().endswith(COMPRESSED_SUFFIXES)
    try:
        with tarfile.open(path, "r:gz" if compressed else "r:") as shard:
            for member in shard:
                file = shard.extractfile(member) if _is_image(member.name) else None
                if file is None:  # a folder, a link, a caption
                    continue
                name = f"{path}:{member.name}"
                if compressed:
                    data = file.read()
                    yield _header(name, io.BytesIO(data), data)
                else:
                    yield _header(name, file, path, member.offset_data, member.size)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"cannot read tar shard {path}: {error}") from error


def _header(
    name: str, file: IO[bytes], source: Path | bytes, start: int = 0, length: int = -1
) -> Photograph | None:
    try:
        with Image.open(file) as image:
            return Photograph(name, image.height, image.width, source, start, length)
    except _UNREADABLE as error:
        _warn(name, error)
        return None


def _warn(name: str, error: Exception) -> None:
    _log.warning("skipped unreadable image %s: %s", name, error)


def _summarise(unreadable: int, read: int) -> None:
    if unreadable:
        _log.warning("%d unreadable images skipped, %d read", unreadable, read)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith(SHARD_SUFFIXES)
