"""The codec: a loaded model that turns images into .vqc files and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqcodec import weights
from vqcodec.codec.decoder import Decoder
from vqcodec.codec.encoder import Encoded, ImageEncoder
from vqcodec.codec.pixels import tile_of
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.target import DEVICE, Target, check, encode_prepared
from vqcodec.codec.tiles import Region, box, split
from vqcodec.codec.tokens import Shapes, Tokens, check_tokens, level_shapes
from vqcodec.entropy.coder import Counter
from vqcodec.errors import ModelError, UnknownModelError, warn
from vqcodec.fileformat.container import (
    DEFAULT_QUALITY,
    MAX_PIXELS,
    BytesLike,
    Container,
    Header,
    pack,
    unpack,
)
from vqcodec.fileformat.image import ImageLike, Pixels, Prepared, assemble, chunks_of, prepare
from vqcodec.forks import keep_torch_to_one_thread
from vqcodec.model.reach import margin
from vqcodec.weights.store import Weights, load

SCALES = (1, 2, 4, 8, 16, 32, 64)


class Codec:
    """A loaded model on a device; read-only, so that threads may share it.

    `config` holds the sizes of the network.
    """

    def __init__(self, loaded: Weights, device: torch.device, dtype: torch.dtype) -> None:
        keep_torch_to_one_thread()
        self._info = loaded.info
        self.model_id = loaded.info.model_id
        self._prior, self._tables = loaded.prior, loaded.tables
        self._network = loaded.network().to(device, dtype).eval()
        self._decoder = Decoder(self._network, loaded.prior, loaded.tables)
        self.config = self._network.config

    @property
    def card(self) -> Mapping[str, Any]:
        """What is known of the weights; raises ModelError if the card is damaged."""
        return self._info.card

    @classmethod
    def load(
        cls,
        model: str | Path = weights.DEFAULT,
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> Codec:
        """Load a shipped model by name, or a weights file by path.

        `device` is "cpu", "cuda", "cuda:N" or "auto"; `dtype` that of analysis and synthesis, which
        has no part in what the indices of a file decode to. Raises ModelError.
        """
        return cls(load(weights.find(model)), _device(device), dtype)

    def encode(
        self,
        image: ImageLike,
        *,
        quality: int | None = None,
        max_bytes: int | None = None,
        bpp: float | None = None,
        psnr: float | None = None,
        ssimulacra2: float | None = None,
        alpha_quality: int | None = None,
        keep_profile: bool = False,
        profiler: Profiler | None = None,
    ) -> bytes:
        """Return `image` as the bytes of a .vqc file; see `vqcodec.encode`."""
        target = Target(quality, max_bytes, bpp, psnr, ssimulacra2, alpha_quality)
        prepared = prepare(image, keep_profile=keep_profile)
        data, notes = encode_prepared(self, prepared, target, profiler)
        warn(prepared.notes + notes)
        return data

    def encode_pixels(
        self,
        pixels: Pixels,
        quality: int,
        *,
        with_picture: bool = False,
        profiler: Profiler | None = None,
    ) -> Encoded:
        """Return what uint8 `[H, W, 3]` pixels are coded to; ValueError for a bad quality."""
        model = self._network, self._prior, self._tables
        profiler = profiler or Profiler()
        return ImageEncoder(*model, pixels, quality, with_picture, profiler).encode()

    def pack(self, prepared: Prepared, quality: int, stream: bytes) -> bytes:
        """Return the file of a prepared image whose pixels were coded to `stream`."""
        height, width = prepared.pixels.shape[:2]
        header = Header(self.model_id, width, height, quality, prepared.gray)
        return pack(Container(header, chunks_of(prepared), stream))

    def decode(
        self,
        data: BytesLike,
        *,
        region: Region | None = None,
        scale: int = 1,
        partial: bool = False,
        max_pixels: int = MAX_PIXELS,
        profiler: Profiler | None = None,
    ) -> Image.Image:
        """Return the image of a .vqc file: mode RGB or L, with A where the file has alpha.

        A `region` (left, upper, width, height) gives that part of the image, a `scale` of 2, 4, ...
        64 the image so many times smaller, sides rounded up, of as many levels as hold its detail.
        With `partial` a truncated file gives what its bytes hold. A file of more than `max_pixels`
        is refused.

        Raises NotVqcError, UnsupportedVersionError, UnknownModelError, TruncatedError,
        CorruptError, TooLargeError; RegionError for a region that is not within the image;
        ValueError for another scale, or a scale and a region; TypeError for what is no number.
        """
        check("scale", scale)
        check("max_pixels", max_pixels)
        container = unpack(data, partial=partial, max_pixels=max_pixels)
        if scale not in SCALES or (scale > 1 and region is not None):
            raise ValueError(f"cannot decode {region or 'an image'} at 1/{scale}")
        self._check(container.header.model_id)
        return self._decoder.decode(container, region, scale, profiler or Profiler())

    def tokenize(self, image: ImageLike, *, quality: int | None = None) -> Tokens:
        """Return the code indices of `image`, whose alpha and metadata are left out."""
        quality = Target(quality).quality or DEFAULT_QUALITY
        prepared = prepare(image)
        warn(prepared.notes)
        return self.tokens_of(self.encode_pixels(prepared.pixels, quality), prepared, quality)

    def tokens_of(self, encoded: Encoded, prepared: Prepared, quality: int) -> Tokens:
        """Return the tokens of a prepared image whose pixels were coded at a quality."""
        height, width = prepared.pixels.shape[:2]
        shapes = self.token_shapes(width, height)
        return Tokens(encoded.indices, shapes, width, height, quality, self.model_id, prepared.gray)

    def token_shapes(self, width: int, height: int) -> Shapes:
        """Return the shapes of the tokens of a picture of so many pixels, level by level."""
        return level_shapes(self._prior, self.config, width, height)

    def render(self, tokens: Tokens) -> Image.Image:
        """Return the image that tokens stand for, of mode RGB, or L if they are of a gray one.

        Raises UnknownModelError if they are of other weights, CorruptError for indices that no
        picture of their size has.
        """
        self._check(tokens.model_id)
        check_tokens(tokens, self.token_shapes(tokens.width, tokens.height))
        rows, columns = box(None, tokens.width, tokens.height)
        pixels = self._decoder.render(tokens, rows, columns, 1, Profiler())
        return assemble(pixels, gray=tokens.gray)

    def file_tokens(self, data: BytesLike) -> Tokens:
        """Return the tokens that a .vqc file holds; raises as :meth:`decode` does."""
        container = unpack(data)
        self._check(container.header.model_id)
        return self._decoder.read(container, Profiler())

    def bits(self, tokens: Tokens) -> list[float]:
        """Return the cross-entropy of tokens under the learned prior, in bits, level by level.

        By the integer tables that files are coded with: a file's stream is as long but for the
        coder's own overhead.
        """
        self._check(tokens.model_id)
        counter = Counter(self._tables)
        grid = self.config.grid(0, tokens.height, tokens.width)
        self._prior.replay(tokens.quality, *grid, tokens.indices, counter.put)
        return list(map(float, counter.bits))

    @torch.inference_mode()
    def coefficients(self, pixels: Pixels) -> Iterator[tuple[Tensor, int, int]]:
        """Yield the transform that analysis begins with, of uint8 `[H, W, 3]` pixels.

        Pieces of the finest grid, `[C, h, w]`, and the first row and column of each.
        """
        network, stride = self._network, self.config.strides[-1]
        grid = self.config.grid(len(self.config.scales) - 1, *pixels.shape[:2])
        down, across = (slice(0, side) for side in grid)
        for tile in split(*grid, down, across, margin(network, with_picture=False)):
            rows, columns = tile.inner
            x = tile_of(pixels, tile, stride, network.quality_weights(1))
            yield network.coefficients(x)[0, :, rows, columns], tile.rows.start, tile.columns.start

    def _check(self, model_id: bytes) -> None:
        if model_id != self.model_id:
            raise UnknownModelError(f"coded with model {model_id.hex()}, not {self.model_id.hex()}")


def _device(name: str) -> torch.device:
    if not isinstance(name, str) or not DEVICE.fullmatch(name):
        raise ValueError(f"device is auto, cpu, cuda or cuda:N, not {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ModelError(f"no device {name} is available, {count} of CUDA are: use cpu or another")
    return device
