"""Weights become a package of their own: python -m train.package MODEL OUT

What OUT then holds, `pip install` takes, and `python -m build`; the package has the weights file,
its card and nothing that runs, and vqcodec finds it (vqcodec.weights.packages).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import click

from train.options import FILE, Script
from vqcodec import __version__, weights
from vqcodec.weights.packages import GROUP, package_of
from vqcodec.weights.store import load

_PROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "{version}"
description = "{description}"
requires-python = ">=3.10"
license = {{ text = {licence} }}

[project.entry-points."{group}"]
"{name}" = "{folder}"

[tool.hatch.build.targets.wheel]
packages = ["{folder}"]
"""


def write_package(model: weights.ModelInfo, out: Path) -> None:
    """Write the project of the package of a model into a folder that is not there yet.

    Its version is that of this vqcodec. Raises ModelError if the weights or their card are damaged,
    FileExistsError if there is such a folder.
    """
    load(model)
    package = package_of(model.name)
    description = f"{model.name}, weights {model.model_id.hex()} of the image codec vqcodec."
    folder = out / re.sub(r"\W", "_", package)
    project = _PROJECT.format(
        package=package,
        version=__version__,
        description=description,
        licence=json.dumps(model.card.get("licence", "not known")),
        group=GROUP,
        name=model.name,
        folder=folder.name,
    )
    folder.mkdir(parents=True)
    (out / "pyproject.toml").write_text(project, encoding="utf-8")
    (folder / "__init__.py").write_text(f'"""{description}"""\n', encoding="utf-8")
    shutil.copy(model.path, folder)
    card = json.dumps(model.card, indent=2) + "\n"
    (folder / f"{model.name}.json").write_text(card, encoding="utf-8")


@click.command(cls=Script)
@click.argument("model")
@click.argument("out", type=FILE)
def main(model: str, out: Path) -> None:
    """Make a package of MODEL, a name or weights file, in the new folder OUT."""
    info = weights.find(model)
    write_package(info, out)
    click.echo(f"{out}: {package_of(info.name)}, for files of model {info.model_id.hex()}")


if __name__ == "__main__":
    main()
