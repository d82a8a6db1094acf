"""Skipping what wants packages of an extra that is not installed."""

from __future__ import annotations

import pytest

from benchmarks import perceptual


def need(metric: str) -> None:
    """Skip where the metric is one of the extra `perceptual`, and that is absent."""
    if metric in perceptual.PACKAGES:
        try:
            perceptual.load(metric)
        except ImportError as error:
            pytest.skip(str(error))
