"""The driving cue triplet: all that the model is told about a driving video."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from directanimator.cues.alignment import Alignment
from directanimator.cues.canvas import CanvasSize, height_width, resize
from directanimator.cues.face import face_cue, smooth_boxes
from directanimator.cues.gate import gate
from directanimator.cues.location import location_cue
from directanimator.cues.person import PersonTrack
from directanimator.cues.pose import MID_GRAY, person_on_gray, pose_cue, skeleton_cue
from directanimator.cues.spec import CueSpec, TrustSpec


@dataclass(frozen=True, eq=False)
class DrivingCues:
    """Pose, face and location cue of a clip, in pixels of the canvas.

    Raises: ValueError if the fields disagree on frames, height or width, or there is no frame."""

    pose_cue: UInt8[np.ndarray, "f h w *c"]
    """Low-passed person on mid-gray (128), gray or in color, or a skeleton; in the reference's layout if so told."""
    face_cue: UInt8[np.ndarray, "f h w 3"]
    """Zoomed face; mid-gray (128) where there is none."""
    body_location: UInt8[np.ndarray, "f h w"]
    """Soft body mask in the reference's layout."""
    face_location: UInt8[np.ndarray, "f h w"]
    """Face mask in the reference's layout."""
    pose_present: Bool[np.ndarray, " f"]
    """Which frames passed the quality gate."""
    face_present: Bool[np.ndarray, " f"]
    """Which frames show a face."""

    def __post_init__(self) -> None:
        shape, colors = self.pose_cue.shape[:3], self.pose_cue.shape[3:]
        if len(shape) != 3 or 0 in shape or colors not in ((), (3,)):
            found = self.pose_cue.shape
            raise ValueError(f"pose_cue must be frames x height x width (x 3) and not empty, got shape {found}")
        expected = {
            "face_cue": (*shape, 3),
            "body_location": shape,
            "face_location": shape,
            "pose_present": shape[:1],
            "face_present": shape[:1],
        }
        for name, legal in expected.items():
            if getattr(self, name).shape != legal:
                raise ValueError(f"{name} must have shape {legal}, got {getattr(self, name).shape}")

    @property
    def pose_in_color(self) -> UInt8[np.ndarray, "f h w 3"]:
        """The pose cue as the codec and the eye are shown it."""
        return self.pose_cue if self.pose_cue.ndim == 4 else np.repeat(self.pose_cue[..., None], 3, axis=-1)

    @property
    def num_frames(self) -> int:
        """Number of frames, at least 1."""
        return len(self.pose_cue)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas, in pixels."""
        return self.pose_cue.shape[1], self.pose_cue.shape[2]


def null_cues(num_frames: int, size: CanvasSize) -> DrivingCues:
    """Cues that tell nothing: flat mid-gray, empty masks, nothing present."""
    canvas = (num_frames, *height_width(size))
    return DrivingCues(
        pose_cue=np.full(canvas, MID_GRAY, np.uint8),
        face_cue=np.full((*canvas, 3), MID_GRAY, np.uint8),
        body_location=np.zeros(canvas, np.uint8),
        face_location=np.zeros(canvas, np.uint8),
        pose_present=np.zeros(num_frames, np.bool_),
        face_present=np.zeros(num_frames, np.bool_),
    )


def driving_cues(
    frames: UInt8[np.ndarray, "f source_h source_w 3"],
    track: PersonTrack,
    alignment: Alignment,
    size: CanvasSize,
    spec: CueSpec,
    skeleton: UInt8[np.ndarray, "f source_h source_w 3"] | None = None,
    trust: TrustSpec | None = None,
) -> DrivingCues:
    """The cues of a driving video on a canvas of `size`; frames and track have the video's own resolution.

    `skeleton` is its drawn skeleton, where the spec wants that as the pose cue. `trust` tells which masks are not to be
    believed, where nets made them.

    A frame that fails the gate has neither pose cue nor body mask. Whether a cue is enabled does not matter here, so
    that one cache serves all ablations; see `dropped`.
    Raises: ValueError if frames and track differ in number or size, or a skeleton is wanted and not given.
    Source: Beyond Skeletons, Driving Cue Triplet."""
    if frames.shape[:3] != track.mask.shape:
        raise ValueError(f"frames {frames.shape[:3]} and mask {track.mask.shape} must agree in number and size")
    steady = replace(track, face_box=smooth_boxes(track.face_box))
    seen = steady.resized(size)
    accepted = gate(seen.mask, spec.gate, seen.score, trust).accepted
    trusted = replace(seen, mask=seen.mask * accepted[:, None, None])
    face, face_present = face_cue(frames, steady.face_box, size, spec.face)
    body_location, face_location = location_cue(trusted, alignment, size, spec.location)
    if not spec.pose.is_skeleton:
        person = resize(person_on_gray(frames, track.mask), size)
        pose = pose_cue(person, seen.mask, accepted, alignment, spec.pose)
    elif skeleton is None:
        raise ValueError(f"picture={spec.pose.picture} needs the clip's skeleton")
    else:
        pose = skeleton_cue(resize(skeleton, size), accepted, alignment, spec.pose)
    return DrivingCues(
        pose_cue=pose,
        face_cue=face,
        body_location=body_location,
        face_location=face_location,
        pose_present=accepted,
        face_present=face_present,
    )


def dropped(cues: DrivingCues, spec: CueSpec) -> DrivingCues:
    """The cues with every disabled one replaced by its null cue."""
    null = null_cues(cues.num_frames, cues.size)
    if not spec.pose.enabled:
        cues = replace(cues, pose_cue=null.pose_cue, pose_present=null.pose_present)
    if not spec.face.enabled:
        cues = replace(cues, face_cue=null.face_cue, face_present=null.face_present)
    if not spec.location.enabled:
        cues = replace(cues, body_location=null.body_location, face_location=null.face_location)
    return cues
