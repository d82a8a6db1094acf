"""`python -m tests.fuzz container|decoder --runs N`: coverage-guided, one process, one thread.

Needs the extra `fuzz`. An input that breaks a promise is written to the folder given by --failures
and ends the run with exit code 1; once it is mended, the input belongs into `corpus/`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["vqcodec"]):
    from vqcodec.codec.codec import Codec

    from .targets import ContainerTarget, DecoderTarget, Limits, Target

from .run import corpus, mutated
from .seeds import make_seeds

_REPORT_EVERY = 1000


def main() -> None:
    """Fuzz until the runs are done or a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("part", choices=["container", "decoder"])
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()

    codec = Codec.load(device="cpu")
    target: Target = ContainerTarget() if arguments.part == "container" else DecoderTarget(codec)
    limits = Limits(target)
    seeds = [*make_seeds(codec), *corpus()]
    limits.warm_up(seeds)

    folder = Path(tempfile.mkdtemp())

    def finish(line: str, code: int) -> None:
        # libFuzzer does not return, and its own way out loses the report.
        shutil.rmtree(folder)
        print(line, flush=True)
        os._exit(code)

    def one(data: bytes) -> None:
        try:
            limits(data)
        except BaseException:  # a panic of the range coder is no Exception
            traceback.print_exc()
            arguments.failures.mkdir(exist_ok=True)
            path = arguments.failures / f"{hashlib.sha256(data).hexdigest()[:16]}.vqc"
            path.write_bytes(data)
            finish(f"{path}: broken promise after {limits}", 1)
        if limits.runs >= arguments.runs:
            finish(f"{arguments.part}: {limits}", 0)
        if limits.runs % _REPORT_EVERY == 0:
            print(limits, flush=True)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return mutated(data, Random(seed))[:max_size]

    for place, seed in enumerate(seeds):
        (folder / f"{place}.vqc").write_bytes(seed)
    options = [f"-seed={arguments.seed}", "-max_len=16384", "-timeout=60", "-rss_limit_mb=0"]
    command = [sys.argv[0], *options, "-verbosity=0", str(folder)]
    atheris.Setup(command, one, custom_mutator=mutate)
    atheris.Fuzz()


main()
