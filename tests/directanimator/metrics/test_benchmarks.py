import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.benchmark import main
from directanimator.metrics.benchmarks.faces import faces_report, frames_of, separation
from directanimator.metrics.benchmarks.ordering import Response, ordering_report, rank_correlation
from directanimator.metrics.benchmarks.small_sample import bias_report
from directanimator.metrics.benchmarks.speed import Timing, speed_report
from directanimator.metrics.catalog import METRICS
from directanimator.metrics.degradations import DEGRADATIONS
from tests.strategies import seeds


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=9, unique=True))
def test_rank_correlation_is_one_for_what_rises_together_whatever_its_shape(values):
    ordered = np.sort(values)
    assert rank_correlation(ordered, np.exp(ordered)) == pytest.approx(1)
    assert rank_correlation(ordered, -ordered) == pytest.approx(-1)


def test_rank_correlation_of_a_textbook_example():
    """One exchange of neighbors among six: 1 - 6 * 2 / (6 * 35)."""
    assert rank_correlation(np.arange(6), np.array([0, 1, 3, 2, 4, 5])) == pytest.approx(1 - 12 / 210)
    assert rank_correlation(np.arange(3), np.ones(3)) == 0


def responses(kind_values):
    flat = (1.0,) * 6

    def response(metric, kind):
        return Response(kind_values.get((metric.name, kind), flat), metric.better)

    return {metric.name: {kind: response(metric, kind) for kind in DEGRADATIONS} for metric in METRICS}


def test_the_ordering_report_counts_broken_claims_and_says_who_is_blind():
    rising, falling = tuple(map(float, range(6))), tuple(map(float, range(5, -1, -1)))
    worse = {"higher": falling, "lower": rising}
    claims = {(metric.name, kind): worse[metric.better] for metric in METRICS for kind in metric.sees}
    report = ordering_report(responses(claims), 4)
    assert f"{len(claims)} of {len(claims)} claims hold" in report
    faint = claims | {("psnr", "noise"): tuple(100 - value / 100 for value in rising),
                      ("psnr", "blur"): tuple(100 - value for value in rising)}  # fmt: skip
    report = ordering_report(responses(faint), 4)
    assert f"{len(claims) - 1} of {len(claims)} claims hold" in report
    assert "Does not hold: `psnr` on noise" in report
    broken = claims | {("psnr", "noise"): rising, ("l1", "blur"): (0.0, 1.0, float("nan"), 3.0, 4.0, float("nan"))}
    report = ordering_report(responses(broken), 4)
    assert f"{len(claims) - 1} of {len(claims)} claims hold" in report
    assert "Does not hold: `psnr` on noise, -1.00." in report
    assert "| `fid_mobilenetv2` | **+1.00** | **+1.00** | *blind* |" in report
    assert "**+1.00 *(part)***" in report


def test_the_bias_report_shows_that_small_sets_are_far_apart():
    features = np.random.default_rng(0).normal(size=(80, 30)).astype(np.float32)
    report = bias_report({"i3d.logits": features, "i3d.pooled": features})
    rows = [line.split("|") for line in report.splitlines() if line.startswith("| `fvd`")]
    assert [int(row[2]) for row in rows] == [10, 30]
    assert float(rows[0][4]) > float(rows[1][4]) > 0


def test_the_speed_report_compares_processor_time():
    report = speed_report(Timing(200.0, 100.0), Timing(90.0, 55.0), 64, 2)
    assert "0.55" in report
    assert "200 s" in report


def test_bad_commands_get_one_line(capsys):
    assert main(["orderng"]) == 2
    assert "did you mean 'ordering'" in capsys.readouterr().err
    assert main(["speed", "outptu=x"]) == 2
    assert "did you mean 'output'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["ordering", "--help"]])
def test_asking_shows_the_commands_and_measures_nothing(words, capsys):
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "ordering    which metric" in shown.out
    assert shown.err == ""


# ---------------------------------------------------------------- faces


def faces(seed, people=6, poses=3, apart=1.0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), poses)
    return rng.normal(size=(people, 8))[who] * apart + 0.3 * rng.normal(size=(len(who), 8)), who


@given(seeds())
def test_far_people_separate_wholly_and_one_crowd_not_at_all(seed):
    assert separation(*faces(seed, apart=50.0)).auc == 1
    crowd = [separation(*faces(seed + one, people=20, apart=0.0)).auc for one in range(5)]
    assert np.mean(crowd) == pytest.approx(0.5, abs=0.1)


@given(seeds(), st.floats(0.01, 100))
def test_separation_ignores_the_order_of_faces_and_the_scale_and_turn_of_the_space(seed, scale):
    embeddings, who = faces(seed)
    rng = np.random.default_rng(seed)
    turn, order = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.permutation(len(who))
    plain, other = separation(embeddings, who), separation(scale * (embeddings @ turn)[order], who[order])
    assert other.auc == pytest.approx(plain.auc, abs=1e-9)
    assert other.same == pytest.approx(scale * plain.same)
    assert other.different == pytest.approx(scale * plain.different)


def test_separation_of_four_faces_by_hand():
    """On a line, A at 0 and 3, B at 1 and 6. Same: 3, 5. Different: 1, 6, 2, 3. Smaller same: 1 + 1; a tie: 1/2."""
    told = separation(np.array([[0.0], [3.0], [1.0], [6.0]]), np.array([0, 0, 1, 1]))
    assert (told.same, told.different, told.auc) == (4, 3, 2.5 / 8)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("who", [[0, 1, 2], [0, 0, 0]])
def test_separation_wants_two_of_one_and_one_of_another(who):
    with pytest.raises(ValueError, match="two people"):
        separation(np.zeros((3, 2)), np.array(who))


def test_the_faces_report_holds_what_was_found_and_frames_repeat():
    report = faces_report(separation(*faces(0, apart=50.0)), 6, 18, 30)
    assert "| 6 | 18 | 1.000 |" in report
    one, other = (next(frames_of(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert (one != next(frames_of(4))).any()
