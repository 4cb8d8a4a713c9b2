"""Which clips are kept: fewer with every stricter threshold, and none that shows the wrong person or motion."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from directanimator.metrics.features import Observed
from directanimator.pseudo.making import KEPT
from directanimator.pseudo.screening import Measures, ScreeningSpec, measures_of, verdict
from tests.strategies import seeds

FRAMES = 6
cosines, shares, distances = st.floats(-1, 1), st.floats(0, 1), st.floats(0, 2)
all_measures = st.builds(
    Measures,
    identity=st.none() | cosines,
    leak=st.none() | cosines,
    clothes=st.none() | cosines,
    faces=st.none() | shares,
    expression=st.none() | distances,
    joints=st.none() | shares,
    motion=st.none() | distances,
)
specs = st.builds(
    ScreeningSpec,
    min_identity=cosines,
    min_margin=st.floats(-2, 2),
    min_clothes=cosines,
    min_faces=shares,
    max_expression=distances,
    min_joints=shares,
    max_motion=distances,
)
GOOD = Measures(identity=0.95, leak=0.7, clothes=0.4, faces=1.0, expression=0.05, joints=1.0, motion=0.2)
LOOSE = ScreeningSpec(
    min_identity=-1, min_margin=-2, min_clothes=-1, min_faces=0, max_expression=1e9, min_joints=0, max_motion=1e9
)


def looser(one: ScreeningSpec, other: ScreeningSpec) -> ScreeningSpec:
    """Of each threshold the one that keeps more."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in ScreeningSpec.model_fields}
    return ScreeningSpec(**{name: (max if name.startswith("max") else min)(pair) for name, pair in pairs.items()})


@given(all_measures, specs, specs)
def test_looser_thresholds_drop_nothing_that_was_kept(found, one, other):
    if verdict(found, one) in KEPT:
        assert verdict(found, looser(one, other)) in KEPT


@given(all_measures)
def test_without_thresholds_every_clip_with_a_body_is_kept(found):
    assert (verdict(found, LOOSE) in KEPT) == (found.joints is not None and found.motion is not None)


@given(all_measures, specs)
def test_a_clip_whose_identity_nobody_can_tell_is_counted_apart(found, spec):
    word = verdict(found, spec)
    assert (word == "kept_faceless") <= (found.identity is None)
    assert (word == "kept") <= (found.identity is not None)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "kept"),
        ({"identity": 0.89}, "identity"),
        ({"leak": 0.96}, "leak"),
        ({"clothes": -0.01}, "clothes"),
        ({"clothes": None}, "kept"),
        ({"faces": 0.49}, "face_unseen"),
        ({"expression": 0.11}, "expression"),
        ({"joints": 0.69}, "body_unseen"),
        ({"joints": None}, "body_unseen"),
        ({"motion": None}, "body_unseen"),
        ({"motion": 0.31}, "motion"),
        ({"identity": None, "leak": None, "faces": None, "expression": None}, "kept_faceless"),
        ({"identity": None}, "kept_faceless"),
    ],
)
def test_each_threshold_has_its_word(changes, word):
    assert verdict(GOOD.model_copy(update=changes), ScreeningSpec()) == word


def seen(rng: np.random.Generator, frames: int = FRAMES) -> Observed:
    """What nets see in a clip of somebody."""
    person = np.zeros((frames, 8, 8), np.uint8)
    person[:, 2:, 2:6] = 255
    return Observed(
        rng.integers(0, 256, (1, 8, 8, 3), np.uint8).repeat(frames, axis=0),
        {
            "dlib_face.embedding": rng.standard_normal((frames, 128)).astype(np.float32),
            "person.mesh": rng.uniform(0, 100, (frames, 468, 2)).astype(np.float32),
            "person.landmarks": rng.uniform(0, 100, (frames, 13, 2)).astype(np.float32),
            "person.mask": person,
        },
    )


def animated(reference: Observed, driving: Observed, scale: float = 1.0, shift: float = 0.0) -> Observed:
    """The clip of a perfect driver: looks of the reference, landmarks of the driver at another place and size."""
    looks = {name: reference.features[name].repeat(FRAMES, axis=0) for name in ("dlib_face.embedding", "person.mask")}
    places = {
        name: driving.features[name] * np.float32(scale) + np.float32(shift)
        for name in ("person.mesh", "person.landmarks")
    }
    return Observed(reference.frames.repeat(FRAMES, axis=0), {**looks, **places})


def hide_faces(clip: Observed, hidden: np.ndarray) -> None:
    for name in ("dlib_face.embedding", "person.mesh"):
        clip.features[name][hidden] = np.nan


@given(seeds(), st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES), st.floats(0.5, 4), st.floats(-20, 20))
@example(0, [False] * FRAMES, 1.0, 0.0)
def test_the_reference_s_person_in_the_driver_s_motion_is_measured_as_such(seed, faces, scale, shift):
    rng = np.random.default_rng(seed)
    driving, reference = seen(rng), seen(rng, 1)
    made = animated(reference, driving, scale, shift)
    for clip in (driving, made):
        hide_faces(clip, ~np.array(faces))
    found = measures_of(made, driving, reference, "dlib_face")
    assert found.motion == pytest.approx(0, abs=1e-4)
    assert (found.joints, found.clothes) == (1, pytest.approx(1))
    if not any(faces):
        assert (found.identity, found.leak, found.faces, found.expression) == (None,) * 4
        assert verdict(found, ScreeningSpec()) == "kept_faceless"
        return
    assert found.identity == pytest.approx(1)
    assert found.faces == 1
    assert found.expression == pytest.approx(0, abs=1e-4)
    assert verdict(found, ScreeningSpec()) == "kept"


@given(seeds(), st.booleans())
def test_the_driver_himself_is_no_pseudo_driver_even_where_no_face_is_seen(seed, is_faceless):
    rng = np.random.default_rng(seed)
    driving, reference = seen(rng), seen(rng, 1)
    hide_faces(driving, np.full(FRAMES, is_faceless))
    found = measures_of(driving, driving, reference, "dlib_face")
    assert found.clothes == pytest.approx(-1)
    assert verdict(found, ScreeningSpec()) == "clothes"
    if not is_faceless:
        assert found.leak == pytest.approx(1)
        assert verdict(found, ScreeningSpec(min_identity=-1, min_clothes=-1)) == "leak"


def test_a_reference_without_a_face_leaves_the_identity_open_and_not_the_rest():
    rng = np.random.default_rng(0)
    driving, reference = seen(rng), seen(rng, 1)
    made = animated(reference, driving)
    made.features["dlib_face.embedding"][:] = 1
    hide_faces(reference, np.array([True]))
    found = measures_of(made, driving, reference, "dlib_face")
    assert (found.identity, found.faces) == (None, 1)
    assert verdict(found, ScreeningSpec()) == "kept_faceless"


def test_frames_without_a_face_count_against_the_share_of_faces_and_not_against_the_identity():
    rng = np.random.default_rng(0)
    driving, reference = seen(rng), seen(rng, 1)
    made = animated(reference, driving)
    hide_faces(made, np.arange(FRAMES) < 4)
    found = measures_of(made, driving, reference, "dlib_face")
    assert found.faces == pytest.approx(2 / FRAMES)
    assert found.identity == pytest.approx(1)
    assert verdict(found, ScreeningSpec()) == "face_unseen"
