"""What shapes the cues of real videos, beyond the cues' own spec."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from directanimator.cues.spec import CueSpec, TrustSpec
from directanimator.frozen import FrozenSpec

MaskBackend = Literal["mediapipe", "sam2", "grounded_sam", "segment_anything", "truth"]
FaceBackend = Literal["mediapipe", "insightface", "truth"]
Share = Annotated[float, Field(ge=0, le=1)]


class PerceptionSpec(FrozenSpec):
    """Who finds people and faces, and which person is followed. Where weights lie is no part of it."""

    masks: MaskBackend = "mediapipe"
    """Nets of person masks. The paper: grounded_sam."""
    faces: FaceBackend = "mediapipe"
    """Nets of face boxes. The paper: insightface."""
    person: tuple[Share, Share, Share, Share] | None = None
    """Box x0, y0, x1, y1 of the wanted person where they first appear, in shares of the frame; none: the largest and
    most central one."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "PerceptionSpec":
        if (self.masks == "truth") != (self.faces == "truth"):
            raise ValueError(f"masks={self.masks}, faces={self.faces}: truth is for both or none")
        if self.person is not None and not (self.person[0] < self.person[2] and self.person[1] < self.person[3]):
            raise ValueError(f"person={self.person}: want x0 < x1 and y0 < y1")
        return self


class ExtractionSpec(FrozenSpec):
    """All that shapes the cues of a video."""

    size: Annotated[int, Field(ge=32, le=2048)] = 512
    """Side of the square canvas, in pixels."""
    fps: Annotated[float, Field(ge=0.1, le=120)] | None = None
    """Frames per second that the video is resampled to by its time stamps; none: its own mean rate."""
    crop: Literal["center", "person"] = "center"
    """The square of the frames that is shown: the largest central one (as in training), or one around all that is ever
    seen of the person."""
    perception: PerceptionSpec = PerceptionSpec()
    trust: TrustSpec = TrustSpec()
    cues: CueSpec = CueSpec()

    @model_validator(mode="after")
    def _brightness_alone_is_kept(self) -> "ExtractionSpec":
        picture = self.cues.pose.picture
        if picture != "gray":
            raise ValueError(f"cues.pose.picture={picture}: must be gray, since an extraction keeps brightness alone")
        return self
