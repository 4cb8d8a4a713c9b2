"""Other ways for the cues to enter the transformer."""

from ablations.ablation import Ablation, Expectation

CUES_INTO_ATTENTION = Ablation(
    name="cues_into_attention",
    question="Must the modulated cues enter the residual stream, where a token hears its own cue without attention?",
    edits={"model.cue_entry": "attention"},
    expects=Expectation(metric="self/motion", direction="lower", at_least=0.1),
)
