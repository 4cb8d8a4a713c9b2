import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.benchmark import (
    Response,
    Timing,
    bias_report,
    main,
    ordering_report,
    rank_correlation,
    speed_report,
)
from directanimator.metrics.catalog import METRICS
from directanimator.metrics.degradations import DEGRADATIONS, degraded
from directanimator.metrics.image import l1
from tests.strategies import seeds

KINDS = st.sampled_from(DEGRADATIONS)


def clips(seed, frames=12):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (2, frames, 12, 40, 3), np.uint8)


@given(seeds(), KINDS)
def test_strength_zero_is_the_clip_and_others_are_not(seed, kind):
    clip, other = clips(seed)
    np.testing.assert_array_equal(degraded(clip, kind, 0, other, seed), clip)
    assert all((degraded(clip, kind, strength, other, seed) != clip).any() for strength in range(1, 6))


@given(seeds(), st.sampled_from(["noise", "color_slide", "identity_swap"]))
def test_more_of_it_is_farther_from_the_clip(seed, kind):
    clip, other = clips(seed)
    found = [l1(degraded(clip // 2 + np.uint8(64), kind, s, other, 0), clip // 2 + np.uint8(64)) for s in range(6)]
    assert found == sorted(found)


@given(seeds())
def test_a_shuffle_keeps_the_set_of_frames_and_a_swap_mixes_two(seed):
    clip, other = clips(seed)
    shuffled = degraded(clip, "frame_shuffle", 5, other, seed)
    assert sorted(frame.tobytes() for frame in shuffled) == sorted(frame.tobytes() for frame in clip)
    assert not (shuffled == clip).all(axis=(1, 2, 3)).any()
    swapped = degraded(clip, "identity_swap", 5, other, seed)
    assert (swapped == other).all(axis=(1, 2, 3)).sum() == 6
    assert ((swapped == clip) | (swapped == other)).all()


@given(seeds(), st.integers(1, 5))
def test_a_shift_moves_all_frames_alike(seed, strength):
    clip, other = clips(seed)
    moved, pixels = degraded(clip, "shift", strength, other, 0), 2 ** (strength - 1)
    np.testing.assert_array_equal(moved[:, :, pixels:], clip[:, :, :-pixels])


@pytest.mark.usefixtures("unchecked_shapes")
def test_strengths_outside_and_clips_of_two_shapes_are_refused():
    clip, other = clips(0)
    with pytest.raises(ValueError, match=r"want 0\.\.5"):
        degraded(clip, "noise", 6, other, 0)
    with pytest.raises(ValueError, match="one shape"):
        degraded(clip, "noise", 1, other[:3], 0)


# ---------------------------------------------------------------- the reports


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
    assert main([]) == 2
    assert main(["speed", "outptu=x"]) == 2
    assert "did you mean 'output'" in capsys.readouterr().err
