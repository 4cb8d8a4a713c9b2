"""Cues of videos through the store: what is stored is what is made in memory, nothing stale is taken, nothing twice."""

import errno
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from directanimator.cues.alignment import align, identity_alignment
from directanimator.cues.canvas import resize
from directanimator.cues.face import face_cue
from directanimator.cues.framing import person_box
from directanimator.cues.gate import judged
from directanimator.cues.location import location_cue
from directanimator.cues.low_pass import low_pass_in_frame
from directanimator.cues.person import PersonTrack, face_seen, no_landmarks
from directanimator.cues.pose import pose_cue_of
from directanimator.cues.spec import CueSpec, FaceCueSpec, GateSpec, LocationCueSpec, PoseCueSpec
from directanimator.cues.triplet import DrivingCues, driving_cues
from directanimator.errors import UserError
from directanimator.extraction import sightings as sightings_module
from directanimator.extraction.command import default_watch, main, parse
from directanimator.extraction.extract import CODE, STEPS, extract, keys_of, watched_reference
from directanimator.extraction.recorded import SIGHTINGS
from directanimator.extraction.sightings import Watch, sightings_of
from directanimator.extraction.spec import ExtractionSpec, PerceptionSpec
from directanimator.extraction.store import Store
from directanimator.extraction.stream import canvas_frame
from directanimator.extraction.truth import TrueWatch
from directanimator.perception.following import Follower
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.perception.person import Seen, Sighting, tracked
from directanimator.perception.region import Patch, View
from directanimator.perception.ssd import decode
from directanimator.video import open_video, read_video, write_video
from tests.directanimator.extraction.bright import BrightPerson, walker, watch_of

SIZE = 48
SPEC = ExtractionSpec(size=SIZE)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "a.mp4", walker(40), 8.0)
    return tmp_path / "a.mp4"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def cues_in(store: Store, keys) -> DrivingCues:
    found: dict[str, list[np.ndarray]] = {}
    for step in ("pose", "face", "location"):
        for shard in store.entry(step, keys[step]).arrays():
            for name, values in shard.items():
                found.setdefault(name, []).append(values)
    return DrivingCues(**{name: np.concatenate(parts) for name, parts in found.items()})


@pytest.mark.parametrize("height", [64, 47])
def test_streamed_cues_are_those_of_the_whole_clip_in_memory(tmp_path, store, height):
    """Gray levels may differ by one: averages over the clip are summed in another order."""
    path = tmp_path / "a.mp4"
    write_video(path, walker(40, height, 90), 8.0)
    cues = cues_in(store, extract(path, SPEC, store, watch_of(BrightPerson())).keys)
    frames = read_video(path).frames
    side = min(frames.shape[1:3])
    left = (frames.shape[2] - side) // 2
    view = View(float(left), 0.0, float(side), float(side), side, side)
    track = tracked((seen.sighting for seen in BrightPerson().watch(frames)), view)
    square = frames[:, :side, left : left + side]
    expected = driving_cues(square, track, identity_alignment(), SIZE, SPEC.cues)
    for field in fields(expected):
        one, other = getattr(cues, field.name).astype(int), getattr(expected, field.name).astype(int)
        assert np.abs(one - other).max() <= (1 if field.name == "pose_cue" else 0), field.name


def test_the_second_run_looks_at_nothing_and_tells_the_same(clip, store):
    first = extract(clip, SPEC, store, watch_of(BrightPerson()))
    again = BrightPerson()
    second = extract(clip, SPEC, store, watch_of(again))
    assert (first.looked_at, second.looked_at, again.looked_at) == (40, 0, 0)
    assert second.made == ()
    assert {name: value for name, value in vars(first).items() if name not in ("looked_at", "made")} == {
        name: value for name, value in vars(second).items() if name not in ("looked_at", "made")
    }


CHANGES = {
    "pose": SPEC.model_copy(update={"cues": CueSpec(pose=PoseCueSpec(cutoff=9.0))}),
    "face": SPEC.model_copy(update={"cues": CueSpec(face=FaceCueSpec(margin=2.0))}),
    "location": SPEC.model_copy(update={"cues": CueSpec(location=LocationCueSpec(soften_cells=5))}),
    "gate": SPEC.model_copy(update={"cues": CueSpec(gate=GateSpec(min_area_ratio=0.4))}),
}
SHAPED = {"pose": {"pose"}, "face": {"face"}, "location": {"location"}, "gate": {"gate", "pose", "location"}}


@pytest.mark.parametrize("changed", CHANGES)
def test_a_changed_parameter_makes_anew_what_it_shapes_and_nothing_else(clip, store, changed):
    extract(clip, SPEC, store, watch_of(BrightPerson()))
    person = BrightPerson()
    done = extract(clip, CHANGES[changed], store, watch_of(person))
    assert set(done.made) == SHAPED[changed]
    assert person.looked_at == 0
    fresh = extract(clip, CHANGES[changed], Store(store.root.parent / "other"), watch_of(BrightPerson()))
    for field in fields(cues_in(store, done.keys)):
        one = getattr(cues_in(store, done.keys), field.name)
        other = getattr(cues_in(Store(store.root.parent / "other"), fresh.keys), field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def test_switching_a_cue_off_makes_nothing_anew():
    off = CueSpec(pose=PoseCueSpec(enabled=False), face=FaceCueSpec(enabled=False))
    other = SPEC.model_copy(update={"cues": off})
    assert keys_of("v", SPEC, {}, None) == keys_of("v", other, {}, None)


@pytest.mark.parametrize(
    ("video", "edit", "nets", "reference"),
    [
        ("w", {}, {}, None),
        ("v", {"fps": 5.0}, {}, None),
        ("v", {"size": 64}, {}, None),
        ("v", {"crop": "person"}, {}, None),
        ("v", {}, {"net": "other"}, None),
        ("v", {}, {}, "picture"),
    ],
)
def test_whatever_shapes_the_cues_changes_their_keys(video, edit, nets, reference):
    before = keys_of("v", SPEC, {}, None)
    after = keys_of(video, SPEC.model_copy(update=edit), nets, reference)
    assert before["pose"] != after["pose"]
    assert before["location"] != after["location"]
    assert (before["face"] != after["face"]) == (reference is None)
    assert (before["sightings"] != after["sightings"]) == bool(video == "w" or "fps" in edit or nets)


OTHER_VALUES = {
    "pose": {"filter_shape": "ideal", "cutoff": 5.0, "normalized": False, "aligned": False},
    "face": {"zoomed": False, "margin": 2.0},
    "location": {"align_by": "masks", "aligned": False, "soften_cells": 5},
    "gate": {"min_area_ratio": 0.4, "max_area_ratio": 3.0, "min_largest_component": 0.8},
}
SHAPES_NOTHING_STORED = {"enabled", "picture"}


@pytest.mark.parametrize("part", OTHER_VALUES)
def test_every_leaf_of_the_cues_changes_the_key_of_the_cue_that_it_shapes(part):
    """A leaf that is added to a cue has to be added here."""
    spec = getattr(SPEC.cues, part)
    assert set(OTHER_VALUES[part]) == set(type(spec).model_fields) - SHAPES_NOTHING_STORED
    before = keys_of("v", SPEC, {}, "picture")
    for name, value in OTHER_VALUES[part].items():
        assert getattr(spec, name) != value
        cues = SPEC.cues.model_copy(update={part: spec.model_copy(update={name: value})})
        after = keys_of("v", SPEC.model_copy(update={"cues": cues}), {}, "picture")
        assert before[part] != after[part], name


@pytest.mark.parametrize("backend", ["sam2", "grounded_sam", "segment_anything", "insightface"])
def test_sightings_name_the_code_and_the_libraries_of_whoever_looked(monkeypatch, backend):
    field = "faces" if backend == "insightface" else "masks"
    (own_code, own_libraries), (code, libraries) = code_of_sightings(monkeypatch, {}, {field: backend})
    assert set(own_code) < set(code)
    assert set(own_libraries) < set(libraries)


def test_sightings_that_the_truth_tells_name_its_code(monkeypatch):
    (own_code, _), (code, _) = code_of_sightings(monkeypatch, {}, {"masks": "truth", "faces": "truth"})
    assert set(code) - set(own_code) == {inspect.getmodule(TrueWatch)}


def code_of_sightings(monkeypatch, *perceptions: dict[str, str]) -> list[tuple[tuple, tuple]]:
    """Modules and libraries that the key of each perception's sightings names."""
    asked: list[tuple[tuple, tuple]] = []
    monkeypatch.setattr(sightings_module, "version_of", lambda *code: asked.append(code) or "x")
    for perception in perceptions:
        sightings_module.sightings_key("v", None, PerceptionSpec.model_validate(perception), {})
    return asked


SHAPE_ALL = (watched_reference, canvas_frame, tracked, resize, person_box, face_seen, View)
SHAPE = {
    "gate": (judged,),
    "pose": (pose_cue_of, low_pass_in_frame, align),
    "face": (face_cue, pose_cue_of),
    "location": (location_cue, align),
}


@pytest.mark.parametrize("step", SHAPE)
def test_the_code_of_a_step_is_all_that_shapes_its_frames(step):
    """`person_box` chooses the square that is shown, in which `face_seen` has a say; the face cue is gray at the pose
    cue's level where there is no face."""
    assert {inspect.getmodule(shaping) for shaping in (*SHAPE_ALL, *SHAPE[step])} <= set(CODE[step])


@pytest.mark.parametrize(
    "shaping", [open_video, tracked, Patch, Follower, MediapipePerception, decode, SIGHTINGS.decode]
)
def test_the_code_of_sightings_is_all_that_shapes_them(shaping):
    assert inspect.getmodule(shaping) in sightings_module.CODE


def test_a_key_names_the_code_of_its_step(monkeypatch):
    from directanimator.extraction import extract as module

    before = keys_of("v", SPEC, {}, None)
    monkeypatch.setattr(module, "version_of", lambda modules: "new" if modules == CODE["location"] else "old")
    old = keys_of("v", SPEC, {}, None)
    monkeypatch.setattr(module, "version_of", lambda modules: "old")
    older = keys_of("v", SPEC, {}, None)
    assert old["location"] != older["location"]
    assert {step for step in STEPS if old[step] == older[step]} == set(STEPS) - {"location"}
    assert before["location"] not in (old["location"], older["location"])


def test_the_sightings_of_a_clip_are_those_that_its_cues_are_made_from(clip, store):
    person = BrightPerson()
    alone = sightings_of(clip, None, PerceptionSpec(), store, watch_of(person))
    done = extract(clip, SPEC, store, watch_of(person))
    assert "sightings" not in done.made
    assert person.looked_at == alone.num_frames == 40
    assert sightings_of(clip, None, PerceptionSpec(), store, watch_of(person)) == alone


def test_a_video_that_breaks_off_leaves_no_cue_behind(clip, store, tmp_path):
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError):
        extract(tmp_path / "cut.mp4", SPEC, store, watch_of(BrightPerson()))
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_where_nobody_is_seen_that_is_said_and_remembered(tmp_path, store):
    write_video(tmp_path / "a.mp4", np.full((6, 32, 32, 3), 30, np.uint8), 8.0)
    for expected in (6, 0):
        person = BrightPerson()
        with pytest.raises(UserError, match="no person found"):
            extract(tmp_path / "a.mp4", SPEC, store, watch_of(person))
        assert person.looked_at == expected
    assert store.count() == 1


def test_the_gate_says_why_and_its_frames_have_no_pose_and_no_body(tmp_path, store):
    frames = walker(20)
    frames[4] = 30
    frames[9, :, :] = 220
    write_video(tmp_path / "a.mp4", frames, 8.0)
    done = extract(tmp_path / "a.mp4", SPEC, store, watch_of(BrightPerson()))
    assert done.reasons == {"empty": 1, "too_large": 1}
    assert done.num_accepted == 18
    cues = cues_in(store, done.keys)
    rejected = np.isin(np.arange(20), [4, 9])
    np.testing.assert_array_equal(cues.pose_present, ~rejected)
    assert (cues.pose_cue[rejected] == 128).all()
    assert not cues.body_location[rejected].any()


def test_a_person_crop_holds_the_person_throughout(tmp_path, store):
    path = tmp_path / "a.mp4"
    frames = np.full((12, 64, 200, 3), 40, np.uint8)
    for k, frame in enumerate(frames):
        frame[20:50, 150 + 2 * k : 160 + 2 * k] = 220
    write_video(path, frames, 8.0)
    cues = cues_in(store, extract(path, ExtractionSpec(size=SIZE, crop="person"), store, watch_of(BrightPerson())).keys)
    assert cues.pose_present.all()
    body = cues.body_location.max(axis=0) > 128
    assert body.any(axis=0).sum() > SIZE / 2
    central = extract(path, SPEC, Store(tmp_path / "other"), watch_of(BrightPerson()))
    assert central.reasons == {"empty": 12}


def test_a_driver_is_laid_over_the_reference(tmp_path, store):
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[2:50, 4:20] = 220
    Image.fromarray(picture).save(tmp_path / "r.png")
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", walker(10), 8.0)
    words = [f"folder={tmp_path / 'v'}", f"output={tmp_path / 'o'}", f"reference={tmp_path / 'r.png'}", f"size={SIZE}"]
    assert main([*words, f"cache={store.root}"], lambda _: watch_of(BrightPerson())) == 0
    keys = json.loads((tmp_path / "o/manifest.json").read_text())["videos"]["a"]["keys"]
    body = cues_in(store, keys).body_location > 128
    wanted = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE))).mean(axis=-1) > 128
    overlap = [(frame & wanted).sum() / (frame | wanted).sum() for frame in body]
    assert max(overlap) > 0.6
    assert min(overlap) > 0.3


class SoftPerson(BrightPerson):
    """Sees no more than the soft edge of a person, where pictures are of one of these heights."""

    def __init__(self, *heights: int) -> None:
        super().__init__()
        self._heights = heights

    def watch(self, frames):
        for seen in super().watch(frames):
            mask = seen.sighting.mask
            if mask is None or seen.frame.shape[0] not in self._heights:
                yield seen
                continue
            yield Seen(seen.frame, replace(seen.sighting, mask=replace(mask, levels=np.minimum(mask.levels, 20))))


@pytest.mark.parametrize("crop", ["center", "person"])
def test_a_reference_that_shows_a_soft_edge_alone_is_refused_by_name(tmp_path, crop):
    Image.fromarray(walker(1)[0]).save(tmp_path / "r.png")
    spec = ExtractionSpec(size=SIZE, crop=crop)
    assert watched_reference(tmp_path / "r.png", spec, BrightPerson()).track.mask.any()
    with pytest.raises(UserError, match=r"no person found in .*r\.png"):
        watched_reference(tmp_path / "r.png", spec, SoftPerson(64))


def test_a_reference_whose_square_misses_the_person_is_refused_by_name(tmp_path):
    picture = np.full((32, 96, 3), 40, np.uint8)
    picture[4:28, 4:16] = 220
    Image.fromarray(picture).save(tmp_path / "r.png")
    with pytest.raises(UserError, match=r"no person found in .*r\.png"):
        watched_reference(tmp_path / "r.png", SPEC, BrightPerson())


def test_a_driver_that_shows_a_soft_edge_alone_is_laid_over_nobody(tmp_path, store):
    write_video(tmp_path / "a.mp4", walker(6), 8.0)
    Image.fromarray(walker(1, 48)[0]).save(tmp_path / "r.png")
    person = SoftPerson(64)
    reference = watched_reference(tmp_path / "r.png", SPEC, person)
    with pytest.raises(UserError, match=r"no person found in .*a\.mp4"):
        extract(tmp_path / "a.mp4", SPEC, store, watch_of(person), reference)


class FullFolder:
    """A temporary file in a folder that holds a few bytes more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = min(self.room, len(data))
        self.room -= written
        return written

    def close(self) -> None:
        pass


@pytest.mark.parametrize("room", [0, 1, 5 * SIZE**2, 5 * SIZE**2 + 7])
def test_a_full_temporary_folder_is_named_and_not_taken_for_the_cache(clip, store, monkeypatch, room):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FullFolder(room))
    with pytest.raises(UserError, match=f"^{re.escape(tempfile.gettempdir())}: .*No space left.*TMPDIR") as caught:
        extract(clip, SPEC, store, watch_of(BrightPerson()))
    assert "\n" not in str(caught.value)
    assert str(store.root) not in str(caught.value)
    assert not [path for path in store.root.rglob("*") if path.is_file() and path.parts[-3] != "sightings"]


def test_a_temporary_folder_that_takes_no_file_is_one_line(clip, store, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(store.root / "none"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(store.root / "none")])
    with pytest.raises(UserError, match=r"none.*TMPDIR") as caught:
        extract(clip, SPEC, store, watch_of(BrightPerson()))
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_sightings_come_back_as_they_were(made):
    sightings = []
    for one in made:
        if one is None:
            sightings.append(Sighting(None))
            continue
        rng = np.random.default_rng(one[2])
        patch = Patch(rng.integers(0, 256, one[:2], np.uint8), rng.standard_normal((2, 3)))
        sightings.append(Sighting(patch, rng.standard_normal(4).astype(np.float32), 0.5))
    back = SIGHTINGS.decode(SIGHTINGS.encode(sightings))
    for before, after in zip(sightings, back, strict=True):
        assert (before.mask is None) == (after.mask is None)
        if before.mask and after.mask:
            np.testing.assert_array_equal(before.mask.levels, after.mask.levels)
            np.testing.assert_array_equal(before.mask.to_frame, after.mask.to_frame)
        np.testing.assert_array_equal(before.face_box, after.face_box)
        np.testing.assert_array_equal(before.landmarks, after.landmarks)


# ---------------------------------------------------------------- the command


def command(tmp_path: Path, *words: str) -> int:
    return main(
        [f"folder={tmp_path / 'v'}", f"output={tmp_path / 'o'}", f"cache={tmp_path / 'c'}", f"size={SIZE}", *words],
        lambda _: watch_of(BrightPerson()),
    )


class Interrupted(BrightPerson):
    """Is told to stop at the third frame of a video, once."""

    def watch(self, frames):
        for number, seen in enumerate(super().watch(frames), start=1):
            if (self.looked_at, number) == (3, 3):
                os.kill(os.getpid(), signal.SIGTERM)
            yield seen


def test_a_command_told_to_stop_leaves_nothing_half_written_and_asks_to_be_started_again(tmp_path):
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", walker(6), 8.0)
    words = [f"folder={tmp_path / 'v'}", f"output={tmp_path / 'o'}", f"cache={tmp_path / 'c'}", f"size={SIZE}"]
    assert main(words, lambda _: watch_of(Interrupted())) == 75
    assert Store(tmp_path / "c").count() == 0
    assert not [path for path in tmp_path.rglob(".*")]
    assert command(tmp_path) == 0


def test_a_folder_gives_a_manifest_previews_and_a_sheet_and_names_what_failed(tmp_path, capsys):
    (tmp_path / "v").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / f"v/{name}.mp4", walker(6), 8.0)
    (tmp_path / "v/broken.mp4").write_text("no video")
    assert command(tmp_path, "preview=true", "sheet=true") == 1
    said = json.loads((tmp_path / "o/manifest.json").read_text())
    assert set(said["videos"]) == {"a", "b"}
    assert set(said["failed"]) == {"broken"}
    assert said["videos"]["a"]["num_frames"] == 6
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "a_cues.mp4",
        "b_cues.mp4",
        "manifest.json",
        "sheet.png",
    ]
    strip = read_video(tmp_path / "o/a_cues.mp4").frames
    assert strip.shape == (6, SIZE, 5 * SIZE, 3)
    captured = capsys.readouterr()
    assert "broken.mp4" in captured.out
    assert "6 of 6 frames usable" in captured.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["foldr=v", "output=o"], r"did you mean 'folder'"),
        (["folder=v", "output=o", "cues.pose.cutof=3"], r"did you mean 'cues\.pose\.cutoff'"),
        (["folder=v", "output=o", "size=7"], r"size=7.*32"),
        (["folder=v", "output=o", "crop=whole"], r"crop=whole.*center.*person"),
        (["folder=v", "output=o", "cues.pose.cutoff=many"], r"cues\.pose\.cutoff=many"),
        (["folder=v", "output=o", "cues.pose.picture=rgb"], r"cues\.pose\.picture=rgb: must be gray"),
        (["folder=v", "output=o", "cues.pose.picture=skeleton_exact"], r"picture=skeleton_exact: must be gray"),
        (["folder=v", "output=o", "perception.masks=sam3"], r"perception\.masks=sam3.*sam2"),
        (["folder=v", "output=o", "preview=maybe"], r"preview=maybe.*true or false"),
        (["folder=v", "folder=w", "output=o"], r"twice"),
        (["folder=v"], r"output=DIR"),
        (["driving=none.mp4", "output=o"], r"none\.mp4.*no such file"),
        (["folder=none", "output=o"], r"not a directory"),
        (["--verbose"], r"unknown option"),
        (["folder=v", "output=o", "perception.person=0.5,0.1,0.2,0.9"], r"x0 < x1"),
    ],
)
def test_a_mistyped_command_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words, lambda _: watch_of(BrightPerson())) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert __import__("re").search(says, captured.err)
    assert not list(tmp_path.iterdir())


def test_words_reach_the_spec():
    spec = parse(["folder=v", "output=o", "fps=8", "cues.pose.cutoff=20", "perception.person=0.1,0.2,0.5,1"]).spec
    assert (spec.fps, spec.cues.pose.cutoff, spec.perception.person) == (8.0, 20.0, (0.1, 0.2, 0.5, 1.0))


def malformed(kind: str, rng: np.random.Generator, folder: Path) -> Path:
    """A file that is no good video, or hardly one."""
    path = folder / "a.mp4"
    sizes = {"tiny": (2, 2), "strip": (16, 8000), "still": (32, 48)}
    if kind in sizes:
        frames = rng.integers(0, 256, (1 if kind == "still" else 3, *sizes[kind], 3), np.uint8)
        write_video(path, frames, 8.0)
        return path
    write_video(path, walker(int(rng.integers(1, 12))), 8.0)
    data = bytearray(path.read_bytes())
    match kind:
        case "truncated":
            data = data[: int(rng.integers(0, len(data)))]
        case "empty":
            data = bytearray()
        case "magic":
            data[:16] = rng.bytes(16)
        case "text":
            data = bytearray(b"hello " * int(rng.integers(1, 999)))
        case "zeros":
            data = bytearray(len(data))
        case "flipped":
            for at in rng.integers(0, len(data), int(rng.integers(1, 200))):
                data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    return path


KINDS = ("truncated", "empty", "magic", "text", "zeros", "flipped", "tiny", "strip", "still")


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_input_ends_in_one_line_or_in_whole_output(tmp_path, capsys, kind):
    for seed in range(4):
        folder = tmp_path / f"{kind}{seed}"
        (folder / "v").mkdir(parents=True)
        malformed(kind, np.random.default_rng(seed), folder / "v")
        status = command(folder)
        captured = capsys.readouterr()
        if status == 0:
            assert (folder / "o/manifest.json").is_file()
            assert captured.err == ""
        else:
            assert status == 2
            assert captured.err.startswith("error: ")
            assert captured.err.count("\n") == 1
            assert not (folder / "o").exists()
        left = [path for path in (folder / "c").rglob("*") if ".tmp-" in path.name]
        assert left == []


def test_cues_that_are_all_cached_wake_neither_nets_nor_torch(tmp_path):
    """Or a second look at a folder would cost two seconds more than it must."""
    video = tmp_path / "walk.mp4"
    write_video(video, walker(5), 8.0)
    words = [f"driving={video}", f"output={tmp_path / 'cues'}", f"cache={tmp_path / 'cache'}", "size=48"]
    assert main(words, lambda request: Watch(lambda _: BrightPerson(), default_watch(request).identity)) == 0
    code = "import sys; from directanimator.extraction.command import main; status = main(sys.argv[1:]); "
    code += "print(status, [name for name in ('torch', 'ai_edge_litert', 'transformers') if name in sys.modules])"
    again = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert again.stdout.splitlines()[-1] == "0 []"


def test_a_preview_never_replaces_a_video_that_is_read(tmp_path, capsys):
    for name in ("a", "a_cues"):
        write_video(tmp_path / f"{name}.mp4", walker(5), 8.0)
    before = (tmp_path / "a_cues.mp4").read_bytes()
    words = [f"folder={tmp_path}", f"output={tmp_path}", f"cache={tmp_path / 'cache'}", "size=48", "preview=true"]
    assert main(words, lambda _: watch_of(BrightPerson())) == 2
    assert "would replace a video" in capsys.readouterr().err
    assert (tmp_path / "a_cues.mp4").read_bytes() == before


def test_a_preview_that_cannot_be_written_fails_its_video_alone(tmp_path, capsys):
    (tmp_path / "v").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / f"v/{name}.mp4", walker(5), 8.0)
    (tmp_path / "o/a_cues.mp4").mkdir(parents=True)
    words = [f"folder={tmp_path / 'v'}", f"output={tmp_path / 'o'}", f"cache={tmp_path / 'c'}", "size=48"]
    assert main([*words, "preview=true"], lambda _: watch_of(BrightPerson())) == 1
    told = json.loads((tmp_path / "o/manifest.json").read_text())
    assert list(told["videos"]) == ["b"]
    assert "a_cues.mp4" in told["failed"]["a"]


def test_the_box_of_the_wanted_person_is_of_the_videos_not_of_the_reference(tmp_path):
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", walker(5), 8.0)
    Image.fromarray(walker(1)[0]).save(tmp_path / "r.png")
    asked: list[tuple[object, str]] = []

    def make_watch(request):
        person = request.spec.perception.person
        return Watch(lambda path: asked.append((person, path.name)) or BrightPerson(), lambda _: {"nets": "bright"})

    words = [f"folder={tmp_path / 'v'}", f"output={tmp_path / 'o'}", f"reference={tmp_path / 'r.png'}", "size=48"]
    box = "perception.person=0.1,0.1,0.9,0.9"
    assert main([*words, f"cache={tmp_path / 'c'}", box], make_watch) == 0
    assert sorted(asked, key=str) == [((0.1, 0.1, 0.9, 0.9), "a.mp4"), (None, "r.png")]


@pytest.mark.parametrize("frames", [4, 6])
def test_a_truth_of_another_length_than_the_clip_is_refused(frames):
    track = PersonTrack(
        np.full((5, 8, 8), 255, np.uint8), np.full((5, 4), np.nan, np.float32), np.ones(5, np.float32), no_landmarks(5)
    )
    assert len(list(TrueWatch(track).watch(walker(5)))) == 5
    with pytest.raises(UserError, match=f"5 frames, the clip {frames}"):
        list(TrueWatch(track).watch(walker(frames)))
