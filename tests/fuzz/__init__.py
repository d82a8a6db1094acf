"""Hostile input: a coverage-guided fuzzer of the container, the entropy decoder and the codec.

`python -m tests.fuzz container --runs N` and `python -m tests.fuzz decoder --runs N`;
`python -m tests.fuzz.blind` does without the coverage. The test that replays `corpus/` and has a
short run of both is `tests/test_fuzz.py`.
"""
