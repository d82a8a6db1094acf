"""Files on disk: which inputs a command line means, where outputs go, and writing them safely.

Nothing here knows about images or codecs.
"""

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VQC_SUFFIX = ".vqc"
IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jp2", ".jpeg", ".jpg", ".jxl",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """An input file, and its path relative to the folder that it was found in (else its name)."""

    path: Path
    relative: Path


def expand(path: Path, suffixes: Collection[str]) -> list[Source]:
    """The files that `path` stands for: itself, or what lies under it if it is a folder.

    A folder is searched with all its subfolders, in alphabetical order, for files whose suffix
    is in `suffixes` (lower case, with the dot). Hidden files and folders are passed over.

    Raises:
        FileNotFoundError: there is no such file, or no such file in the folder.
    """
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError("no such file")
        return [Source(path, Path(path.name))]
    found = [
        Source(file, file.relative_to(path))
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    ]
    if not found:
        raise FileNotFoundError(f"no file in this folder ends in {' '.join(suffixes)}")
    return found


def encoded_name(path: Path) -> Path:
    """Where `encode` puts the file made from `path`: `photo.png` -> `photo.vqc`."""
    return path.with_suffix(VQC_SUFFIX)


def decoded_name(path: Path) -> Path:
    """Where `decode` puts the picture from `path`: `photo.vqc` -> `photo.png`."""
    return path.with_suffix(".png")


def spared_name(path: Path) -> Path:
    """As `decoded_name`, but `photo.decoded.png` if there is a photo.png already.

    That photo.png may be the very photograph that photo.vqc was made from.
    """
    return path.with_suffix(".decoded.png") if decoded_name(path).exists() else decoded_name(path)


def cut_name(path: Path) -> Path:
    """Where `truncate` puts the smaller file made from `path`: `photo.vqc` -> `photo.cut.vqc`."""
    return path.with_suffix(".cut" + VQC_SUFFIX)


def page_name(path: Path) -> Path:
    """Where `compare` puts the page about `path`: `photo.png` -> `photo.html`."""
    return path.with_suffix(".html")


def check_writable(path: Path, *, force: bool) -> None:
    """Refuse what `atomic_write` would refuse, so that no work is spent on it first.

    Raises:
        IsADirectoryError: `path` is a folder.
        FileExistsError: `path` is a file, and `force` is not given.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if path.is_file() and not force:
        raise FileExistsError(f"{path} exists already (--force overwrites it)")


def atomic_write(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write a file so that it is there completely or not at all.

    `data` goes to a temporary file in the same folder, which is flushed to the disk and renamed,
    or removed on any failure or interrupt. Missing folders are made. A device or a pipe is
    written to directly; a symbolic link is followed.

    Raises:
        IsADirectoryError, FileExistsError: as `check_writable`.
        OSError: the file system refuses.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)  # a rename would put a file in the place of /dev/null
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".vqcodec-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(temporary, path, force=force)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _put_in_place(temporary: Path, path: Path, *, force: bool) -> None:
    """Rename a finished file, without `force` not over one that came into being meanwhile."""
    check_writable(path, force=force)
    if not force:
        try:
            os.link(temporary, path)  # unlike a rename it fails where there is a file
        except FileExistsError:
            check_writable(path, force=force)
            raise
        except OSError:
            pass  # not every file system has hard links
        else:
            temporary.unlink()
            return
    temporary.replace(path)
