"""What a file is put through, and what has to hold whatever its bytes are.

Each target returns how far the file came, and raises what is documented to nobody: AssertionError
for a broken promise, anything else for an exception that no user should see.
"""

from __future__ import annotations

import io
import resource
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

from click.testing import CliRunner
from PIL import Image, ImageFile

from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.commands.main import cli
from vqcodec.entropy.stream import read
from vqcodec.errors import CorruptError, TargetError, TruncatedError, VqcError
from vqcodec.fileformat.container import (
    MAX_HEADER_SIZE,
    Container,
    Header,
    pack,
    read_header,
    read_preamble,
    unpack,
)
from vqcodec.fileformat.truncate import truncate
from vqcodec.model.config import Config
from vqcodec.VqcImagePlugin import VqcImageFile
from vqcodec.weights.store import load

SECONDS = 2.0
MEGABYTES = 200
# Larger images take longer, which is no fault: whoever reads hostile files sets a limit too.
MAX_PLACES = 4  # of the coarse grid: 64 x 64 pixels each

# The indices and the command line take far longer than all the rest: one file of eight has to do,
# always the same ones.
_SLOW_ONE_IN = 8

Target = Callable[[bytes], object]

PADDING = Config().padding


class ContainerTarget:
    """Everything that reads a file without torch."""

    def __init__(self) -> None:
        self._weights = load(weights.find(weights.DEFAULT))

    def __call__(self, data: bytes) -> None:
        with suppress(VqcError):
            read_header(data[:MAX_HEADER_SIZE])
        for partial in (False, True):
            with suppress(VqcError):
                read_preamble(io.BytesIO(data), partial=partial)
        damaged = False
        chosen = crc32(data) % _SLOW_ONE_IN == 0
        try:
            container = unpack(data)
        except VqcError:
            damaged = True
        else:
            assert container.complete
            assert unpack(pack(container)) == container
            self._shorten(data)
        try:
            container = unpack(data, partial=True)
        except VqcError:
            assert damaged, "refused although whole"
        else:
            assert damaged or container.complete
            if chosen:
                self._indices(container)
        if chosen:
            self._info(data, damaged)

    def _shorten(self, data: bytes) -> None:
        for size in (1, 40, len(data) // 2, len(data) - 1):
            with suppress(TargetError):
                shorter, _ = truncate(data, size)
                assert len(shorter) <= size
                unpack(shorter)

    def _indices(self, container: Container) -> None:
        header = container.header
        grid = _grid(header)
        if grid != (1, 1):  # larger ones are left to the decoder's target: they are slow
            return
        prior, tables = self._weights.prior, self._weights.tables
        partial = not container.whole_stream
        with suppress(CorruptError):
            list(read(prior, tables, container.payload, header.quality, grid, partial=partial))

    def _info(self, data: bytes, damaged: bool) -> None:
        result = CliRunner().invoke(cli, ["info", "-", "--json"], input=data)
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code == damaged


class DecoderTarget:
    """Everything from the bytes to the pixels, by the codec and by Pillow."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def __call__(self, data: bytes) -> None:
        try:
            header, _ = read_header(data[:MAX_HEADER_SIZE])
        except VqcError:
            header = None
        if header is not None and prod(_grid(header)) > MAX_PLACES:
            return
        image = None
        try:
            image = self._codec.decode(data)
        except VqcError as error:
            if isinstance(error, TruncatedError):
                with suppress(VqcError):
                    part = self._codec.decode(data, partial=True)
                    assert header is not None
                    assert part.size == (header.width, header.height)
        self._plugin(data, image)

    def _plugin(self, data: bytes, image: Image.Image | None) -> None:
        ImageFile.LOAD_TRUNCATED_IMAGES = bool(data) and data[-1] % 2 == 1
        try:
            opened = VqcImageFile(io.BytesIO(data))
            opened.load()
        except (OSError, SyntaxError):  # SyntaxError: how Pillow's plugins say "not mine"
            assert image is None, "the plugin refuses what the codec decodes"
        else:
            opened.copy()
            if image is not None:
                assert (opened.mode, opened.tobytes()) == (image.mode, image.tobytes())
            else:
                assert ImageFile.LOAD_TRUNCATED_IMAGES, "the plugin decodes what the codec refuses"
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass
class Limits:
    """Runs a target and keeps count of its time and memory."""

    target: Target
    runs: int = 0
    slowest: float = 0.0  # seconds of processor time
    start: float = field(default_factory=time.perf_counter)
    grown: int = 0  # KB

    def __call__(self, data: bytes) -> None:
        """Run the target; AssertionError if that took more time or memory than it may."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is not for a fuzzer
            begin, peak = time.process_time(), _peak()
            self.target(data)
            spent = time.process_time() - begin
        self.runs += 1
        self.slowest = max(self.slowest, spent)
        rise = _peak() - peak
        self.grown += rise
        assert spent <= SECONDS, f"{spent:.1f} s of processor time"
        assert rise >> 10 <= MEGABYTES, f"{rise >> 10} MB more memory"

    def warm_up(self, seeds: list[bytes]) -> None:
        """Run the seeds, so that caches are filled before time and memory are counted."""
        for seed in seeds:
            self(seed)
        self.runs, self.slowest, self.grown = 0, 0.0, 0
        self.start = time.perf_counter()

    @property
    def megabytes(self) -> int:
        """MB by which all inputs together raised the most memory ever taken.

        Under atheris this rises with its own records; without it there is a limit on it.
        """
        return self.grown >> 10

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.start
        return (
            f"{self.runs} runs in {seconds:.0f} s, slowest {1000 * self.slowest:.0f} ms of "
            f"processor time, peak memory grew by {self.megabytes} MB"
        )


def _grid(header: Header) -> tuple[int, int]:
    return -(-header.height // PADDING), -(-header.width // PADDING)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
