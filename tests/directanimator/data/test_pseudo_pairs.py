"""`pairs.json`: what is written is read, and nothing in it leads outside its folder or to another clip."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data import pseudo_pairs
from directanimator.data.pseudo_pairs import PAIRS_FILE, PseudoPair, PseudoPairs, pairs_by_video, pairs_digest
from directanimator.errors import UserError

letters = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\")
names = st.text(letters, min_size=1, max_size=40).filter(lambda name: name not in (".", ".."))


@st.composite
def pairs(draw: st.DrawFn) -> PseudoPairs:
    named = draw(st.lists(st.tuples(names, names).filter(lambda pair: pair[0] != pair[1]), unique=True, max_size=5))
    return PseudoPairs(
        pairs=tuple(
            PseudoPair(video=video, reference=reference, clip=f"pseudo/{number}.mp4", sha256=f"{number:064x}")
            for number, (video, reference) in enumerate(named)
        )
    )


@given(pairs())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: PseudoPairs) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / PAIRS_FILE).write_text(written.model_dump_json())
    found = pairs_by_video(folder)
    assert sorted(pair.clip for of_video in found.values() for pair in of_video) == [p.clip for p in written.pairs]
    assert all(pair.video == video for video, of_video in found.items() for pair in of_video)


def entry(**changes: Any) -> dict[str, Any]:
    return {"video": "a.mp4", "reference": "b.mp4", "clip": "pseudo/x.mp4", "sha256": "0" * 64} | changes


def write(folder: Path, *entries: Any, **others: Any) -> Path:
    (folder / PAIRS_FILE).write_text(json.dumps({"format": 1, "pairs": entries, **others}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        pairs_by_video(folder)
    assert str(caught.value).isprintable()
    assert str(folder / PAIRS_FILE) in str(caught.value)
    return str(caught.value)


OUTSIDE = ["../x", "..", "a/../../x", "a/..", "/x", "/", "\\x", "a\\..\\x", ".", "./x", "a//x", "a/./x", "\0", "a\nb"]


@pytest.mark.parametrize("place", OUTSIDE)
def test_no_clip_lies_outside_the_folder(tmp_path: Path, place: str) -> None:
    assert "clip" in refusal(write(tmp_path, entry(clip=f"{place}/y.mp4")))


@pytest.mark.parametrize("key", ["video", "reference"])
@pytest.mark.parametrize("name", ["", ".", "..", "a/b.mp4", "/b.mp4", "b\\c.mp4", "b\n.mp4", "b" * 256, 3, None])
def test_videos_are_named_without_a_directory(tmp_path: Path, key: str, name: object) -> None:
    assert key in refusal(write(tmp_path, entry(**{key: name})))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry(reference="a.mp4")], "itself"),
        ([entry(), entry(clip="pseudo/y.mp4")], "2 times"),
        ([entry(), entry(reference="c.mp4")], "2 times"),
        ([entry(sha256="0" * 63)], "sha256"),
        ([entry(clip="pseudo/x.pkl")], "clip"),
        ([entry(more=1)], "more"),
        (["a.mp4"], "pairs.0"),
    ],
)
def test_entries_that_contradict_are_refused(tmp_path: Path, entries: list[Any], why: str) -> None:
    assert why in refusal(write(tmp_path, *entries))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"pairs": [], "format": 2}', '{"pairs": {}}', "\xff"])
def test_what_is_no_list_of_pairs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / PAIRS_FILE).write_bytes(text.encode("latin-1"))
    refusal(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudo_pairs, "MOST_BYTES", 10)
    assert "10 at most" in refusal(write(tmp_path, entry()))


def test_a_folder_without_the_file_has_no_pairs(tmp_path: Path) -> None:
    assert pairs_by_video(tmp_path) == {}
    assert pairs_digest(tmp_path) is None


def test_the_digest_changes_with_the_pairs_and_with_their_clips(tmp_path: Path) -> None:
    digests = [
        pairs_digest(write(tmp_path, *entries))
        for entries in ([], [entry()], [entry(sha256="1" * 64)], [entry(reference="c.mp4")])
    ]
    assert len(set(digests)) == 4
    assert pairs_digest(write(tmp_path, entry())) == digests[1]
