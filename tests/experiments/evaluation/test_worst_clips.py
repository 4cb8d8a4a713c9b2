import math

from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.gallery import Ranking
from directanimator.metrics.measurement import Measurement
from experiments.evaluation.worst_clips import SCORES, merged, rankings_of, worst_of

NOTHING = Measurement([], [], {}, [], [], [])
levels = st.lists(st.one_of(st.floats(-5, 50), st.just(math.nan)), min_size=1, max_size=9)


def scores(values):
    return [dict.fromkeys(SCORES, value) for value in values]


@given(levels, st.integers(1, 4))
def test_a_clip_is_shown_when_its_score_is_among_the_lowest(values, count):
    names = [f"cross_{index:02d}" for index in range(len(values))]
    ranked = rankings_of(names, scores(values), NOTHING)
    known = sorted(value for value in values if not math.isnan(value))
    assert len(ranked) == (len(SCORES) if known else 0)
    shown = [value for name, value in zip(names, values, strict=True) if name in worst_of(ranked, count)]
    assert sorted(shown) == known[:count]


@given(levels, levels)
def test_rankings_of_two_subsets_become_one_and_lose_no_clip(first, second):
    parts = [
        rankings_of([f"{subset}_{index}" for index in range(len(values))], scores(values), NOTHING)
        for subset, values in (("self", first), ("cross", second))
    ]
    whole = {ranking.metric: dict(ranking.values) for ranking in merged(parts)}
    for part in parts:
        for ranking in part:
            assert ranking.values.items() <= whole[ranking.metric].items()
    for name, values in whole.items():
        assert len(values) == sum(len(ranking.values) for part in parts for ranking in part if ranking.metric == name)


def test_what_says_lower_is_better_keeps_saying_so():
    lower = Ranking("l1", "", "lower", {"a": 1.0}, 4)
    assert merged([[lower], [Ranking("l1", "", "lower", {"b": 2.0}, 4)]])[0].worst(1, "ab") == ["b"]
