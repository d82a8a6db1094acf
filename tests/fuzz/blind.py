"""`python -m tests.fuzz.blind container|decoder --runs N`: the same mutations without coverage.

Needs no atheris, whose own records grow with every run: here memory is that of what is tested.
"""

from __future__ import annotations

import argparse
from random import Random

from vqcodec.codec.codec import Codec

from .run import corpus, mutated
from .seeds import make_seeds
from .targets import MEGABYTES, ContainerTarget, DecoderTarget, Limits, Target


def main() -> None:
    """Run mutated seeds; what breaks a promise ends with its traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.blind")
    parser.add_argument("part", choices=["container", "decoder"])
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    codec = Codec.load(device="cpu")
    target: Target = ContainerTarget() if arguments.part == "container" else DecoderTarget(codec)
    limits, seeds, random = Limits(target), [*make_seeds(codec), *corpus()], Random(arguments.seed)
    limits.warm_up(seeds)
    for _ in range(arguments.runs):
        limits(mutated(random.choice(seeds), random))
    print(f"{arguments.part}: {limits}")
    assert limits.megabytes <= MEGABYTES


if __name__ == "__main__":
    main()
