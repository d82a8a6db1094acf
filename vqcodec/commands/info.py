"""`vqcodec info`: what a .vqc file holds, told without decoding it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vqcodec import api
from vqcodec.commands.batch import STREAM, Job, describe
from vqcodec.commands.bpd import density_text, file_density
from vqcodec.commands.options import complete_file
from vqcodec.errors import VqcError


@click.command()
@click.argument("file", metavar="FILE", shell_complete=complete_file)
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
        found = api.info(data)
        facts = {"file": file} | asdict(found)
        if with_density and found.sound:
            facts["bpd"] = file_density(data)
    except (VqcError, OSError) as error:
        raise click.ClickException(f"{file}: {describe(error)}") from error
    click.echo(json.dumps(facts) if as_json else _info_text(facts))
    sys.exit(0 if found.sound else 1)


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
