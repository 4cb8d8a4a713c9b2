"""The networks whose metrics a run may ask for. Imports nothing heavy, so that a dry run is quick."""

from typing import Literal

NetworkName = Literal["mobilenet_v2", "i3d", "person", "dlib_face", "inception", "alexnet", "arcface", "dwpose"]
"""Fetched: mobilenet_v2 for distances over frames, i3d for FVD, person for body, mask and face mesh by MediaPipe,
dlib_face for identity. From the directory of weights: inception for FID, alexnet for LPIPS, arcface, dwpose."""
I3D_MIN_FRAMES = 9
"""Fewer frames shrink to less than the two time steps that I3D's last pooling needs."""
