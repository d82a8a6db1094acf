"""Pillow plugin: importing this module lets `Image.open` and `Image.save` handle .vqc files.

Opening a file reads its header and chunks only and does not import torch; the model is loaded on
the first access to the pixels. As in Pillow's own plugins, a damaged file is an OSError.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from vqcodec.api import decode, encode
from vqcodec.errors import VqcError
from vqcodec.fileformat.container import MAGIC, MAX_SIDE, ChunkTag, read_preamble, unpack
from vqcodec.fileformat.image import info_of

# Pillow has a limit of its own (Image.MAX_IMAGE_PIXELS) and applies it after `_open`.
_NO_LIMIT = MAX_SIDE * MAX_SIDE
# What `Image.save` takes, as `vqcodec.encode` does, beside icc_profile, exif and xmp.
_ENCODE_OPTIONS = ("quality", "max_bytes", "bpp", "psnr", "tune", "model", "strip")


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
        self._mode = ("L" if header.gray else "RGB") + "A" * (ChunkTag.ALPHA in chunks)
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
                    self.fp.read(), partial=ImageFile.LOAD_TRUNCATED_IMAGES, scale=self._scale
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
    options: dict[str, Any] = im.encoderinfo
    given = [key for key in ("icc_profile", "exif", "xmp") if key in options]
    if given:
        im = im.copy()
        for key in given:
            value = options[key]
            im.info[key] = value.tobytes() if isinstance(value, Image.Exif) else value or b""
    fp.write(encode(im, **{name: options[name] for name in _ENCODE_OPTIONS if name in options}))


Image.register_open(VqcImageFile.format, VqcImageFile, _accept)
Image.register_save(VqcImageFile.format, _save)
Image.register_extension(VqcImageFile.format, ".vqc")
Image.register_mime(VqcImageFile.format, "image/x-vqc")
