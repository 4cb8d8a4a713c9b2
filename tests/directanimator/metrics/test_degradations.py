import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
