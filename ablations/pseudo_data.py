"""Pseudo drivers, made by an imperfect generator, in place of true pairs: a few clean ones, or many dirty ones."""

from ablations.ablation import Ablation, Expectation, Published, Value

_WORSE = Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3)
_FEW: dict[str, Value] = {"data.num_train_clips": 154}
"""A tenth of the default preset's clips, as the paper's 500 are of 5,000. The same-ID stage has no others either."""
_CLEAN: dict[str, Value] = {"data.cue_quality": "pseudo", "data.cue_strength": 0.2}
_DIRTY: dict[str, Value] = {"data.cue_quality": "pseudo", "data.cue_strength": 0.8}
_PUBLISHED_BY_ONE = "from the less trusted of two readings"

FEW_TRUE_PAIRS = Ablation(
    name="few_true_pairs",
    question="Are a tenth of the true pairs too few, for both stages?",
    edits=_FEW,
    expects=_WORSE,
)

FEW_CLEAN_PAIRS = Ablation(
    name="few_clean_pairs",
    question="Are a few pairs with well-made pseudo drivers, the best there is of real people, worse than true pairs?",
    edits={**_CLEAN, **_FEW},
    expects=_WORSE,
    source=Published(
        table="6",
        row="500 filtered",
        values={"fid": 27.61},
        note=f"{_PUBLISHED_BY_ONE}; the FID of the full method, which has no true pairs there",
    ),
    needs_synthetic=True,
)

MANY_CLEAN_PAIRS = Ablation(
    name="many_clean_pairs",
    question="Are well-made pseudo drivers worse than true ones, at equal number?",
    edits=_CLEAN,
    expects=_WORSE,
    needs_synthetic=True,
)

MANY_DIRTY_PAIRS = Ablation(
    name="many_dirty_pairs",
    question="Does what badly made pseudo drivers leak and distort harm, however many there are?",
    edits=_DIRTY,
    expects=_WORSE,
    source=Published(table="6", row="5,000 unfiltered", values={"fid": 30.11}, note=_PUBLISHED_BY_ONE),
    needs_synthetic=True,
)
