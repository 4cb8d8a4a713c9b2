"""The pose cue's low-pass: without it, with color too, other cut-offs, other shapes."""

from ablations.ablation import Ablation, Expectation, Published

_WORSE = Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3)

GRAY_UNFILTERED = Ablation(
    name="gray_unfiltered",
    question="Does the low-pass keep the driver's clothes and hair out of the result?",
    edits={"cues.pose.cutoff": 4096.0},
    expects=_WORSE,
    source=Published(table="3", row="S4", values={"fid": 30.18}, note="from the less trusted of two readings"),
)

RGB_UNFILTERED = Ablation(
    name="rgb_unfiltered",
    question="Must the pose cue lose color as well as detail, or is a person as filmed as good a cue?",
    edits={"cues.pose.picture": "rgb", "cues.pose.cutoff": 4096.0},
    expects=_WORSE,
    source=Published(table="3", row="S3", values={"fid": 30.08}, note="from the less trusted of two readings"),
)

CUTOFF_3 = Ablation(
    name="cutoff_3",
    question="Do three cycles per image, which show a body without limbs, tell too little?",
    edits={"cues.pose.cutoff": 3.0},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
)

CUTOFF_6 = Ablation(
    name="cutoff_6",
    question="Do six cycles per image tell too little of the limbs?",
    edits={"cues.pose.cutoff": 6.0},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
)

CUTOFF_24 = Ablation(
    name="cutoff_24",
    question="Do 24 cycles per image tell too much of the driver?",
    edits={"cues.pose.cutoff": 24.0},
    expects=_WORSE,
)

IDEAL_FILTER = Ablation(
    name="ideal_filter",
    question="Does the ringing of a filter with a sharp edge in frequency harm?",
    edits={"cues.pose.filter_shape": "ideal"},
    expects=_WORSE,
)

BUTTERWORTH_FILTER = Ablation(
    name="butterworth_filter",
    question="Does a filter between the Gaussian and the ideal one harm?",
    edits={"cues.pose.filter_shape": "butterworth"},
    expects=_WORSE,
)
