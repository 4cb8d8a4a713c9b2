import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from directanimator.errors import UserError
from experiments.evaluation.comparison import CEILING, render_comparison, render_markdown

PROTOCOL = {
    "metric": "clip_scores", "version": 1, "size": 64, "fps": 8.0, "frames": 9, "clips": 8, "source": "synthetic",
    "split": "test",
}  # fmt: skip
METRICS = ("psnr", "psnr_foreground", "psnr_face", "ssim", "mask_iou", "motion")
EASE = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
"""How much easier each clip is; adds to the mean 1.75."""
VALUES = st.floats(-50, 50)


def clips(level: float, ease=EASE, **others) -> list[dict]:
    return [
        {"clip": float(clip), "identity": 1.0, **dict.fromkeys(METRICS, level + extra), **others}
        for clip, extra in enumerate(ease)
    ]


def both(level: float, ease=EASE) -> dict:
    return {"cross": clips(level, ease), "self": clips(level + 10, ease)}


def evaluation(level: float, seed: int = 0, **others) -> dict:
    trivial = {"repeat_reference": both(19), "paste_driving_frame": both(12), "paste_driving_person": both(15)}
    made = {"protocol": PROTOCOL, "seed": seed, "clips": both(level), "trivial": trivial, "ceiling": both(30)}
    return {**made, "summary": {"ignored": 1}, **others}


def cell(text: str, row: str, column: str) -> str:
    """The cell of a row whose name starts so, in the first table part that has it."""
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(("Cross-ID", "Same-ID"))]
        head, *rest = lines
        if re.search(rf"{column}(\s|$)", head) and (found := [line for line in rest if line.startswith(row)]):
            start = re.search(rf"{column}(\s|$)", head).start()
            return re.split(r"\s{2,}", found[0][start:])[0]
    raise AssertionError(f"{row} / {column} is in no table")


def starts(text: str, row: str, column: str) -> float:
    return float(cell(text, row, column).split()[0])


@given(VALUES)
def test_a_variant_shows_the_mean_of_its_clips(level):
    text = render_comparison({"full": [evaluation(level)]})
    assert starts(text, "full (", "cross/psnr") == pytest.approx(level + 1.75, abs=0.0051)
    assert starts(text, "full (", "self/psnr") == pytest.approx(level + 11.75, abs=0.0051)


@given(VALUES, VALUES)
def test_seeds_are_averaged(first, second):
    text = render_comparison({"full": [evaluation(first, seed=0), evaluation(second, seed=1)]})
    assert starts(text, "full (seeds 0 1, N 8)", "cross/psnr") == pytest.approx((first + second) / 2 + 1.75, abs=0.0051)


def test_trivial_answers_and_ceiling_stand_below_the_variants():
    text = render_comparison({"full": [evaluation(20)]})
    rows = ("repeat the reference", "paste the driving frame", "paste the driving person", CEILING)
    assert [starts(text, name, "cross/psnr") for name in rows] == [20.75, 13.75, 16.75, 31.75]


def test_pasting_the_driving_video_is_no_answer_where_it_is_the_target():
    text = render_comparison({"full": [evaluation(20)]})
    same = text[text.index("Same-ID") : text.index("Higher is better")]
    assert "repeat the reference" in same
    assert "paste" not in same


@given(VALUES)
def test_differences_are_taken_on_the_same_clips(level):
    text = render_comparison({"full": [evaluation(level)]})
    # Every clip differs by the same amount, so there is no interval, however unlike the clips are.
    assert float(cell(text, "full - repeat the reference", "cross/psnr")) == pytest.approx(level - 19, abs=0.0051)


@given(st.permutations(range(8)))
def test_clips_are_paired_by_number_not_by_position(order):
    shuffled = [clips(20)[position] for position in order]
    changed = evaluation(20) | {"clips": {"cross": shuffled}}
    text = render_comparison({"full": [evaluation(18)], "b": [changed]})
    assert cell(text, "b - full", "cross/psnr") == "+2.00"


@pytest.mark.parametrize(("spread", "flagged"), [(0.5, True), (4.0, False)])
def test_a_star_says_that_the_interval_excludes_zero(spread, flagged):
    sides = [extra + spread * sign for extra, sign in zip(EASE, (1, -1) * 4, strict=True)]
    text = render_comparison({"full": [evaluation(21) | {"clips": both(20, sides)}]})
    shown = cell(text, "full - repeat the reference", "cross/psnr")
    low, high = map(float, re.findall(r"[+-][\d.]+", shown)[1:])
    assert (shown.endswith("*"), low > 0 or high < 0) == (flagged, flagged)


@given(st.lists(st.floats(0.5, 3), min_size=8, max_size=8, unique=True), st.integers(1, 3))
def test_clips_do_not_tell_two_trainings_apart(gains, seeds):
    """However sure the clips are: another training of either might have come out otherwise."""
    better = [evaluation(20, seed) | {"clips": both(20, [e + g for e, g in zip(EASE, gains, strict=True)])}
              for seed in range(seeds)]  # fmt: skip
    text = render_comparison({"full": [evaluation(20, seed) for seed in range(seeds)], "b": better})
    assert "*" not in cell(text, "b - full", "cross/psnr")
    assert "Two trainings are told apart by a table" in text


@given(st.integers(1, 8), st.integers(1, 8))
def test_every_subset_says_its_own_number_of_clips(cross, face):
    told = {"cross": clips(20)[:cross], "face": clips(20)[:face]}
    text = render_comparison({"full": [evaluation(20) | {"clips": told}]})
    assert re.findall(r"full \(seed 0, N (\d+)\)", text[: text.index("difference on")])[0] == str(cross)
    assert f"full (seed 0, N {face})" in text[text.index("strong expressions") :]


def test_few_clips_flag_nothing():
    few = evaluation(20) | {"clips": {"cross": clips(20)[:5]}}
    text = render_comparison({"full": [few]})
    assert "*" not in text[: text.index("Higher is better")]


def test_variants_are_compared_with_the_full_method_whatever_the_order():
    text = render_comparison({"b": [evaluation(18)], "full": [evaluation(20)], "c": [evaluation(21)]})
    assert (cell(text, "b - full", "cross/psnr"), cell(text, "c - full", "cross/psnr")) == ("-2.00", "+1.00")
    assert "full - full" not in text


def test_one_variant_alone_can_be_shown():
    text = render_comparison({"b": [evaluation(18)]})
    assert cell(text, "b - repeat the reference", "cross/psnr") == "-1.00"
    assert " - full" not in text


def test_a_clip_without_a_value_is_left_out_and_said():
    holed = [{**scores, "psnr_face": None} if scores["clip"] < 3 else scores for scores in clips(20)]
    text = render_comparison({"full": [evaluation(20) | {"clips": {"cross": holed}}]})
    assert starts(text, "full (", "cross/psnr_face") == 20 + 2.5
    assert "full: cross/psnr_face is the mean of 5 of 8 clips" in text


def test_only_shares_have_an_interval_where_all_clips_agree():
    agreed = [scores | {"motion": 0.0, "identity": 1.0} for scores in clips(20)]
    text = render_comparison({"full": [evaluation(20) | {"clips": {"cross": agreed}}]})
    assert cell(text, "full (", "cross/motion") == "0.000"
    share = binomtest(8, 8).proportion_ci(0.95, method="wilson")
    assert cell(text, "full (", "cross/identity") == f"1.000 [{share.low:.3f}, 1.000]"


def test_a_share_of_which_seeds_disagree_is_averaged():
    evaluations = []
    for seed in (0, 1):
        said = [scores | {"identity": float(clip % 2 == seed)} for clip, scores in enumerate(clips(20))]
        evaluations.append(evaluation(20, seed) | {"clips": {"cross": said}})
    text = render_comparison({"full": evaluations})
    assert cell(text, "full (", "cross/identity") == "0.500"


def test_a_metric_that_a_setting_lacks_has_no_column():
    same = [{key: value for key, value in scores.items() if key != "identity"} for scores in clips(20)]
    text = render_comparison({"full": [evaluation(20) | {"clips": {"self": same}}]})
    assert "identity" not in text
    assert "cross/" not in text


def test_a_missing_trivial_answer_has_no_row():
    text = render_comparison({"full": [evaluation(20) | {"trivial": {"repeat_reference": {"cross": clips(3)}}}]})
    assert "paste the driving frame" not in text
    assert "repeat the reference" in text[: text.index("Same-ID clips")]
    assert "repeat the reference" not in text[text.index("Same-ID clips") :]


@given(st.integers(70, 300))
def test_no_table_is_wider_than_the_terminal(width):
    text = render_comparison({"full": [evaluation(20)], "no_face_cue": [evaluation(-19)]}, width)
    tables = text[: text.index("Higher is better")]
    assert max(map(len, tables.splitlines())) <= width


def test_a_narrow_terminal_loses_no_column():
    wide, narrow = (render_comparison({"full": [evaluation(20)]}, width) for width in (1000, 80))
    for metric in METRICS:
        assert cell(wide, "full (", f"cross/{metric}") == cell(narrow, "full (", f"cross/{metric}")


def test_columns_of_a_table_are_aligned():
    text = render_comparison({"full": [evaluation(20)], "no_face_cue": [evaluation(-19)]})
    block = text.split("\n\n")[0].splitlines()
    start = block[1].index("cross/psnr_foreground")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in block[3:])


def test_markdown_has_the_same_cells():
    evaluations = {"full": [evaluation(20)], "b": [evaluation(18)]}
    text, markdown = render_comparison(evaluations, 1000), render_markdown(evaluations)
    plain = markdown.replace("\\", "")
    for row, column in (("full (", "cross/ssim"), ("b - full", "cross/psnr"), ("repeat the reference", "self/psnr")):
        assert f"| {cell(text, row, column)} |" in plain


def test_rows_of_markdown_have_equal_cells():
    markdown = render_markdown({"a|b": [evaluation(20)]})
    tables = [[line for line in block.splitlines() if line.startswith("|")] for block in markdown.split("###")]
    for table in filter(None, tables):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_the_protocol_is_named():
    assert "9 frames, 64 px, 8 fps, up to 8 clips a subset" in render_comparison({"full": [evaluation(20)]})


def test_different_protocols_are_refused():
    other = evaluation(20) | {"protocol": PROTOCOL | {"clips": 16}}
    with pytest.raises(UserError, match=r"differ in clips \(8 and 16\)"):
        render_comparison({"full": [evaluation(20)], "b": [other]})


def test_scores_on_other_pixels_are_refused_and_those_that_tell_nothing_are_not():
    told = [evaluation(20) | {"targets": {"cross": digest}} for digest in ("aa", "bb")]
    with pytest.raises(UserError, match=r"full, seed 0 and b, seed 0 cannot be compared: their cross clips.*aa and bb"):
        render_comparison({"full": [told[0]], "b": [told[1]]})
    render_comparison({"full": [told[0]], "b": [evaluation(19)], "c": [evaluation(18) | {"targets": {"self": "bb"}}]})


@pytest.mark.parametrize("nothing", [{}, {"full": []}, {"full": [evaluation(20)], "b": []}])
def test_nothing_cannot_be_compared(nothing):
    with pytest.raises(UserError, match="nothing to compare"):
        render_comparison(nothing)


@pytest.mark.parametrize(
    ("damage", "named"),
    [({"clips": {"cross": 3}}, r"clips\.cross"), ({"seed": "0"}, "seed"), ({"protocol": {}}, r"protocol\.metric"),
     ({"clips": {"cross": [{"psnr": "high"}]}}, r"clips\.cross\.0\.psnr")],
)  # fmt: skip
def test_a_damaged_evaluation_is_refused_by_name(damage, named):
    with pytest.raises(UserError, match=named):
        render_comparison({"full": [evaluation(20) | damage]})
