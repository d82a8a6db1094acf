"""`vqcodec info`: what a .vqc file holds, told without decoding it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from vqcodec import weights
from vqcodec.commands.batch import STREAM, Job, describe
from vqcodec.commands.bpd import density_text, file_density
from vqcodec.errors import VqcError
from vqcodec.fileformat.container import VERSION, read_preamble, unpack


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--bpd", "with_density", is_flag=True,
    help="Also decode it, and show its rate beside what the density model says of the picture.",
)  # fmt: skip
def info(file: str, as_json: bool, with_density: bool) -> None:
    """Tell what a .vqc file holds without decoding it; - is stdin.

    The exit code is 1 if the file is damaged.
    """
    try:
        data = Job(None if file == STREAM else Path(file), None).read()
        preamble = read_preamble(io.BytesIO(data), partial=True)
    except (VqcError, OSError) as error:
        raise click.ClickException(f"{file}: {describe(error)}") from error
    damage = None
    try:
        unpack(data)
    except VqcError as error:
        damage = str(error)
    header = preamble.header
    names = [each.name for each in weights.available() if each.model_id == header.model_id]
    facts = {
        "file": file,
        "bytes": len(data),
        "version": VERSION,
        "model_id": header.model_id.hex(),
        "model": names[0] if names else None,
        "width": header.width,
        "height": header.height,
        "gray": header.gray,
        "cut": header.cut,
        "quality": header.quality,
        "chunks": {tag.name.lower(): len(chunk) for tag, chunk in preamble.chunks.items()},
        "stream_bytes": preamble.stream_size,
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "sound": damage is None,
        "damage": damage,
    }
    if with_density and damage is None:
        try:
            facts["bpd"] = file_density(data, header)
        except VqcError as error:
            raise click.ClickException(f"{file}: {describe(error)}") from error
    click.echo(json.dumps(facts) if as_json else _info_text(facts))
    sys.exit(1 if damage else 0)


def _info_text(facts: dict[str, Any]) -> str:
    chunks = ", ".join(f"{name} {size:,} bytes" for name, size in facts["chunks"].items())
    rows = {
        "file": facts["file"],
        "format": f"vqc version {facts['version']}",
        "model": f"{facts['model'] or 'not one of `vqcodec models`'} ({facts['model_id']})",
        "image": f"{facts['width']}x{facts['height']} {'gray' if facts['gray'] else 'colour'}",
        "quality": facts["quality"],
        "bytes": f"{facts['bytes']:,} ({facts['bpp']} bpp)",
        "stream": f"{facts['stream_bytes']:,} bytes" + ", the front of a longer one" * facts["cut"],
        "chunks": chunks or "none",
        "checksum": facts["damage"] or "right",
    }
    if "bpd" in facts:
        rows["bits/dim"] = density_text(facts["bpd"])
    return "\n".join(f"{label:<9} {value}" for label, value in rows.items())
