"""Images for training: folders and tar shards, decoded once, cut into reproducible random crops."""

from __future__ import annotations

import io
import logging
import struct
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from webdataset.tariterators import tar_file_iterator

from train.drawings import drawn, on_page
from train.errors import DataError

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
MEMORY = 8 << 30

ENLARGED_SHARE = 0.3
ENLARGED_MOST = 1.6
ON_PAGE_SHARE = 0.4  # of the crops with something drawn

_UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
_log = logging.getLogger("train")


class Sampler(Protocol):
    """Training batches as a pure function of the step and the rank, so that resume is exact."""

    def batch(self, step: int, rank: int) -> Tensor:
        """Return the part of the batch of `step` that process `rank` works on."""
        ...


def load_images(paths: Sequence[str | Path], memory: int = MEMORY) -> list[Pixels]:
    """Decode every image below `paths` (folders, tar shards, single files) to uint8 [H, W, 3].

    The order is that of `paths`, and by name within a folder. Images beyond `memory` bytes are
    kept in a temporary file that is mapped. An unreadable image is named in a warning and left out.

    Raises DataError if a path is missing, a shard is unreadable, or no image is left.
    """
    images: list[Pixels] = []
    unreadable = 0
    with tempfile.TemporaryFile() as spill:
        store = _Store(memory, spill)
        for name, data in _image_files([Path(path) for path in paths]):
            try:
                with Image.open(io.BytesIO(data)) as image:
                    store.add(np.asarray(image.convert("RGB")))
            except _UNREADABLE as error:
                unreadable += 1
                _log.warning("skipped unreadable image %s: %s", name, error)
        images = store.images()
    if unreadable:
        _log.warning("%d unreadable images skipped, %d read", unreadable, len(images))
    if not images:
        where = ", ".join(str(path) for path in paths)
        reason = f"none of its {unreadable} images can be read" if unreadable else "it has no image"
        raise DataError(f"nothing to train on in {where}: {reason}")
    return images


def whole_images(images: Sequence[Pixels], limit: int, multiple: int = 64) -> list[Tensor]:
    """Return up to `limit` images for validation as uint8 [B, 3, H, W] batches of equal shape.

    Each image is cut around its centre to multiples of `multiple`; smaller images are left out,
    and the rest are taken at even distances.

    Raises DataError if no image is large enough.
    """
    large = [image for image in images if min(image.shape[:2]) >= multiple]
    if not large:
        raise DataError(f"no validation image is at least {multiple} pixels high and wide")
    by_shape: dict[tuple[int, ...], list[Pixels]] = {}
    for index in np.linspace(0, len(large), min(limit, len(large)), endpoint=False).astype(int):
        image = large[index]
        height, width = (side // multiple * multiple for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut = image[top : top + height, left : left + width]
        by_shape.setdefault(cut.shape, []).append(cut)
    return [torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2) for cuts in by_shape.values()]


class CropSampler:
    """Random square crops; every pixel of the data set is about equally likely.

    Each is a function of the seed, the step and its place in the batch of all processes, so that
    it does not matter how many processes share the batch.
    Crops are flipped, turned by quarter turns, and some are enlarged: enlarged photographs are
    smoother, as the photographs of large sensors are. A share of the crops is `drawn`.
    """

    def __init__(
        self, images: Sequence[Pixels], size: int, batch: int, seed: int, drawn: float = 0.0
    ) -> None:
        self._drawn = drawn
        self._images = images
        self._size = size
        self._batch = batch
        self._seed = seed
        areas = np.array([image.shape[0] * image.shape[1] for image in images], dtype=np.float64)
        self._edges = np.cumsum(areas) / areas.sum()

    def batch(self, step: int, rank: int) -> Tensor:
        """Return uint8 [B, 3, size, size], channels last in memory."""
        crops = np.empty((self._batch, self._size, self._size, 3), dtype=np.uint8)
        for place, crop in enumerate(crops, start=rank * self._batch):
            rng = np.random.default_rng((self._seed, step, place))
            crop[:] = self._crop(rng)
            # Nothing is asked of the random numbers where nothing is drawn.
            if self._drawn and rng.random() < self._drawn:
                page = rng.random() < ON_PAGE_SHARE
                crop[:] = on_page(rng, crop) if page else drawn(rng, self._size)
        return torch.from_numpy(crops).permute(0, 3, 1, 2)

    def _crop(self, rng: np.random.Generator) -> Pixels:
        image = self._images[int(np.searchsorted(self._edges, rng.random(), side="right"))]
        enlarged = rng.random() < ENLARGED_SHARE
        span = round(self._size / rng.uniform(1.0, ENLARGED_MOST)) if enlarged else self._size
        height, width = image.shape[:2]
        top = rng.integers(max(height - span, 0) + 1)
        left = rng.integers(max(width - span, 0) + 1)
        crop = image[top : top + span, left : left + span]
        if crop.shape[:2] != (span, span):
            missing = ((0, span - crop.shape[0]), (0, span - crop.shape[1]), (0, 0))
            crop = np.pad(crop, missing, mode="reflect")
        if span != self._size:
            square = (self._size, self._size)
            crop = np.asarray(Image.fromarray(crop).resize(square, Image.Resampling.BICUBIC))
        crop = np.rot90(crop, int(rng.integers(4)))
        return crop[:, ::-1] if rng.random() < 0.5 else crop


def prefetch(
    sampler: Sampler, start: int, stop: int, rank: int, threads: int = 1
) -> Iterator[Tensor]:
    """Yield the batches of steps `start` to `stop - 1`, made a few steps ahead by `threads`."""
    ahead = 3 + threads
    with ThreadPoolExecutor(threads, thread_name_prefix="crops") as pool:
        pending: deque[Future[Tensor]] = deque()
        for step in range(start, stop):
            pending.append(pool.submit(sampler.batch, step, rank))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Store:
    """Decoded images: in memory up to a number of bytes, the rest in a file that is mapped."""

    def __init__(self, memory: int, file: IO[bytes]) -> None:
        self._left = memory
        self._file = file
        self._kept: list[Pixels | tuple[int, tuple[int, ...]]] = []

    def add(self, image: Pixels) -> None:
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept.append(image)
        else:
            self._kept.append((self._file.tell(), image.shape))
            self._file.write(image.tobytes())

    def images(self) -> list[Pixels]:
        self._file.flush()
        # The mapping outlives the file object, and with it the file, which has no name.
        mapped = np.memmap(self._file, dtype=np.uint8, mode="r") if self._file.tell() else None
        images: list[Pixels] = []
        for kept in self._kept:
            if isinstance(kept, tuple):
                assert mapped is not None
                start, shape = kept
                images.append(mapped[start : start + int(np.prod(shape))].reshape(shape))
            else:
                images.append(kept)
        return images


def _image_files(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of every image file below `paths`."""
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            wanted = [file for file in files if _is_image(file.name) or _is_shard(file)]
            yield from _image_files(wanted)
        elif not path.is_file():
            raise DataError(f"no such file or folder: {path}")
        elif _is_shard(path):
            yield from _shard_files(path)
        elif _is_image(path.name):
            yield str(path), path.read_bytes()
        else:
            raise DataError(f"neither an image nor a tar shard: {path}")


def _shard_files(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as stream:
        try:
            for member in tar_file_iterator(stream, select_files=_is_image):
                yield f"{path}:{member['fname']}", member["data"]
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"cannot read tar shard {path}: {error}") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith(SHARD_SUFFIXES)
