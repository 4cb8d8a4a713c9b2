import base64
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.metrics.gallery import PANEL, GalleryClip, Ranking, side_by_side, worst_clips, write_gallery
from directanimator.video import read_video

NAMES = [f"clip_{index}" for index in range(8)]
VALUES = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.floats(-50, 50), st.just(math.nan)), min_size=1)


def clip(name, frames=3, **others):
    rng = np.random.default_rng(len(name))
    generated, target = (rng.integers(0, 256, (frames, 16, 24, 3), np.uint8) for _ in range(2))
    return GalleryClip(name, generated, target, **others)


@given(VALUES, st.sampled_from(["higher", "lower"]), st.integers(0, 9))
def test_the_worst_are_no_better_than_the_rest_and_those_without_value_come_first(values, better, count):
    found = Ranking("psnr", "", better, values).worst(count, NAMES)
    assert len(found) == min(count, len(values))
    rest = [values[name] for name in values if name not in found]
    shown = [values[name] for name in found]
    missing = sum(math.isnan(value) for value in shown)
    assert all(math.isnan(value) for value in shown[:missing])
    sign = 1 if better == "higher" else -1
    ordered = [sign * value for value in shown[missing:]]
    assert ordered == sorted(ordered)
    if any(math.isnan(value) for value in rest):
        assert missing == len(found)
    elif ordered and rest:
        assert ordered[-1] <= min(sign * value for value in rest)


def test_each_subset_has_its_own_worst():
    ranking = Ranking("psnr", "", "higher", {name: float(index) for index, name in enumerate(NAMES)})
    subset_of = {name: "cross" if index % 2 else "self" for index, name in enumerate(NAMES)}
    assert worst_clips([ranking], subset_of, 1) == {"clip_0", "clip_1"}


def test_panels_stand_side_by_side_and_stills_are_repeated():
    frames = clip("a", reference=np.full((1, 20, 20, 3), 9, np.uint8), driving=np.zeros((3, 40, 20, 3), np.uint8),
                  cues=np.zeros((3, 16, 24, 3), np.uint8))  # fmt: skip
    shown = side_by_side(frames)
    assert list(frames.panels()) == ["reference", "driving", "cues", "generated", "target", "difference x 3"]
    assert shown.shape[:2] == (3, PANEL)
    assert (shown[:, :, 10] == 9).all()


def test_a_difference_is_the_distance_of_the_two_and_black_where_they_agree():
    frames = clip("a")
    same = GalleryClip("a", frames.target, frames.target)
    assert not same.panels()["difference x 3"].any()
    brighter = GalleryClip("a", np.full((1, 4, 4, 3), 40, np.uint8), np.full((1, 4, 4, 3), 60, np.uint8))
    assert (brighter.panels()["difference x 3"] == 60).all()


def test_panels_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="driving has 2 frames, want 1 or 3"):
        side_by_side(clip("a", driving=np.zeros((2, 16, 16, 3), np.uint8)))


def test_the_page_holds_each_worst_clip_once_and_needs_nothing_else(tmp_path):
    clips = [clip(name, subset="cross") for name in NAMES]
    values = {name: float(index) for index, name in enumerate(NAMES)} | {"clip_5": math.nan}
    rankings = [Ranking("psnr", "a <b>", "higher", values), Ranking("l1", "", "lower", values)]
    path = tmp_path / "gallery.html"
    write_gallery(path, clips, rankings, count=2)
    page = path.read_text()
    videos = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert re.findall(r'<figure id="clip-(\w+)"', page) == ["clip_5", "clip_0", "clip_7"]
    assert len(videos) == 3
    assert "no value" in page
    assert "a &lt;b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    (tmp_path / "a.mp4").write_bytes(base64.b64decode(videos[0]))
    assert read_video(tmp_path / "a.mp4").frames.shape[:2] == (3, PANEL)
