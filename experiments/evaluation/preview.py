"""A few test clips while a model is trained: whether it begins to animate shows long before the end.

They are the first clips of the evaluation with the same noise, but the weights are the training's own, not averaged."""

import math

from directanimator.data.spec import Subset
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec
from experiments.edit import edit
from experiments.evaluation.clips import answer, clips_of, means_of, scored
from experiments.record import PREVIEWS
from experiments.spec import ExperimentSpec, Stage

PREVIEW_CLIPS = 4


def preview(model: CueBackbone, codec: VideoCodec, spec: ExperimentSpec, stage: Stage) -> dict[str, float]:
    """Mean scores of the first clips, under names that begin with `preview/`: self-driven in the same-ID stage,
    driven by others in the cross-ID stage. A score that no clip has is left out."""
    subset = preview_subset(spec, stage)
    # Not all that will be evaluated: a training that is given up has no use for them.
    few = edit(spec, {"data.num_test_clips": min(PREVIEW_CLIPS, spec.data.num_test_clips)})
    clips = clips_of(few, subset)
    means = means_of(scored(clips, list(answer(model, codec, clips, spec))))
    return {f"{PREVIEWS}{subset}/{name}": value for name, value in means.items() if math.isfinite(value)}


def preview_subset(spec: ExperimentSpec, stage: Stage) -> Subset:
    """Of the subsets that will be evaluated, the one that the stage is about; if it is not among them, the first."""
    wanted: Subset = "self" if stage == "same_id" else "cross"
    return wanted if wanted in spec.evaluation.subsets else spec.evaluation.subsets[0]
