"""One mutation of a file, and the corpus: what the long run and the short test share."""

from __future__ import annotations

from pathlib import Path
from random import Random

from vqcodec.errors import VqcError
from vqcodec.fileformat.container import unpack

from .mutate import fields_of, repair, rewrite, scramble

CORPUS = Path(__file__).parent / "corpus"


def corpus() -> list[bytes]:
    """Return the inputs that once broke a promise."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.vqc"))]


def mutated(data: bytes, random: Random) -> bytes:
    """Return the file changed: in its fields if it is sound, or anywhere, repaired or not."""
    if random.random() < 0.6:
        try:
            container = unpack(data)
        except VqcError:
            pass
        else:
            return rewrite(fields_of(data, container), random)
    changed = scramble(data, random)
    return repair(changed) if random.random() < 0.7 else changed
