"""One cue of the driving triplet at a time is left out."""

from ablations.ablation import Ablation, Expectation, Published

NO_FACE_CUE = Ablation(
    name="no_face_cue",
    question="Does an enlarged face tell of expression and identity what the pose cue is too small to show?",
    edits={"cues.face.enabled": False},
    expects=Expectation(metric="cross/psnr_face", direction="lower", at_least=0.3),
    source=Published(
        table="3",
        row="S1",
        values={"fid": 28.21, "ssim": 0.729, "fis": 0.418, "fvd": 245.48},
        note="two readings of the table differ in this row; FIS falls most: 0.638 to 0.418",
    ),
)

NO_POSE_CUE = Ablation(
    name="no_pose_cue",
    question="Is it the low-passed foreground that carries the motion of the body?",
    edits={"cues.pose.enabled": False},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.1),
)

NO_LOCATION_CUE = Ablation(
    name="no_location_cue",
    question="Do aligned and softened masks put the body where the reference stands?",
    edits={"cues.location.enabled": False},
    expects=Expectation(metric="cross/mask_iou", direction="lower", at_least=0.02),
    source=Published(
        table="3",
        row="S6",
        values={"fid": 30.59, "ssim": 0.682, "fis": 0.529, "fvd": 203.72},
        note="two readings of the table differ in this row; the lowest SSIM of all rows",
    ),
)
