"""What is seen of one person in a video, whether ground truth or nets told it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.cues.canvas import CanvasSize, height_width, resize

LANDMARKS = (
    "head",
    "shoulder_left",
    "shoulder_right",
    "elbow_left",
    "elbow_right",
    "wrist_left",
    "wrist_right",
    "hip_left",
    "hip_right",
    "knee_left",
    "knee_right",
    "ankle_left",
    "ankle_right",
)
"""The order of a body's landmarks; left and right are the person's own. They serve alignment alone, no cue."""


@dataclass(frozen=True, eq=False)
class PersonTrack:
    """One person, frame by frame; a reference image is a track of one frame.

    Raises: ValueError if the fields disagree on the number of frames, or there is no frame."""

    mask: UInt8[np.ndarray, "f h w"]
    """Coverage, 0..255."""
    face_box: Float32[np.ndarray, "f 4"]
    """x0, y0, x1, y1 in pixels (pixel 0 spans 0..1); a row of NaN where no face is seen."""
    score: Float32[np.ndarray, " f"]
    """Confidence of the detection, in [0, 1]."""
    landmarks: Float32[np.ndarray, "f k 2"]
    """x, y of LANDMARKS in pixels; NaN where one is not seen."""

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or 0 in self.mask.shape:
            raise ValueError(f"mask must be frames x height x width and not empty, got shape {self.mask.shape}")
        if self.face_box.shape != (self.num_frames, 4):
            raise ValueError(f"face_box must have shape {(self.num_frames, 4)}, got {self.face_box.shape}")
        if self.score.shape != (self.num_frames,):
            raise ValueError(f"score must have shape {(self.num_frames,)}, got {self.score.shape}")
        expected = (self.num_frames, len(LANDMARKS), 2)
        if self.landmarks.shape != expected:
            raise ValueError(f"landmarks must have shape {expected}, got {self.landmarks.shape}")

    @property
    def num_frames(self) -> int:
        """Number of frames, at least 1."""
        return len(self.mask)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        return self.mask.shape[1], self.mask.shape[2]

    def resized(self, size: CanvasSize) -> "PersonTrack":
        """The same person in frames of `size`."""
        (height, width), (out_height, out_width) = self.size, height_width(size)
        ratio = np.array([out_width / width, out_height / height] * 2, np.float32)
        return PersonTrack(resize(self.mask, size), self.face_box * ratio, self.score, self.landmarks * ratio[:2])

    def part(self, chosen: slice) -> "PersonTrack":
        """The same person in some of the frames."""
        return PersonTrack(self.mask[chosen], self.face_box[chosen], self.score[chosen], self.landmarks[chosen])


def no_landmarks(num_frames: int) -> Float32[np.ndarray, "f k 2"]:
    """Landmarks of which none is seen."""
    return np.full((num_frames, len(LANDMARKS), 2), np.nan, np.float32)


def face_seen(face_box: Float32[np.ndarray, "f 4"], size: CanvasSize) -> Bool[np.ndarray, " f"]:
    """True where the box is finite, has an area, and overlaps the frame of `size`."""
    height, width = height_width(size)
    x0, y0, x1, y1 = np.where(np.isfinite(face_box).all(axis=1, keepdims=True), face_box, 0).T
    has_area = (x1 > x0) & (y1 > y0)
    return np.asarray(has_area & (x0 < width) & (y0 < height) & (x1 > 0) & (y1 > 0))
