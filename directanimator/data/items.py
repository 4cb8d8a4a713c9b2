"""What one training or test item holds, wherever it comes from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from directanimator.cues.person import PersonTrack
from directanimator.cues.spec import TrustSpec

SOURCE_SCALE = 2
"""Side of a driving frame in canvas sides: the face is cropped from the driving video's own resolution."""


@dataclass(frozen=True, eq=False)
class AnimationItem:
    """Person A in a reference image; person B driving; and A doing what B does, in A's scene."""

    reference: UInt8[np.ndarray, "1 h w 3"]
    reference_track: PersonTrack
    target: UInt8[np.ndarray, "f h w 3"]
    target_track: PersonTrack
    background: UInt8[np.ndarray, "h w 3"] | None
    """A's scene without A; None where nobody knows it."""
    own_frames: UInt8[np.ndarray, "f hs ws 3"]
    """The target at source resolution: the driving video of the same-ID setting."""
    own_track: PersonTrack
    driving: UInt8[np.ndarray, "f hs ws 3"]
    """B doing the same motion in another scene: the driving video of the cross-ID setting."""
    driving_track: PersonTrack
    survey_track: PersonTrack
    """B over the whole driving video, at a low rate and of any size: what B is aligned to A by."""
    own_skeleton: UInt8[np.ndarray, "f hs ws 3"] | None = None
    """The target's skeleton at source resolution; None where nobody asked for it or can know it."""
    driving_skeleton: UInt8[np.ndarray, "f hs ws 3"] | None = None
    trust: TrustSpec | None = None
    """When the masks are not to be believed; None where they are the truth."""
    caption: str = ""
    """What the target shows, in words; empty where nobody wrote it down."""
