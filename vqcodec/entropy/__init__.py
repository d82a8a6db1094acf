"""Indices <-> bytes: an integer-exact prior network, integer frequency tables, a range coder."""
