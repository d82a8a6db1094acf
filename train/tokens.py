"""What tokens cost under the codec's own prior: python -m train.tokens codes.parquet

Reads what `vqcodec tokens` wrote, and prints a row for each level: what its tokens are, how many
there are, and their bits. That is what a model of one's own has to beat.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np

from train.errors import TrainError
from train.options import FILE, Script, option
from vqcodec.api import codec_of
from vqcodec.codec.codec import Codec
from vqcodec.codec.tokens import Tokens
from vqcodec.token_files import read


def table(images: Iterable[Tokens], codec: Codec | None) -> list[str]:
    """Return the lines of the table, in Markdown; `codec` is that of weights of one's own.

    Raises TrainError if there are no images, or of several models.
    """
    counted: list[Tokens] = []
    bits: list[list[float]] = []
    for tokens in images:
        bits.append((codec or codec_of(tokens.model_id)).bits(tokens))
        counted.append(tokens)
    if len({tokens.model_id for tokens in counted}) != 1:
        raise TrainError("the tokens are not those of one model")
    pixels = sum(tokens.width * tokens.height for tokens in counted)
    sums = np.sum(bits, axis=0)
    sizes = np.sum([[shape.size for shape in tokens.shapes] for tokens in counted], axis=0)
    lines = [
        "| level | phases | codebooks x codewords | tokens | bits | bits a token | bits a pixel |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for level, shape in enumerate(counted[0].shapes):
        books = ", ".join(
            f"{count} x {words}"
            for count, words in zip(shape.codebooks, shape.codewords, strict=True)
        )
        lines.append(_row(str(level), shape.phases, books, sizes[level], sums[level], pixels))
    return [*lines, _row("all", "", "", sizes.sum(), sums.sum(), pixels)]


def _row(level: str, phases: object, books: str, size: int, bits: float, pixels: int) -> str:
    return (
        f"| {level} | {phases} | {books} | {size:,} | {bits:,.0f} | {bits / size:.3f} "
        f"| {bits / pixels:.4f} |"
    )


@click.command(cls=Script)
@click.argument("path", type=FILE, metavar="TABLE")
@option("--model", type=FILE, help="The weights, if they did not come with the package.")
def main(path: Path, model: Path | None) -> None:
    """Print the bits of tokens in a TABLE that `vqcodec tokens` wrote, level by level."""
    codec = None if model is None else Codec.load(model)
    for line in table((tokens for _, tokens in read(path)), codec):
        print(line)


if __name__ == "__main__":
    main()
