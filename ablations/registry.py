"""Every ablation by name."""

from ablations.ablation import Ablation, Published
from ablations.cues import NO_FACE_CUE, NO_LOCATION_CUE, NO_POSE_CUE
from ablations.fusion import CUES_INTO_ATTENTION
from ablations.same2x import NO_SAME2X

FULL = Ablation(
    name="full",
    question="How well does the full method do?",
    edits={},
    source=Published(table="3", row="Full", values={"fid": 27.61, "ssim": 0.752, "fis": 0.638, "fvd": 180.52}),
)

ABLATIONS: dict[str, Ablation] = {
    "full": FULL,
    "no_face_cue": NO_FACE_CUE,
    "no_pose_cue": NO_POSE_CUE,
    "no_location_cue": NO_LOCATION_CUE,
    "no_same2x": NO_SAME2X,
    "cues_into_attention": CUES_INTO_ATTENTION,
}
