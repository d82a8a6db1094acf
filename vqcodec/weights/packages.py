"""Weights that come in packages of their own: which of them are installed, and which are for what.

A package offers a model by an entry point of the group `vqcodec.models`: the model's name, and that
of the package, in whose folder lie NAME.safetensors and NAME.json. Nothing of it is imported.
"""

from __future__ import annotations

from pathlib import Path

GROUP = "vqcodec.models"
# The models that shipped with vqcodec and no longer do, by their ids in hexadecimal.
MOVED: dict[str, str] = {}


def package_of(name: str) -> str:
    """Return what the package of a model is called, as one installs it."""
    return f"vqcodec-model-{name}"


def offered(suffix: str) -> dict[str, Path]:
    """Return the models that installed packages offer, and where the file of each should be.

    Whether it is there is not looked at. Of packages that offer the same the first counts.
    """
    from importlib import metadata  # takes longer to import than all that others need of this

    files: dict[str, Path] = {}
    for distribution in metadata.distributions():
        try:
            entries = distribution.entry_points.select(group=GROUP)
        except Exception:  # whatever is wrong with what any package says of itself
            continue
        for entry in entries:
            folder = Path(str(distribution.locate_file(entry.value)))
            files.setdefault(entry.name, folder / f"{entry.name}{suffix}")
    return files
