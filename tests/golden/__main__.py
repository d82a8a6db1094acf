"""python -m tests.golden --regenerate: make the golden files anew with the shipped weights."""

from __future__ import annotations

import argparse

from . import FOLDER, regenerate


def main() -> None:
    """Run the command line; without the option nothing is done."""
    parser = argparse.ArgumentParser(prog="tests.golden", description=__doc__)
    parser.add_argument("--regenerate", action="store_true", required=True)
    parser.parse_args()
    from vqcodec.codec.codec import Codec

    regenerate(Codec.load(device="cpu"))
    print(f"{len(list(FOLDER.glob('*.vqc')))} golden files made; say so in CHANGELOG.md")


main()
