"""What shapes the driving cue triplet of the paper. Imports nothing heavy, so that a dry run is quick."""

from typing import Annotated, Literal

from pydantic import Field

from directanimator.frozen import FrozenSpec

AlignBy = Literal["landmarks", "masks"]
FilterShape = Literal["gaussian", "ideal", "butterworth"]
PosePicture = Literal["gray", "rgb", "skeleton_exact", "skeleton_detected", "skeleton_unlabelled"]
SKELETON = "skeleton_"
"""How the names of pictures that no frame shows begin: they are drawn from the truth behind a synthetic clip."""


class PoseCueSpec(FrozenSpec):
    """Gray foreground, low-passed: the motion."""

    picture: PosePicture = "gray"
    """What the cue is a picture of. gray (the paper): the person's brightness. rgb: the person's colors.
    skeleton_*: its joints, which the other fields but `aligned` leave as they are; synthetic humans only. exact: all of
    them, with names. detected: as a detector errs. unlabelled: places without names."""

    enabled: bool = True
    """Whether the model sees the cue; a disabled cue is a null cue in training and in inference."""
    filter_shape: FilterShape = "gaussian"
    """Frequency response of the low-pass. The paper does not state it."""
    cutoff: Annotated[float, Field(gt=0, le=4096)] = 12.0
    """Cut-off radius in cycles per image, so that it means the same at any size. The paper does not state it."""
    normalized: bool = True
    """Whether the person's brightness is brought to a fixed mean and spread, or stays what it was (the paper)."""
    aligned: bool = True
    """Whether the driver is laid over the reference as the location cue is, or stays where it was (the paper)."""

    @property
    def is_skeleton(self) -> bool:
        """Whether the cue is drawn, and not seen."""
        return self.picture.startswith(SKELETON)


class FaceCueSpec(FrozenSpec):
    """The face, enlarged and centred on the canvas: the expression."""

    enabled: bool = True
    zoomed: bool = True
    """Whether the face is enlarged and centred, or stays where and as large as the driver's is."""
    margin: Annotated[float, Field(ge=1.0, le=4.0)] = 1.5
    """Side of the square crop in face-box sides."""


class LocationCueSpec(FrozenSpec):
    """Body and face masks in the reference's layout, softened: the place."""

    enabled: bool = True
    align_by: AlignBy = "landmarks"
    """What the driver is laid over the reference by; masks also serve where too few landmarks are seen in both."""
    aligned: bool = True
    """Whether the masks are laid over the reference, or stay where the driver's are."""
    soften_cells: Annotated[int, Field(ge=1, le=256)] | None = 16
    """Cells per image side of the softening grid; none leaves the masks hard. 16 is the proposal for 512 px (cells of
    32 px)."""


class GateSpec(FrozenSpec):
    """When a person mask is too bad to use. No source states thresholds."""

    min_area_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Least mask area, as a share of the clip's median area."""
    max_area_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Largest mask area, as a share of the clip's median area."""
    min_largest_component: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Least share of the mask that its largest connected part holds."""


class TrustSpec(FrozenSpec):
    """When a mask that a net made is not to be trusted, whatever its shape. No source states thresholds."""

    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least confidence of the detection."""
    max_border: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest share of the frame's border that is person: a bust fills one side in four, a failed net all."""


class CueSpec(FrozenSpec):
    """The driving cue triplet and its quality gate."""

    pose: PoseCueSpec = PoseCueSpec()
    face: FaceCueSpec = FaceCueSpec()
    location: LocationCueSpec = LocationCueSpec()
    gate: GateSpec = GateSpec()

    @property
    def all_enabled(self) -> "CueSpec":
        """The same cues, none of them switched off."""
        shown = {"enabled": True}
        parts = {name: getattr(self, name).model_copy(update=shown) for name in ("pose", "face", "location")}
        return self.model_copy(update=parts)
