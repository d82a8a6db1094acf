"""The .vqc file and what goes into it: container, metadata, colour. No torch."""
