"""`python -m vqcodec` is the command line."""

from vqcodec.commands.main import cli

cli(prog_name="vqcodec")
