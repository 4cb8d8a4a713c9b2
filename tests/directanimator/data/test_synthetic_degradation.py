"""Pseudo drivers: nothing at strength 0, worse with strength, and the target untouched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import identity_at, motion_at
from directanimator.data.synthetic.degradation import degraded_frames, degraded_motion, leaked_identity
from directanimator.data.synthetic.raster import LOOK_SKIN
from directanimator.data.synthetic_items import synthetic_item
from directanimator.errors import UserError

SPEC = DataSpec(size=32, latent_frames=2)
motions, people = st.integers(0, 60), st.integers(0, 5)
strengths = st.floats(0, 1)


def pseudo(strength: float) -> DataSpec:
    return SPEC.model_copy(update={"cue_quality": "pseudo", "cue_strength": strength})


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@given(motions)
def test_a_motion_degraded_by_nothing_is_the_motion(motion: int) -> None:
    before, after = motion_at("test", motion).track, degraded_motion(motion_at("test", motion), 0.0, rng()).track
    np.testing.assert_allclose(after.directions, before.directions, atol=1e-12)
    np.testing.assert_array_equal(after.expression, before.expression)
    np.testing.assert_array_equal(after.yaw, before.yaw)


@given(motions, st.floats(0.1, 1))
def test_a_degraded_motion_trembles_comes_late_and_stays_legal(motion: int, strength: float) -> None:
    plain = motion_at("test", motion)
    track = degraded_motion(plain, strength, rng()).track
    np.testing.assert_allclose(np.linalg.norm(track.directions, axis=-1), 1, atol=1e-9)
    assert 0 <= track.expression.min() <= track.expression.max() <= 1
    lag = round(0.16 * strength * 50)
    np.testing.assert_array_equal(track.yaw[lag:], plain.track.yaw[: len(track.yaw) - lag])
    error = np.linalg.norm(track.directions[lag:] - plain.track.directions[: len(track.yaw) - lag], axis=-1)
    assert 0.05 * strength < error.mean() < 0.4 * strength
    assert not np.array_equal(track.expression, plain.track.expression)


@given(people, people, strengths)
def test_leakage_moves_colors_towards_the_reference_and_leaves_the_shape(
    driver: int, reference: int, strength: float
) -> None:
    b, a = identity_at("test", driver), identity_at("test", reference)
    leaked = leaked_identity(b, a, strength)
    skin = [who.look[LOOK_SKIN, :3] for who in (b, leaked, a)]
    np.testing.assert_allclose(
        np.linalg.norm(skin[1] - skin[0]), 0.6 * strength * np.linalg.norm(skin[2] - skin[0]), atol=1e-5
    )
    np.testing.assert_array_equal(leaked.vertices, b.vertices)
    np.testing.assert_array_equal(leaked.textiles[:, :2], b.textiles[:, :2])


def test_frames_lose_detail_with_strength() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    errors = [
        np.abs(degraded_frames(frames, strength).astype(int) - frames).mean() for strength in (0.0, 0.2, 0.6, 1.0)
    ]
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[-1] > 20
    assert degraded_frames(frames, 0.5).shape == frames.shape


def test_color_survives_compression() -> None:
    frames = np.broadcast_to(np.array([200, 80, 20], np.uint8), (1, 32, 32, 3)).copy()
    np.testing.assert_allclose(degraded_frames(frames, 1.0), frames, atol=12)


def test_a_pseudo_driver_leaves_target_and_reference_alone() -> None:
    true, bad = synthetic_item("train", 3, SPEC), synthetic_item("train", 3, pseudo(0.7))
    for name in ("target", "reference", "own_frames", "background"):
        np.testing.assert_array_equal(getattr(bad, name), getattr(true, name))
    np.testing.assert_array_equal(bad.target_track.mask, true.target_track.mask)
    assert not np.array_equal(bad.driving, true.driving)
    assert not np.array_equal(bad.driving_track.landmarks, true.driving_track.landmarks)
    assert not np.array_equal(bad.survey_track.landmarks, true.survey_track.landmarks)


def test_a_pseudo_driver_is_the_worse_the_stronger_and_the_same_every_time() -> None:
    true = synthetic_item("test", 5, SPEC).driving.astype(int)
    items = [synthetic_item("test", 5, pseudo(strength)).driving for strength in (0.0, 0.3, 1.0)]
    errors = [np.abs(frames.astype(int) - true).mean() for frames in items]
    assert errors[0] == 0
    assert 0 < errors[1] < errors[2]
    np.testing.assert_array_equal(items[2], synthetic_item("test", 5, pseudo(1.0)).driving)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_its_range_is_refused(strength: float) -> None:
    with pytest.raises(UserError, match="legal are 0 to 1"):
        degraded_motion(motion_at("test", 0), strength, rng())
    with pytest.raises(ValidationError):
        DataSpec(cue_quality="pseudo", cue_strength=strength)


def test_videos_of_a_folder_cannot_be_degraded() -> None:
    with pytest.raises(ValidationError, match="cue_quality=pseudo needs source=synthetic"):
        DataSpec(source="folder", folder="clips", cue_quality="pseudo")
