"""`python -m vqcodec` is the command line."""

from vqcodec.cli import cli

cli(prog_name="vqcodec")
