"""The codec: a loaded model that turns images into .vqc files and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from vqcodec import threads, weights
from vqcodec.codec.decoder import Decoder
from vqcodec.codec.looks import FAITHFUL, is_natural
from vqcodec.codec.profiler import Profiler
from vqcodec.codec.renderer import Synthesis
from vqcodec.codec.target import DEVICE, Target, check, encode_prepared
from vqcodec.codec.tiles import Region, is_one_tile
from vqcodec.codec.tokens import Shapes, Tokens, check_tokens, level_shapes
from vqcodec.entropy.stream import bits
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
from vqcodec.forks import ForkSafeLock, forks, keep_torch_to_one_thread
from vqcodec.weights.store import Weights, load

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vqcodec.codec.encoder import Encoded
    from vqcodec.model.vqvae import VQVAE

SCALES = (1, 2, 4, 8, 16, 32, 64)
SYNTHESES = 4  # qualities whose folded weights are kept
# Channels of the widest maps of all tiles that are decoded at once: what bounds memory, however
# many processors there are.
WIDTH_AT_ONCE = 64


class Codec:
    """A loaded model; read-only, so that threads may share it.

    It encodes in PyTorch on a device, and decodes in onnxruntime on the processor, or where it
    encodes if that was asked for. PyTorch is imported when it is needed. `config` holds the sizes
    of the network.
    """

    def __init__(
        self, loaded: Weights, device: str = "auto", dtype: torch.dtype | None = None
    ) -> None:
        self._loaded, self._dtype = loaded, dtype
        self._device = _checked(device)
        self.model_id = loaded.info.model_id
        self.config = loaded.sizes()
        self._building = ForkSafeLock()
        self._built: list[VQVAE] = []
        in_torch = dtype is not None or self._device not in ("auto", "cpu")
        make = self._torch_synthesis if in_torch else self._synthesis
        self._decoder = Decoder(self.config, loaded.prior, loaded.tables, make)
        self._cached_synthesis = lru_cache(SYNTHESES)(self._make_synthesis)
        if loaded.info not in weights.shipped():
            self._network()  # which refuses parameters that do not fit

    def _network(self) -> VQVAE:
        """Return the network in PyTorch, built when it is first needed; raises ModelError."""
        with self._building:
            if not self._built:
                import torch

                keep_torch_to_one_thread()
                name = self._device
                if name == "auto":
                    name = "cuda" if torch.cuda.is_available() else "cpu"
                network = self._loaded.network().to(name, self._dtype or torch.float32)
                self._built.append(network.eval())
            return self._built[0]

    def _torch_synthesis(self, quality: int, on_picture: bool, natural: bool, _: int) -> Synthesis:
        from vqcodec.codec.tensors import TorchSynthesis

        network = self._network()
        block = None
        if natural:
            block = self._loaded.natural_block().to(network.levels[0].project)
        return TorchSynthesis(network, quality, on_picture=on_picture, natural=block)

    def _synthesis(self, quality: int, on_picture: bool, natural: bool, tiles: int) -> Synthesis:
        number = threads.number()
        width = max(self.config.pixel_hidden[:2])
        at_once = min(number, tiles, max(1, WIDTH_AT_ONCE // width))
        each = number // at_once
        return self._cached_synthesis(quality, on_picture, natural, at_once, each, forks())

    def _make_synthesis(
        self, quality: int, on_picture: bool, natural: bool, at_once: int, each: int, _: int
    ) -> Synthesis:
        from vqcodec.runtime.synthesis import Synthesis as OnnxSynthesis

        arrays = self._loaded.arrays | (self._loaded.natural if natural else {})
        return OnnxSynthesis(
            self.config, arrays, quality, on_picture=on_picture, threads=each, at_once=at_once
        )

    @property
    def card(self) -> Mapping[str, Any]:
        """What is known of the weights; raises ModelError if the card is damaged."""
        return self._loaded.info.card

    @classmethod
    def load(
        cls,
        model: str | Path = weights.DEFAULT,
        device: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Codec:
        """Load a model by name, or a weights file by path.

        `device` is "cpu", "cuda", "cuda:N", "mps" or "auto": CUDA for encoding where there is some.
        With a `dtype`, that of analysis and synthesis, decoding too is PyTorch's, as it is on a
        GPU that is named; neither has a part in what the indices of a file decode to. Raises
        ModelError.
        """
        return cls(load(weights.find(model)), device, dtype)

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
        from vqcodec.codec.encoder import ImageEncoder
        from vqcodec.codec.tiled_encoder import TiledEncoder

        threads.share_with_torch()
        model = self._network(), self._loaded.prior, self._loaded.tables
        grid = self.config.grid(len(self.config.scales) - 1, *pixels.shape[:2])
        encoder = ImageEncoder if is_one_tile(*grid) else TiledEncoder
        return encoder(*model, pixels, quality, with_picture, profiler or Profiler()).encode()

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
        look: str = FAITHFUL,
        profiler: Profiler | None = None,
    ) -> Image.Image:
        """Return the image of a .vqc file: mode RGB or L, with A where the file has alpha.

        A `region` (left, upper, width, height) gives that part of the image, a `scale` of 2, 4, ...
        64 the image so many times smaller, sides rounded up, of as many levels as hold its detail.
        With `partial` a truncated file gives what its bytes hold. A file of more than `max_pixels`
        is refused. At full size a `look` of "natural" draws the texture that few bits cannot
        hold, in place of the "faithful" picture.

        Raises NotVqcError, UnsupportedVersionError, UnknownModelError, TruncatedError,
        CorruptError, TooLargeError; RegionError for a region that is not within the image;
        ValueError for another scale, or a scale and a region; TypeError for what is no number.
        """
        check("scale", scale)
        check("max_pixels", max_pixels)
        natural = is_natural(look)
        container = unpack(data, partial=partial, max_pixels=max_pixels)
        if scale not in SCALES or (scale > 1 and region is not None):
            raise ValueError(f"cannot decode {region or 'an image'} at 1/{scale}")
        self._check(container.header.model_id)
        if natural:
            self._loaded.natural  # noqa: B018  (ModelError if there is none)
        profiler = profiler or Profiler()
        return self._decoder.decode(container, region, scale, profiler, natural=natural)

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
        return level_shapes(self._loaded.prior, self.config, width, height)

    def render(self, tokens: Tokens) -> Image.Image:
        """Return the image that tokens stand for, of mode RGB, or L if they are of a gray one.

        Raises UnknownModelError if they are of other weights, CorruptError for indices that no
        picture of their size has.
        """
        self._check(tokens.model_id)
        check_tokens(tokens, self.token_shapes(tokens.width, tokens.height))
        return assemble(self._decoder.render(tokens), gray=tokens.gray)

    def file_tokens(self, data: BytesLike) -> Tokens:
        """Return the tokens that a .vqc file holds; raises as :meth:`decode` does."""
        container = unpack(data)
        self._check(container.header.model_id)
        return self._decoder.read(container)

    def bits(self, tokens: Tokens) -> list[float]:
        """Return the cross-entropy of tokens under the learned prior, in bits, level by level.

        By the integer tables that files are coded with: a file's stream is as long but for the
        coder's own overhead.
        """
        self._check(tokens.model_id)
        prior, tables = self._loaded.prior, self._loaded.tables
        grid = self.config.grid(0, tokens.height, tokens.width)
        found = bits(prior, tables, tokens.quality, grid, tokens.indices)
        return list(map(float, found))

    def coefficients(self, pixels: Pixels) -> Iterator[tuple[Tensor, int, int]]:
        """Yield the transform that analysis begins with, of uint8 `[H, W, 3]` pixels.

        Pieces of the finest grid, `[C, h, w]`, and the first row and column of each.
        """
        from vqcodec.codec.encoder import coefficients

        return coefficients(self._network(), pixels)

    def _check(self, model_id: bytes) -> None:
        if model_id != self.model_id:
            raise UnknownModelError(f"coded with model {model_id.hex()}, not {self.model_id.hex()}")


def _checked(device: str) -> str:
    """Return a device's name; ValueError if it is none, ModelError if it is not there."""
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise ValueError(f"device is auto, cpu, cuda, cuda:N or mps, not {device!r}")
    if device.startswith("cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (torch.device(device).index or 0) >= count:
            raise ModelError(
                f"no device {device} is available, {count} of CUDA are: use cpu or another"
            )
    if device == "mps":
        import torch

        if not (torch.backends.mps.is_available() and torch.amp.is_autocast_available(device)):
            raise ModelError("no device mps is available with this PyTorch: use cpu or another")
    return device
