"""Every ablation and every table of them, by name."""

from ablations import cues, fusion, low_pass, pseudo_data, same2x, skeleton
from ablations.ablation import Ablation, Published, Table

FULL = Ablation(
    name="full",
    question="How well does the full method do?",
    edits={},
    source=Published(table="3", row="Full", values={"fid": 27.61, "ssim": 0.752, "fis": 0.638, "fvd": 180.52}),
)

_ALL = (
    FULL,
    cues.NO_FACE_CUE,
    cues.NO_POSE_CUE,
    cues.NO_LOCATION_CUE,
    cues.ONLY_POSE_CUE,
    cues.ONLY_FACE_CUE,
    cues.ONLY_LOCATION_CUE,
    cues.NO_CUES,
    cues.FACE_IN_PLACE,
    cues.HARD_LOCATION_MASKS,
    cues.UNALIGNED_LOCATION,
    low_pass.GRAY_UNFILTERED,
    low_pass.RGB_UNFILTERED,
    low_pass.CUTOFF_3,
    low_pass.CUTOFF_6,
    low_pass.CUTOFF_24,
    low_pass.IDEAL_FILTER,
    low_pass.BUTTERWORTH_FILTER,
    skeleton.SKELETON_EXACT,
    skeleton.SKELETON_DETECTED,
    skeleton.SKELETON_UNLABELLED,
    fusion.FUSION_CONCAT,
    fusion.FUSION_CROSS_ATTENTION,
    fusion.CUES_INTO_ATTENTION,
    fusion.DEFAULT_INITIALISATION,
    fusion.NO_CUE_GATE,
    fusion.NO_RAW_RESIDUAL,
    same2x.NO_SAME2X,
    same2x.STUDENT_FROM_BASE,
    same2x.STUDENT_FROM_BASE_NO_SAME2X,
    *same2x.ALIGNMENT_WEIGHTS,
    *same2x.ALIGNMENT_DEPTHS,
    pseudo_data.FEW_TRUE_PAIRS,
    pseudo_data.FEW_CLEAN_PAIRS,
    pseudo_data.MANY_CLEAN_PAIRS,
    pseudo_data.MANY_DIRTY_PAIRS,
)

ABLATIONS: dict[str, Ablation] = {ablation.name: ablation for ablation in _ALL}

_CONVERGENCE = (("full", "no_same2x"), ("student_from_base", "student_from_base_no_same2x"))
"""The paper's 6.7 times, for a student that starts from the teacher and for one that starts from the base."""

_TABLES = (
    Table(
        name="cues",
        question="What does each driving cue buy?",
        variants=("no_pose_cue", "no_face_cue", "no_location_cue", "no_cues", "face_in_place"),
    ),
    Table(
        name="cue_subsets",
        question="Which of the eight subsets of the three cues suffices?",
        variants=(
            "no_pose_cue",
            "no_face_cue",
            "no_location_cue",
            "only_pose_cue",
            "only_face_cue",
            "only_location_cue",
            "no_cues",
        ),
    ),
    Table(
        name="location",
        question="What must be done to the masks of the location cue?",
        variants=("no_location_cue", "hard_location_masks", "unaligned_location"),
    ),
    Table(
        name="low_pass",
        question="How coarse must the pose cue be?",
        variants=(
            "gray_unfiltered",
            "rgb_unfiltered",
            "cutoff_3",
            "cutoff_6",
            "cutoff_24",
            "ideal_filter",
            "butterworth_filter",
        ),
    ),
    Table(
        name="skeleton",
        question="Can a skeleton stand in for the pixels of the pose cue?",
        variants=("skeleton_exact", "skeleton_detected", "skeleton_unlabelled"),
    ),
    Table(
        name="fusion",
        question="How should the cues enter the transformer?",
        variants=(
            "fusion_concat",
            "fusion_cross_attention",
            "cues_into_attention",
            "default_initialisation",
            "no_cue_gate",
            "no_raw_residual",
        ),
    ),
    Table(
        name="same2x",
        question="What does alignment to the same-ID teacher buy, and how much of it, and where?",
        variants=(
            "no_same2x",
            "student_from_base",
            "student_from_base_no_same2x",
            *(ablation.name for ablation in (*same2x.ALIGNMENT_WEIGHTS, *same2x.ALIGNMENT_DEPTHS)),
        ),
        convergence=_CONVERGENCE,
    ),
    Table(
        name="pseudo_data",
        question="Which cross-ID pairs are worth having: few or many, true, well made or badly made?",
        variants=("few_true_pairs", "few_clean_pairs", "many_clean_pairs", "many_dirty_pairs"),
    ),
    Table(
        name="all",
        question="What does every part of the method buy?",
        variants=tuple(name for name in ABLATIONS if name != "full"),
        convergence=_CONVERGENCE,
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
