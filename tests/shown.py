"""What docs/format.md shows of the shipped weights: their configurations, and a file in full.

Made with the second decoder. `python tests/shown.py` writes it into the page, once weights and
golden files are new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from golden import FOLDER
from numpy.typing import NDArray
from reference import Reference, parse
from reference.arrays import read_safetensors
from reference.config import read_config
from reference.indices import Prior
from reference.stream import RangeDecoder, Segments, Symbols, cumulative_frequencies

from vqcodec import weights

PAGE = Path(__file__).parents[1] / "docs" / "format.md"
EXAMPLE, HEADER, QUALITY, HEIGHT, WIDTH = "size-7x5", 14, 50, 5, 7
_TUNES = ("ssim", "psnr")  # in the order of the columns
_LONGEST = 60  # value that a table shows
_COLUMN = 58  # where the example says what a line is


def with_shown(page: str) -> str:
    """Return the text of the page with what it shows of the weights made anew."""
    before, rest = page.split("| key |", 1)
    table, after = rest.split("\n\n", 1)
    page = f"{before}{_configurations('| key |' + table)}\n\n{after}"
    before, rest = page.split("## An example\n", 1)
    intro, _, after = rest.split("```", 2)
    named = f"{intro.rsplit(' ', 1)[0]} {weights.DEFAULT}:\n\n"
    lines = [f"{line:<{_COLUMN - 2}}  {said}".rstrip() for line, said in _example()]
    return f"{before}## An example\n{named}```\n" + "\n".join(lines) + f"\n```{after}"


def _configurations(table: str) -> str:
    configs = [json.loads(_stored(tune)[0]["vqcodec_config"]) for tune in _TUNES]
    head, rule, *rows = (line.strip("|").split("|")[:3] for line in table.splitlines())
    lines = [[*head, *(weights.TUNED[tune] for tune in _TUNES)], rule + len(_TUNES) * rule[:1]]
    for cells in rows:
        key = cells[0].strip(" `")
        lines.append([*cells, *(_value(config.get(key)) for config in configs)])
    return "\n".join("|" + "".join(map(_cell, line)) for line in lines)


def _cell(text: str) -> str:
    """Return a cell of a table, and the line on its right."""
    text = text.strip()
    return f" {text} |" if text.strip("-") else f"{text or ' '}|"


def _value(value: object) -> str:
    text = "" if value is None else f"`{json.dumps(value)}`"
    return text if len(text) <= _LONGEST else "(long)"


def _stored(tune: str) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    return read_safetensors(weights.find(weights.TUNED[tune]).data)


class _Recorder(Symbols):
    """Keeps the table that each symbol of a segment is read with."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream, cut=False)
        self.tables: list[Sequence[int]] = []

    def read(self, cumulative: Sequence[int], count: int) -> NDArray[Any]:
        self.tables += count * [cumulative]
        return super().read(cumulative, count)


class _Recorded(Segments):
    """A stream of one segment with a recorder."""

    def __init__(self, stream: bytes, recorder: _Recorder) -> None:
        super().__init__(stream, cut=False)
        self._recorder = recorder

    def only(self) -> Symbols:
        return self._recorder


def _example() -> Iterator[tuple[str, str]]:
    """Yield the lines of the example, and what is said of them."""
    data = (FOLDER / f"{EXAMPLE}.vqc").read_bytes()
    stream = parse(data).stream
    info = weights.find(weights.DEFAULT)
    metadata, arrays = read_safetensors(info.data)
    config = read_config(metadata["vqcodec_config"])
    symbols = _Recorder(stream)
    Prior(arrays, config).indices(_Recorded(stream, symbols), QUALITY, HEIGHT, WIDTH)
    counts = arrays["tables.0.0"]
    (_, class_, row), (_, next_class, _) = (_found(counts, table) for table in symbols.tables[:2])
    yield data[:HEADER].hex(" "), "header: version 1, model, no flag, quality 50, 7 x 5"
    yield data[HEADER : HEADER + 1].hex(), "size of the stream"
    yield data[HEADER + 1 : -4].hex(" "), "stream"
    yield data[-4:].hex(" "), "CRC"
    padded = stream + bytes(-len(stream) % 4)
    decoder = RangeDecoder(np.frombuffer(padded, "<u4").tolist())
    yield f"d = {decoder.offset:#018x}", "r = 2^64 - 1, s = 2^40 - 1"
    quantile, scale = decoder.offset // (decoder.range >> 24), decoder.range >> 24
    yield f"q = {quantile}", f"quality planes 1, 126, 0; the first symbol is of class {class_}"
    first, second = symbols.tables[:2]
    symbol = decoder.symbol(first)
    assert symbol is not None
    low, high = first[symbol : symbol + 2]
    interval = f"C = {row[:symbol].sum()}, {low} <= q < {high}"
    yield f"symbol {symbol}: {interval}", f"n = {len(row)}"
    read = "a word is read" if scale * (high - low) < 2**32 else "no word is read"
    yield f"r = {decoder.range:#x}, d = {decoder.offset:#x}", read
    yield f"symbol {decoder.symbol(second)}", f"of class {next_class}"
    yield f"r = {decoder.range:#x}, d = {decoder.offset:#x}", ""
    reference = Reference(info.path)
    chosen = reference.indices(data)[0][0][:, 0].tolist()
    yield f"indices of level 0, group 0: {chosen}", "at the one position of the coarsest grid"
    pixel = reference.pixels(data)[0, 0].tolist()
    yield f"top left pixel: {pixel}", "by floating point: one more or less is right too"


def _found(counts: NDArray[Any], table: Sequence[int]) -> tuple[int, int, NDArray[Any]]:
    """Return codebook, class and counts of a table of cumulative frequencies."""
    same = (cumulative_frequencies(counts) == table).all(-1)
    book, class_ = np.argwhere(same)[0].tolist()
    return book, class_, counts[book, class_]


if __name__ == "__main__":
    PAGE.write_text(with_shown(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
