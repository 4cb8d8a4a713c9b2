"""Finding people: the nets on real pictures where they are in the cache, their geometry and decisions everywhere."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from directanimator import places
from directanimator.assets import asset, is_fetched
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.errors import UserError
from directanimator.perception.mediapipe import MediapipePerception, _tiles
from directanimator.perception.person import require_one_person, require_person
from directanimator.perception.region import Square, View
from directanimator.video import read_video

NETS = (
    "face_detection_short_range",
    "face_detection_full_range_sparse",
    "pose_detection",
    "pose_landmark_full",
    "selfie_segmentation",
)


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not is_fetched(name)]
    return pytest.mark.skipif(bool(missing), reason=f"python -m directanimator.assets fetch {' '.join(missing)}")


@pytest.fixture(scope="module")
def perception() -> MediapipePerception:
    return MediapipePerception()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(pytest.importorskip("skimage.data").astronaut())


points = st.tuples(st.floats(-50, 150), st.floats(-50, 150)).map(lambda point: np.array(point, np.float32))


@given(points, points)
def test_the_top_of_a_body_lies_at_the_top_of_its_square(center: np.ndarray, top: np.ndarray) -> None:
    if np.linalg.norm(top - center) < 5:
        top = center + np.array([0, -20], np.float32)
    square = Square.around_body(center, top, 1.25)
    (middle, upper) = square.to_frame(np.array([[0.5, 0.5], [0.5, 0.1]], np.float32))
    np.testing.assert_allclose(middle, center, atol=1e-2)
    np.testing.assert_allclose(upper, top, atol=1e-1)


@given(st.integers(2, 9000), st.integers(2, 9000))
@example(16, 8000)
@example(1080, 1920)
def test_tiles_cover_a_frame_of_any_sides_and_are_never_many(height: int, width: int) -> None:
    """A frame of 8000 x 16 pixels once had two thousand."""
    tiles = _tiles(height, width)
    assert 1 <= len(tiles) <= 40
    for axis, sides in ((0, width), (1, height)):
        centers = sorted((float(tile.center[axis]), tile.side / 2) for tile in tiles)
        spans = [(center - reach, center + reach) for center, reach in centers]
        assert spans[0][0] <= 0.01 * sides
        assert spans[-1][1] >= 0.99 * sides
        assert all(after[0] <= before[1] for before, after in itertools.pairwise(spans))


@given(points, points)
def test_a_square_does_not_mirror(center: np.ndarray, top: np.ndarray) -> None:
    if np.linalg.norm(top - center) < 5:
        top = center + np.array([0, -20], np.float32)
    origin, right, down = Square.around_body(center, top, 1.25).to_frame(np.array([[0, 0], [1, 0], [0, 1]], np.float32))
    assert np.linalg.det(np.stack([right - origin, down - origin], axis=1)) > 0


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_an_unscaled_crop_of_the_whole_frame_is_the_frame(height: int, width: int, seed: int) -> None:
    side = max(height, width) + (max(height, width) - min(height, width)) % 2
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    center = np.array([side / 2 - left, side / 2 - top], np.float32)
    crop = Square.upright(center, float(side)).crop(frame, side)
    np.testing.assert_array_equal(crop[top : top + height, left : left + width], frame)


@given(st.floats(0, 6.28), st.floats(20, 60))
def test_pasting_a_crop_back_restores_the_place(angle: float, side: float) -> None:
    up = np.array([np.sin(angle), -np.cos(angle)], np.float32)
    square = Square(np.array([50, 40], np.float32), side, up)
    mask = square.patch(np.full((64, 64), 255, np.uint8)).laid(View.whole(90, 110)) / 255
    y, x = np.nonzero(mask > 0.5)
    assert x.mean() + 0.5 == pytest.approx(50, abs=0.5)
    assert y.mean() + 0.5 == pytest.approx(40, abs=0.5)
    assert mask.sum() == pytest.approx(side**2, rel=0.08)


def faces_of_sides(*sides: float) -> np.ndarray:
    return np.array([[0, 0, side, side] for side in sides], np.float32).reshape(-1, 4)


@given(st.floats(10, 200), st.floats(0.45, 1.0))
def test_two_people_of_similar_size_are_refused(side: float, share: float) -> None:
    with pytest.raises(UserError, match=r"a\.png: 2 people"):
        require_one_person(faces_of_sides(side, share * side), "a.png")


@given(st.floats(10, 200), st.floats(0.01, 0.35))
def test_a_small_face_in_the_background_is_allowed(side: float, share: float) -> None:
    require_one_person(faces_of_sides(side, share * side), "a.png")


@pytest.mark.parametrize("sides", [(), (50,)])
def test_one_face_or_none_is_allowed(sides: tuple[float, ...]) -> None:
    require_one_person(faces_of_sides(*sides), "a.png")


@pytest.mark.parametrize(("value", "refused"), [(0, True), (255, False)])
def test_only_a_clip_without_anybody_is_refused(value: int, refused: bool) -> None:
    mask = np.zeros((2, 4, 4), np.uint8)
    mask[1] = value
    track = PersonTrack(mask, np.full((2, 4), np.nan, np.float32), np.zeros(2, np.float32), no_landmarks(2))
    if refused:
        with pytest.raises(UserError, match=r"no person found in b\.mp4"):
            require_person(track, "b.mp4")
    else:
        require_person(track, "b.mp4")


def test_without_weights_the_command_that_brings_them_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.ASSETS_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=r"directanimator\.assets fetch"):
        MediapipePerception()


@needs(*NETS)
def test_the_astronauts_face_is_where_it_is(perception: MediapipePerception, astronaut: np.ndarray) -> None:
    track = perception.track(astronaut[None])
    np.testing.assert_allclose(track.face_box[0], [178, 81, 272, 175], atol=4)
    np.testing.assert_allclose(perception.faces(astronaut), [[178, 81, 272, 175]], atol=4)


@needs(*NETS)
def test_the_astronauts_mask_holds_her_and_not_the_shuttle(
    perception: MediapipePerception, astronaut: np.ndarray
) -> None:
    (mask,) = perception.track(astronaut[None]).mask
    assert mask[90:160, 190:250].min() > 200
    assert mask[300:500, 100:300].mean() > 240
    assert mask[:250, 360:].mean() < 10


@needs(*NETS)
def test_two_astronauts_are_refused_also_when_they_are_small(
    perception: MediapipePerception, astronaut: np.ndarray
) -> None:
    canvas = np.full((1080, 1920, 3), 90, np.uint8)
    canvas[300:812, 600:1112] = astronaut
    require_one_person(perception.faces(canvas), "one")
    canvas[300:812, 1200:1712] = astronaut[:, ::-1]
    with pytest.raises(UserError, match="2 people"):
        require_one_person(perception.faces(canvas), "two")


@needs(*NETS)
@pytest.mark.parametrize("picture", ["coffee", "rocket", "cat", "brick"])
def test_where_nobody_is_nobody_is_found(perception: MediapipePerception, picture: str) -> None:
    pixels = np.asarray(getattr(pytest.importorskip("skimage.data"), picture)())
    frames = (pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1))[None]
    track = perception.track(frames)
    assert not track.mask.any()
    assert np.isnan(track.face_box).all()
    assert track.score.max() == 0


@needs(*NETS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (64, 7)])
def test_any_size_of_frame_is_taken(perception: MediapipePerception, height: int, width: int) -> None:
    track = perception.track(np.zeros((2, height, width, 3), np.uint8))
    assert track.mask.shape == (2, height, width)


@needs(*NETS)
def test_a_clip_looked_at_twice_gives_the_same_track(perception: MediapipePerception, astronaut: np.ndarray) -> None:
    frames = np.stack([astronaut, np.roll(astronaut, 9, axis=1)])
    first, second = perception.track(frames), perception.track(frames)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.face_box, second.face_box)


@needs(*NETS)
def test_the_face_box_moves_with_the_picture(perception: MediapipePerception, astronaut: np.ndarray) -> None:
    track = perception.track(np.stack([astronaut, np.roll(astronaut, 40, axis=1)]))
    np.testing.assert_allclose(track.face_box[1] - track.face_box[0], [40, 0, 40, 0], atol=6)


@needs(*NETS, "pose2sim_cam02")
def test_a_small_whole_body_is_found_and_followed(perception: MediapipePerception) -> None:
    """A man on a treadmill; a second person stands far behind and must stay out of the mask."""
    track = perception.track(read_video(asset("pose2sim_cam02")).frames[:8])
    area = (track.mask > 127).mean(axis=(1, 2))
    assert track.score.min() > 0.9
    assert ((area > 0.03) & (area < 0.06)).all()
    assert track.mask[:, 450:900, 760:].mean() < 3


@needs(*NETS, "single_face")
def test_a_talking_head_has_a_face_in_every_frame(perception: MediapipePerception) -> None:
    track = perception.track(read_video(asset("single_face"), fps=5.0).frames)
    assert np.isfinite(track.face_box).all()
    sides = track.face_box[:, 2] - track.face_box[:, 0]
    assert ((sides > 150) & (sides < 200)).all()
    assert track.mask[:, 150:260, 250:330].mean(axis=(1, 2)).min() > 250
    assert track.mask[:, :, 560:].max() == 0
