"""Pillow plugin: importing this module lets `Image.open` and `Image.save` handle .vqc files.

Opening a file reads its header and chunks only and does not import torch; the model is loaded on
the first access to the pixels, with the look that `info["look"]` then asks for. As in Pillow's own
plugins, a damaged file is an OSError. Options of `save` are carried out, refused, or warned of.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from vqcodec.api import decode, encode
from vqcodec.codec.looks import FAITHFUL
from vqcodec.errors import VqcError, warn
from vqcodec.fileformat.container import (
    ALPHA_TAGS,
    MAGIC,
    MAX_SIDE,
    read_preamble,
    unpack,
)
from vqcodec.fileformat.image import info_of

# Pillow has a limit of its own (Image.MAX_IMAGE_PIXELS) and applies it after `_open`.
_NO_LIMIT = MAX_SIDE * MAX_SIDE
# What `Image.save` takes: what the image is to have in place of its own, and what
# `vqcodec.encode` does.
_METADATA = ("icc_profile", "exif", "xmp")
_ENCODE_OPTIONS = (
    "quality", "max_bytes", "bpp", "psnr", "ssimulacra2", "alpha_quality", "tune", "model",
    "strip", "keep_profile",
)  # fmt: skip


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


class VqcImageFile(ImageFile.ImageFile):
    """A .vqc file that is decoded when its pixels are first asked for."""

    format = "VQC"
    format_description = "Vector-quantized image"
    _pending = False  # of the class: a copy made by pickle has its pixels and runs no `_open`
    _scale = 1

    def _open(self) -> None:
        assert self.fp is not None
        if not _accept(self.fp.read(len(MAGIC))):
            raise SyntaxError("not a .vqc file")
        try:
            preamble = read_preamble(
                self.fp, partial=ImageFile.LOAD_TRUNCATED_IMAGES, max_pixels=_NO_LIMIT
            )
        except VqcError as error:
            raise OSError(str(error)) from error
        header, chunks = preamble.header, preamble.chunks
        self._size = header.width, header.height
        has_alpha = not ALPHA_TAGS.isdisjoint(chunks)
        self._mode = ("L" if header.gray else "RGB") + "A" * has_alpha
        self.info.update(info_of(chunks))
        self.info["quality"] = header.quality
        self._pending = True

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Let `load` give the smallest scale, 1/2 ... 1/64, that is at least `size`, in less time.

        As for JPEG; the mode stays what it is. Return it and the box of the smaller image that the
        whole one is, or None where nothing changes.
        """
        if not self._pending or self._scale > 1 or size is None:
            return None
        width, height = self.size
        within = (
            n
            for n in (64, 32, 16, 8, 4, 2)
            if all(side // n >= asked for side, asked in zip(self.size, size, strict=True))
        )
        self._scale = next(within, 1)
        if self._scale == 1:
            return None
        self._size = -(-width // self._scale), -(-height // self._scale)
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def verify(self) -> None:
        """Check the file against its checksums without decoding it; OSError if it is damaged."""
        if self.fp is None:
            raise OSError("verify must be called directly after open")
        self.fp.seek(0)
        try:
            unpack(self.fp.read(), max_pixels=_NO_LIMIT)
        except VqcError as error:
            raise OSError(str(error)) from error
        super().verify()

    def load(self) -> Any:
        """Decode the file; OSError if it is damaged or its model is not at hand."""
        if self._pending:
            if self.fp is None:
                raise OSError("the file is closed")
            self.fp.seek(0)
            try:
                image = decode(
                    self.fp.read(),
                    partial=ImageFile.LOAD_TRUNCATED_IMAGES,
                    scale=self._scale,
                    look=self.info.get("look", FAITHFUL),
                )
            except VqcError as error:
                raise OSError(str(error)) from error
            self.im = image.im
            self._pending = False
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    options = {name: value for name, value in im.encoderinfo.items() if value is not None}
    if options.pop("lossless", False):
        raise ValueError("there is no lossless .vqc file: leave lossless out")
    # A None given for metadata takes away what the image has.
    given = [name for name in _METADATA if name in im.encoderinfo]
    if given:
        im = im.copy()
        im.info.update({name: _metadata(name, options.pop(name, b"")) for name in given})
    known = {name: options.pop(name) for name in _ENCODE_OPTIONS if name in options}
    warn(f"{name} is not kept: save has no such option for .vqc files" for name in options)
    fp.write(encode(im, **known))


def _metadata(name: str, value: object) -> bytes:
    """Return what `Image.info` is to hold; TypeError or ValueError for what cannot be that."""
    if isinstance(value, Image.Exif):
        value = value.tobytes()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} is a bytes-like object, not {type(value).__name__}")
    data = bytes(value)
    if name == "exif" and data:
        try:
            Image.Exif().load(data)
        except Exception as error:  # Pillow raises nearly anything on damaged EXIF.
            raise ValueError(f"exif cannot be read: {error}") from error
    return data


Image.register_open(VqcImageFile.format, VqcImageFile, _accept)
Image.register_save(VqcImageFile.format, _save)
Image.register_save_all(VqcImageFile.format, _save)
Image.register_extension(VqcImageFile.format, ".vqc")
Image.register_mime(VqcImageFile.format, "image/x-vqc")
