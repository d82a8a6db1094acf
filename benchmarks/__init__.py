"""Benchmarks: rate-distortion, speed, and the tables of the README; see benchmarks/README.md."""
