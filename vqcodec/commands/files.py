"""Files on disk: which inputs a command line means, where outputs go, and writing them safely.

Nothing here knows about images or codecs.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

VQC_SUFFIX = ".vqc"
IMAGE_SUFFIXES = (
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2c", ".j2k",
    ".jfi", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl",
    ".mpo", ".pbm", ".pfm", ".pgm", ".pjp", ".pjpeg", ".png", ".pnm", ".ppm", ".qoi", ".tga",
    ".tif", ".tiff", ".webp",
)  # fmt: skip
# What the system calls the open descriptors of this process.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
_LINKS_FOLLOWED = 40
# When a file was last read and last changed, in nanoseconds since 1970.
Times = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """An input file, and its path relative to the folder that it was found in (else its name)."""

    path: Path
    relative: Path


@dataclass(frozen=True, slots=True)
class Found:
    """The files that a path stands for, and the folders in it that could not be searched."""

    files: list[Source]
    unread: list[tuple[Path, OSError]]


def expand(path: Path, suffixes: Collection[str]) -> Found:
    """The files that `path` stands for: itself, or what lies under it if it is a folder.

    A folder is searched with all its subfolders, in alphabetical order, for files whose suffix
    is in `suffixes` (lower case, with the dot). Hidden files and folders are passed over, and so
    are links to folders. A file that cannot be looked at is among the others, for reading it says
    why.

    Raises:
        FileNotFoundError: there is no such file, or no such file in the folder.
        OSError: `path` cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError("no such file") from None
    if not stat.S_ISDIR(mode):
        return Found([Source(path, Path(path.name))], [])
    unread: list[tuple[Path, OSError]] = []
    files: list[Source] = []
    # Not rglob, which passes over what it may not read without a word.
    for folder, subfolders, names in os.walk(
        path, onerror=lambda error: unread.append((Path(error.filename), error))
    ):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for file in (Path(folder, name) for name in names):
            if file.name.startswith(".") or file.suffix.lower() not in suffixes:
                continue
            if _is_input(file):
                files.append(Source(file, file.relative_to(path)))
    if not files and not unread:
        raise FileNotFoundError(f"no file in this folder ends in {' '.join(suffixes)}")
    return Found(sorted(files, key=lambda source: source.path), sorted(unread, key=itemgetter(0)))


def _is_input(path: Path) -> bool:
    """Tell whether a path in a folder is one of a file, or of what cannot be looked at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


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
    # Not the methods of Path, which fail where a folder may not be looked into: writing says so.
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder")
    if is_written(path) and not force:
        raise FileExistsError(f"{path} exists already (--force overwrites it)")


def is_written(path: Path) -> bool:
    """Tell whether a path is that of a file, and not of a descriptor that leads to one."""
    return os.path.isfile(path) and descriptor_of(path) is None


def atomic_write(
    path: Path, data: bytes, *, force: bool = False, times: Times | None = None
) -> None:
    """Write a file so that it is there completely or not at all.

    `data` goes to a temporary file in the same folder, which is flushed to the disk and renamed,
    or removed on any failure or interrupt. Missing folders are made. A file that is overwritten
    leaves its owner and permissions to the new one. It gets `times` if there are any. A device, a
    pipe or an open descriptor is written to directly; a symbolic link is followed.

    Raises:
        IsADirectoryError, FileExistsError: as `check_writable`.
        OSError: the file system refuses; the message names `path`.
    """
    with _named(path):
        descriptor = descriptor_of(path)
        if descriptor is not None:
            with open(os.dup(descriptor), "wb") as stream:
                stream.write(data)
        elif os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            path.write_bytes(data)  # a rename would put a file in the place of /dev/null
        else:
            _write_and_rename(Path(os.path.realpath(path)), data, times, force=force)


def has_times(path: Path) -> bool:
    """Tell whether what is written to a path, new or not, is a file that keeps its times."""
    return is_written(path) or not os.path.exists(path)


def descriptor_of(path: Path) -> int | None:
    """Return the open descriptor that a path such as /dev/stdout stands for; None for any other.

    Such a path leads to a file only by chance, and opening that would write from its beginning.
    """
    folders = {os.path.realpath(folder) for folder in _DESCRIPTORS}
    for _ in range(_LINKS_FOLLOWED):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not os.path.islink(path):
            break
        path = path.parent / os.readlink(path)
    return None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in an error of the system that it is this file which could not be written."""
    try:
        yield
    except BrokenPipeError:
        raise  # the end of the program, see `vqcodec.commands.batch`
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{path} cannot be written: {error.strerror}") from error


def _write_and_rename(path: Path, data: bytes, times: Times | None, *, force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".vqcodec-{secrets.token_hex(8)}.tmp")
    overwrites = os.path.isfile(path)
    # Nobody else may open it before it has the permissions of the file that it replaces.
    mode = 0o600 if overwrites else 0o666
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if overwrites:
                _take_after(path, temporary)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if times is not None:
            os.utime(temporary, ns=times)
        _put_in_place(temporary, path, force=force)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _take_after(path: Path, temporary: Path) -> None:
    """Give a file the owner, permissions and attributes of another, and nobody more than that."""
    old, new = path.stat(), temporary.stat()
    shared = True
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except OSError:
            shared = False  # the group would be another
    shutil.copystat(path, temporary)
    if not shared:
        temporary.chmod(old.st_mode & 0o707)


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
