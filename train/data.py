"""Training batches: photographs, in memory or streamed, cut into reproducible random crops."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from train.drawings import drawn, on_page
from train.errors import DataError
from train.photographs import Photograph, Pixels, find_photographs, nothing_in, spread
from train.stream import Pool, Stream
from vqcodec.density.ycc import SPACES, added_to_luma

ENLARGED_SHARE = 0.3
ENLARGED_MOST = 1.6
_ENLARGING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
ON_PAGE_SHARE = 0.4  # of the crops with something drawn
SOFT_SHARE = 0.8  # of the crops in YCC

_log = logging.getLogger("train")


class Sampler(Protocol):
    """Training batches as a pure function of the step and the rank, so that resume is exact."""

    def batch(self, step: int, rank: int) -> Tensor:
        """Return the part of the batch of `step` that process `rank` works on."""
        ...


def whole_images(photographs: Sequence[Photograph], limit: int, multiple: int = 64) -> list[Tensor]:
    """Return up to `limit` images for validation as uint8 [B, 3, H, W] batches of equal shape.

    Each image is cut around its centre to multiples of `multiple`; smaller images are left out,
    and the rest are taken at even distances.

    Raises DataError if no image is large enough, or none can be read.
    """
    large = [p for p in photographs if min(p.height, p.width) >= multiple]
    images = spread(large, limit)
    if not images:
        raise DataError(
            f"no readable image to validate on is at least {multiple} pixels high and wide"
        )
    by_shape: dict[tuple[int, ...], list[Pixels]] = {}
    for image in images:
        height, width = (side // multiple * multiple for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut = image[top : top + height, left : left + width]
        by_shape.setdefault(cut.shape, []).append(cut)
    return [torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2) for cuts in by_shape.values()]


class _InMemory:
    """Images that are drawn from alike at every step."""

    def __init__(self, images: Sequence[Pixels]) -> None:
        areas = [image.shape[0] * image.shape[1] for image in images]
        self._pool = Pool(areas, images.__getitem__)

    def pool(self, step: int) -> Pool:
        return self._pool


class CropSampler:
    """Random square crops; every pixel of the data set is about equally likely.

    Each is a function of the seed, the step and its place in the batch of all processes, so that
    it does not matter how many processes share the batch.
    Crops are flipped, turned by quarter turns, and some are enlarged: enlarged photographs are
    smoother, as the photographs of large sensors are. A share of the crops is `drawn`.
    """

    def __init__(
        self, images: Sequence[Pixels] | Stream, size: int, batch: int, seed: int, drawn: float = 0
    ) -> None:
        self._drawn = drawn
        self._images = images if isinstance(images, Stream) else _InMemory(images)
        self._size = size
        self._batch = batch
        self._seed = seed

    @classmethod
    def open(
        cls,
        paths: Sequence[str | Path],
        memory: int,
        size: int,
        batch: int,
        seed: int,
        drawn: float = 0,
        processes: int = 1,
    ) -> CropSampler:
        """Return crops of the images below `paths`: folders, tar shards, single files.

        Those that take more than `memory` bytes decoded are streamed. Raises DataError if a path
        is missing, a shard is unreadable, or there is no image that can be read.
        """
        photographs = find_photographs(paths)
        total = sum(photograph.nbytes for photograph in photographs)
        images: Sequence[Pixels] | Stream
        if total > memory:
            count, gib = len(photographs), total / 2**30
            _log.info("%d images are streamed: decoded, %.2f GiB, more than --memory", count, gib)
            images = Stream(photographs, memory, processes * batch * 3 * size**2, seed)
        else:
            images = spread(photographs, len(photographs))
            if not images:
                raise nothing_in(paths, len(photographs))
        return cls(images, size, batch, seed, drawn)

    def batch(self, step: int, rank: int) -> Tensor:
        """Return uint8 [B, 3, size, size], channels last in memory."""
        pool = self._images.pool(step)
        crops = np.empty((self._batch, self._size, self._size, 3), dtype=np.uint8)
        for place, crop in enumerate(crops, start=rank * self._batch):
            rng = np.random.default_rng((self._seed, step, place))
            crop[:] = self._crop(rng, pool.draw(rng))
            # Nothing is asked of the random numbers where nothing is drawn.
            if self._drawn and rng.random() < self._drawn:
                page = rng.random() < ON_PAGE_SHARE
                crop[:] = on_page(rng, crop) if page else drawn(rng, self._size)
        return torch.from_numpy(crops).permute(0, 3, 1, 2)

    def _crop(self, rng: np.random.Generator, image: Pixels) -> Pixels:
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


class Halved:
    """Batches of another sampler at half the resolution, the means of 2x2 pixels.

    What a lossy file did to single pixels, and demosaicing before it, is mostly gone there. So are
    the soft colours of such files, which `soften_colour` gives back to a share of the crops, and
    their integers of luma and colour, which a share has in place of red, green and blue as the
    model sees them (`vqcodec.density.ycc`).
    """

    def __init__(self, sampler: Sampler, seed: int, soft: float, ycc: float) -> None:
        self._sampler = sampler
        self._seed = seed
        self._soft = soft
        self._ycc = ycc

    def batch(self, step: int, rank: int) -> Tensor:
        """Return uint8 [B, 3, size / 2, size / 2]."""
        images = halve(self._sampler.batch(step, rank))
        for place, image in enumerate(images, start=rank * len(images)):
            rng = np.random.default_rng((self._seed, step, place, 1))
            kind = rng.random()
            if kind < self._soft:
                image.copy_(soften_colour(image, rng))
            elif kind < self._soft + self._ycc:
                image.copy_(in_ycc(image, rng))
        return images


def halve(images: Tensor) -> Tensor:
    """Return uint8 [B, 3, H, W] of even sides at half the resolution."""
    means = functional.avg_pool2d(images.float(), 2)
    return means.round().to(torch.uint8)


def soften_colour(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a uint8 [3, H, W] image whose colour differences are at half the resolution.

    That is how most cameras and JPEG files have them (4:2:0), and decoders enlarge them again.
    """
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).convert("YCbCr")
    luma, *colours = picture.split()
    merged = Image.merge("YCbCr", [luma, *_softened(colours, rng)]).convert("RGB")
    return torch.from_numpy(np.array(merged)).permute(2, 0, 1)


def in_ycc(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a uint8 [3, H, W] image as the model sees it if it was decoded from integer YCC.

    Most have colours that were decoded at half the resolution.
    """
    space = SPACES[int(rng.integers(len(SPACES)))]
    pixels = image.permute(1, 2, 0).contiguous().numpy().astype(np.float32)
    planes = [Image.fromarray(plane) for plane in np.moveaxis(space.from_rgb(pixels), 2, 0)]
    if rng.random() < SOFT_SHARE:
        planes[1:] = _softened(planes[1:], rng)
    ycc = np.rint(np.stack([np.asarray(plane) for plane in planes], 2))
    return torch.from_numpy(added_to_luma(ycc).clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def _softened(planes: Sequence[Image.Image], rng: np.random.Generator) -> list[Image.Image]:
    """Return planes of one size at half the resolution, in whole numbers, and enlarged again."""
    width, height = planes[0].size
    kernel = _ENLARGING[int(rng.integers(len(_ENLARGING)))]
    small = [plane.resize((width // 2, height // 2), Image.Resampling.BOX) for plane in planes]
    whole = [Image.fromarray(np.round(np.asarray(plane))) for plane in small]
    return [plane.resize((width, height), kernel) for plane in whole]


def first_crops(sampler: Sampler, count: int, processes: int) -> Tensor:
    """Return the first `count` images that training sees, however many processes share them."""
    crops: list[Tensor] = []
    for step in itertools.count():
        for rank in range(processes):
            crops.extend(sampler.batch(step, rank))
        if len(crops) >= count:
            break
    return torch.stack(crops[:count])


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
