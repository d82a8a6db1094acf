"""What the program says: lines of printable text, on streams that may be closed.

Names of files come from strangers and from other systems. What would move a cursor, break a line,
turn the direction of text or is not in the stream's code page is shown as an escape sequence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

if TYPE_CHECKING:
    from tqdm import tqdm


def printable(text: str, stream: TextIO | None = None) -> str:
    r"""Return a line with `\x1b` and the like for what `stream` (of UTF-8 if None) cannot show."""
    safe = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
    encoding = (stream and stream.encoding) or "utf-8"
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def remark(name: str, text: str) -> str:
    """Return the line for stderr that says something about a file."""
    return printable(f"{name}: {text}", sys.stderr)


def answer(*lines: str) -> None:
    """Print lines on stdout.

    Raises:
        OSError: it is closed, or what it leads to is full.
    """
    # The stream by its name, since click would choose UTF-8 for one that is ASCII.
    click.echo("\n".join(printable(line, sys.stdout) for line in lines), file=sys.stdout)


def progress(sizes: Sequence[int], *, quiet: bool = False) -> tqdm[NoReturn]:
    """Return a bar on stderr for the bytes of some inputs, which are to be told to it.

    It is silent for one input and where stderr is no terminal.
    """
    from tqdm import tqdm  # takes longer to import than `vqcodec info` to run

    return tqdm(
        total=sum(sizes),
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        leave=False,
        # None: unless stderr is no terminal
        disable=None if len(sizes) > 1 and not quiet else True,
    )


def fill_closed_streams() -> None:
    """Open something for each standard stream that the program was started without.

    The next files to be opened would get their numbers, and with them whatever libraries print.
    Reading from what stands in for stdin and writing to what does for stdout fails as with a
    closed stream; what goes to stderr has nobody to read it.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def drop_unwritten() -> None:
    """Let go of what stdout did not take, which has been reported when it was written.

    The interpreter would try once more when it ends, and report that at length.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
