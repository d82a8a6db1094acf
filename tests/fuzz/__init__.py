"""Hostile input: a coverage-guided fuzzer of the container, the entropy decoder and the codec.

`python -m tests.fuzz container --runs N` and `python -m tests.fuzz decoder --runs N`; the test that
replays `corpus/` and a short run of both is `tests/test_fuzz.py`.
"""
