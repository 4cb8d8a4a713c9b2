"""Other ways for the cues to enter the transformer."""

from ablations.ablation import Ablation, Expectation

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
