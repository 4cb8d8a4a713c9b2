"""Synthetic humans: rendered people with exact ground truth, and pairs who perform the same motion."""

from directanimator.data.synthetic.clip import OutlinedClip, RenderedClip, outline_clip, render_clip
from directanimator.data.synthetic.identity import Identity, identity_at
from directanimator.data.synthetic.motion import Motion, PoseTrack, motion_at
from directanimator.data.synthetic.pair import SyntheticPair, pair_at
from directanimator.data.synthetic.scene import Scene, View, scene_at
from directanimator.data.synthetic.splits import NUM_IDENTITIES, NUM_MOTIONS, Split
from directanimator.data.synthetic.timeline import DURATION
from directanimator.data.version import SYNTH_VERSION

__all__ = [
    "DURATION",
    "NUM_IDENTITIES",
    "NUM_MOTIONS",
    "SYNTH_VERSION",
    "Identity",
    "Motion",
    "OutlinedClip",
    "PoseTrack",
    "RenderedClip",
    "Scene",
    "Split",
    "SyntheticPair",
    "View",
    "identity_at",
    "motion_at",
    "outline_clip",
    "pair_at",
    "render_clip",
    "scene_at",
]
