"""Whose motion which person is to show: never their own, the same for the same seed, and not more than asked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.pseudo.plan import digests_of_splits, pairings
from tests.strategies import seeds

folders = st.dictionaries(st.text(min_size=1, max_size=6), st.sampled_from("abcdefgh"), max_size=8)
"""Digests by name; some videos are copies of others."""
counts = st.integers(1, 5)


@given(folders, counts, seeds())
def test_nobody_drives_himself_even_under_another_name(digests, per_clip, seed):
    assert all(digests[pair.video] != digests[pair.reference] for pair in pairings(digests, per_clip, seed))


@given(folders, counts, seeds())
def test_every_video_gets_what_was_asked_for_or_all_there_are(digests, per_clip, seed):
    found = pairings(digests, per_clip, seed)
    assert len({(pair.video, pair.reference) for pair in found}) == len(found)
    for video, digest in digests.items():
        others = sum(other != digest for other in digests.values())
        assert sum(pair.video == video for pair in found) == min(per_clip, others)


@given(folders, counts, seeds(), st.randoms())
def test_the_order_of_the_folder_does_not_matter_and_more_per_clip_adds_pairs(digests, per_clip, seed, random):
    shuffled = dict(random.sample(list(digests.items()), len(digests)))
    found = pairings(digests, per_clip, seed)
    assert pairings(shuffled, per_clip, seed) == found
    more = pairings(digests, per_clip + 1, seed)
    assert [pair for pair in more if pair in found] == found


@given(folders.filter(bool), seeds(), st.text(min_size=7, max_size=8))
def test_a_new_video_replaces_at_most_one_person_of_every_other(digests, seed, name):
    before, after = pairings(digests, 3, seed), pairings({**digests, name: "new"}, 3, seed)
    for video in digests:
        kept = {pair.reference for pair in after if pair.video == video} - {name}
        lost = {pair.reference for pair in before if pair.video == video} - kept
        assert len(lost) <= 1


def test_the_seed_decides():
    digests = {f"{k}.mp4": str(k) for k in range(12)}
    assert len({tuple(pair.reference for pair in pairings(digests, 2, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(("count", "sizes"), [(7, [7]), (8, [6, 1, 1]), (17, [12, 2, 3])])
def test_people_of_the_test_videos_are_never_seen_in_training(tmp_path: Path, count: int, sizes: list[int]) -> None:
    for k in range(count):
        (tmp_path / f"{k:02}.mp4").write_text(str(k))
    parts = digests_of_splits(tmp_path)
    assert [len(part) for part in parts] == sizes
    assert len({name for part in parts for name in part}) == count


@pytest.mark.parametrize("name", ["a\nb.mp4", "a\\b.mp4"])
def test_a_name_that_cannot_be_written_down_is_refused_before_the_work_begins(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="rename it") as caught:
        digests_of_splits(tmp_path)
    assert str(caught.value).isprintable()
