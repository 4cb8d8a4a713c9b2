"""A skeleton in place of the pose cue: what methods driven by poses are shown, at three levels of honesty."""

from ablations.ablation import Ablation, Expectation, Published

_WORSE = Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3)

SKELETON_EXACT = Ablation(
    name="skeleton_exact",
    question="Is a skeleton that knows every joint, more than any detector can, still a worse cue than pixels?",
    edits={"cues.pose.picture": "skeleton_exact"},
    expects=_WORSE,
    needs_synthetic=True,
)

SKELETON_DETECTED = Ablation(
    name="skeleton_detected",
    question="Is a skeleton with a detector's errors, as methods driven by poses are given, a worse cue than pixels?",
    edits={"cues.pose.picture": "skeleton_detected"},
    expects=_WORSE,
    source=Published(
        table="3",
        row="S5",
        values={"fid": 29.74, "ssim": 0.710, "fis": 0.578, "fvd": 216.38},
        note="two readings of the table differ in this row; the other reads FID 30.84",
    ),
    needs_synthetic=True,
)

SKELETON_UNLABELLED = Ablation(
    name="skeleton_unlabelled",
    question="Does a skeleton without names, which does not tell back from front, lose the motion?",
    edits={"cues.pose.picture": "skeleton_unlabelled"},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
    needs_synthetic=True,
)
