"""Which generation of clips this code makes. Imports nothing, so that whoever draws people need not read specs."""

FOLDER_VERSION = 3
"""Bump it when a folder of videos must give other clips."""
SYNTH_VERSION = 2
"""Of the synthetic humans, part of every seed: bump it when the same index must mean another picture."""
