"""The regular grid in time that every motion lies on."""

import numpy as np

DURATION = 6.0
"""Seconds of motion behind every index."""
GRID_HZ = 50
GRID = np.arange(int(DURATION * GRID_HZ) + 1) / GRID_HZ
"""Seconds of the grid's points."""
FULL_TURN = 2 * np.pi
