"""Same2X: without the same-ID teacher, with more or less of it, at other depths, from another start."""

from ablations.ablation import Ablation, Expectation, Published

_WORSE = Expectation(metric="cross/psnr_foreground", direction="lower", at_least=0.3)

NO_SAME2X = Ablation(
    name="no_same2x",
    question="Does alignment to the same-ID teacher make cross-ID training better at equal steps?",
    edits={"same2x.enabled": False},
    expects=_WORSE,
    source=Published(
        table="3",
        row="S8",
        values={"fid": 32.21, "ssim": 0.691, "fis": 0.530, "fvd": 290.43},
        note="two readings agree on FID, the largest loss of all rows; another reads FIS 0.368, FVD 284.69",
    ),
)

STUDENT_FROM_BASE = Ablation(
    name="student_from_base",
    question="Is a student that starts from the base worse than one that starts from its teacher?",
    edits={"cross_id.init": "base"},
    expects=_WORSE,
)

STUDENT_FROM_BASE_NO_SAME2X = Ablation(
    name="student_from_base_no_same2x",
    question="Is a student worse that neither starts from the teacher nor is aligned to it?",
    edits={"cross_id.init": "base", "same2x.enabled": False},
    expects=_WORSE,
)


def _weight(value: float) -> Ablation:
    return Ablation(
        name=f"s2x_weight_{value:g}",
        question=f"Is alignment at weight {value:g} worse than at the 0.5 that the paper found best?",
        edits={"same2x.weight": value},
        expects=_WORSE,
    )


def _depth(value: float) -> Ablation:
    return Ablation(
        name=f"s2x_depth_{value:g}",
        question=f"Is alignment after {value:.0%} of the blocks worse than at the full method's depth?",
        edits={"same2x.depth": value},
        expects=_WORSE,
    )


ALIGNMENT_WEIGHTS = tuple(map(_weight, (0.0, 0.1, 0.25, 1.0, 2.0)))
"""Beside the full method, which has 0.5. At 0 the teacher runs and nobody listens: equal to no_same2x."""
ALIGNMENT_DEPTHS = tuple(map(_depth, (0.17, 0.5, 0.75, 1.0)))
"""Beside the full method at the share of its preset: 0.24, the paper's 10 blocks of 42, with `paper` and `wan`; 0.33,
2 blocks of 6, with `cpu`, where 0.17, 1 of 6, is the nearest to the paper's share."""
