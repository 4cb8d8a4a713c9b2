"""Other ways for the cues to enter the transformer."""

from ablations.ablation import Ablation, Expectation, Published

_LESS_TRUSTED = "from the less trusted of two readings"

FUSION_CONCAT = Ablation(
    name="fusion_concat",
    question="Must every block be told the cues anew, or is it enough to join them to the input's channels?",
    edits={"model.fusion": "concat"},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
    source=Published(table="5", row="DC", values={"fid": 30.68, "fvd": 259.37}, note=_LESS_TRUSTED),
)

FUSION_CROSS_ATTENTION = Ablation(
    name="fusion_cross_attention",
    question="Must a cue be laid on the token of its own place, or can attention find it?",
    edits={"model.fusion": "cross_attention"},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.1),
    source=Published(table="5", row="CA", values={"fid": 32.30, "fvd": 316.91}, note=_LESS_TRUSTED),
)

CUES_INTO_ATTENTION = Ablation(
    name="cues_into_attention",
    question="Must the modulated cues enter the residual stream, where a token hears its own cue without attention?",
    edits={"model.cue_entry": "attention"},
    expects=Expectation(metric="self/motion", direction="lower", at_least=0.1),
)

DEFAULT_INITIALISATION = Ablation(
    name="default_initialisation",
    question="Must the cues start at zero, so that training starts from the base and not from noise?",
    edits={"model.cue_init": "default"},
    expects=Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3),
)

NO_CUE_GATE = Ablation(
    name="no_cue_gate",
    question="Must a gate decide how much of a modulated cue the next block is given?",
    edits={"model.cue_carry": "ungated"},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
)

NO_RAW_RESIDUAL = Ablation(
    name="no_raw_residual",
    question="Does every block need the raw cue, which a chain of modulations would wear away?",
    edits={"model.cue_carry": "modulated"},
    expects=Expectation(metric="cross/motion", direction="lower", at_least=0.05),
)
