"""The command: every clip that is tried is counted once, a bad one is lost alone, and a killed call is gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.data.pseudo_pairs import PAIRS_FILE, pairs_by_video
from directanimator.errors import UserError
from directanimator.extraction.sightings import Watch
from directanimator.perception.person import Seen, Sighting
from directanimator.perception.region import Patch
from directanimator.places import CUES_VARIABLE
from directanimator.pseudo.__main__ import HELP, KEYS, Nets, main
from directanimator.pseudo.drivers import Beat, Failure
from directanimator.pseudo.making import KEPT, Attempt, counts_of, pairs_of
from directanimator.pseudo.plan import Pairing
from directanimator.pseudo.screening import Measures, ScreeningSpec
from directanimator.video import read_image, read_video, write_video
from tests.directanimator.pseudo.test_screening import all_measures, specs

FRAMES, SIDE = 6, 64
FAKE = """
import os, pathlib, shutil, sys, time
reference, driving, output, log = map(pathlib.Path, sys.argv[1:])
with log.open("a") as file:
    file.write(driving.name + " " + reference.stem + "\\n")
kind = driving.stem.split("_")[0]
if kind == "fails":
    sys.exit("cannot do that")
while kind == "waits" and not log.with_name("go").exists():
    time.sleep(0.02)
if kind == "garbage":
    output.write_text("no video")
elif kind != "silent":
    shutil.copy(driving.parent / "short" if kind == "short" else driving, output)
"""


class Person:
    """Takes the whole frame for a person, and its middle for a face where the frame is not dark."""

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[Seen]:
        for frame in frames:
            height, width = frame.shape[:2]
            if frame.mean() < 10:
                yield Seen(frame, Sighting(None))
                continue
            mask = np.full((height, width), 255, np.uint8)
            reach = frame.mean() / 1000
            box = np.array([0.5 - reach, 0.5 - reach, 0.5 + reach, 0.5 + reach], np.float32) * height
            yield Seen(frame, Sighting(Patch.of_frame(mask, height, width), box, 1.0))


@dataclass
class Taste:
    """Stands in for the nets of screening: the identity is told by the names, the rest is good."""

    looks: str = "first"
    measured: list[str] = field(default_factory=list)
    terminates_at: int | None = None
    """Before which clip the process gets a SIGTERM."""

    @property
    def looks_with(self) -> Mapping[str, str]:
        return {"taste": self.looks}

    def measure(self, clip: Path, driving: Path, reference: Path, beat: Beat) -> Measures:
        assert beat.num_frames == len(read_video(clip).frames)
        assert read_image(reference).shape == (SIDE, SIDE, 3)
        if len(self.measured) == self.terminates_at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        self.measured.append(f"{driving.name} {reference.stem}")
        if reference.stem.startswith("blinding"):
            raise UserError("cannot look")
        identity = 0.5 if reference.stem.startswith("stranger") else 0.95
        return Measures(identity=identity, leak=0.1, clothes=0.5, faces=1.0, expression=0.0, joints=1.0, motion=0.0)


@dataclass
class Place:
    """A folder of videos, a program, and nets."""

    root: Path
    taste: Taste = field(default_factory=Taste)

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def command(self) -> str:
        words = f"-I -S '{self.root / 'fake.py'}' {{reference}} {{driving}} {{output}} '{self.log}'"
        return f"{sys.executable} {words}"

    def words(self, **changes: object) -> list[str]:
        usual = {"videos": self.videos, "driver": "command", "command": self.command, "per_clip": 2}
        return [f"{key}={value}" for key, value in (usual | changes).items()]

    def run(self, *options: str, **changes: object) -> int:
        return main([*self.words(**changes), *options], self.nets)

    @property
    def nets(self) -> Nets:
        return Nets(self.taste, Watch(lambda _: Person(), lambda _: {"net": "person"}))

    def clips(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.videos)): p.read_bytes() for p in self.videos.glob("pseudo/*/*.mp4")}

    def report(self) -> dict[str, object]:
        return json.loads((self.videos / "pseudo" / "report.json").read_text())


def write_clip(path: Path, level: int, frames: int = FRAMES) -> None:
    pixels = np.full((frames, SIDE, SIDE, 3), level, np.uint8)
    pixels[frames // 2] = min(255, level + 60)  # here the face is largest
    write_video(path, pixels, 8.0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(CUES_VARIABLE, str(tmp_path / "store"))
    place = Place(tmp_path)
    place.videos.mkdir()
    (tmp_path / "fake.py").write_text(FAKE)
    return place


def stock(place: Place, *names: str) -> Place:
    for number, name in enumerate(names):
        write_clip(place.videos / f"{name}.mp4", 30 + 20 * number)
    return place


def test_pairs_are_what_training_reads_and_every_clip_shows_its_driver_s_motion(place: Place) -> None:
    stock(place, "a", "b", "c")
    assert place.run() == 0
    pairs = pairs_by_video(place.videos)
    assert {video: {pair.reference for pair in of_video} for video, of_video in pairs.items()} == {
        f"{name}.mp4": {f"{other}.mp4" for other in "abc" if other != name} for name in "abc"
    }
    for video, of_video in pairs.items():
        for pair in of_video:
            made, driving = read_video(place.videos / pair.clip), read_video(place.videos / video)
            assert np.abs(made.frames.astype(int) - driving.frames).max() < 4
            assert made.fps == driving.fps


def test_the_reference_is_the_picture_with_the_largest_face(place: Place) -> None:
    stock(place, "a", "b")
    place.run()
    picture = read_image(place.videos / "pseudo" / "references" / "b.mp4.png")
    frame = read_video(place.videos / "b.mp4", fps=2.0).frames.mean(axis=(1, 2, 3)).max()
    assert picture.mean() == pytest.approx(frame)


BAD: dict[str, Failure] = {"fails": "exit_status", "garbage": "unreadable", "silent": "no_output", "short": "count"}
"""What comes of videos that the program treats badly."""


def test_a_program_that_fails_loses_its_clip_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    stock(place, "good", "stranger", *BAD)
    write_clip(place.root / "short.mp4", 100, FRAMES - 3)
    (place.root / "short.mp4").rename(place.videos / "short")
    assert place.run(per_clip=5) == 1
    counts = {"kept": 4 + 5, "identity": 1, **{reason: 5 for reason in BAD.values()}}
    assert place.report()["counts"] == counts
    shown = capsys.readouterr().out
    assert "it said: cannot do that" in shown
    assert all(f"{count:6} {word}" in shown for word, count in {"tried": 30, **counts}.items())


def test_a_video_that_cannot_be_read_or_shows_nobody_is_counted(place: Place) -> None:
    stock(place, "a", "blinding")
    write_video(place.videos / "dark.mp4", np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8), 8.0)
    (place.videos / "torn.mp4").write_bytes((place.videos / "a.mp4").read_bytes()[:900])
    assert place.run(per_clip=3) == 1
    assert place.report()["counts"] == {"kept": 2, "no_reference": 6, "no_driving": 2, "not_measured": 2}


def test_the_same_command_again_does_nothing_and_other_thresholds_only_count_anew(place: Place) -> None:
    stock(place, "a", "stranger", "fails")
    assert place.run() == 1
    before, calls, measured = (place.videos / PAIRS_FILE).read_bytes(), place.calls, list(place.taste.measured)
    assert place.run() == 1
    assert (place.videos / PAIRS_FILE).read_bytes() == before
    assert place.run(min_identity=0.4) == 1
    assert (place.calls, place.taste.measured) == (calls, measured)
    assert sum(map(len, pairs_by_video(place.videos).values())) == 4
    assert place.run("--retry") == 1
    assert [call.split()[0] for call in place.calls[len(calls) :]] == ["fails.mp4"] * 2


def test_other_nets_measure_the_clips_that_are_there_and_another_program_makes_others(place: Place) -> None:
    stock(place, "a", "b")
    place.run()
    calls = place.calls
    place.taste = Taste("second")
    place.run()
    assert (place.calls, len(place.taste.measured)) == (calls, 2)
    (place.root / "other.py").write_text(FAKE)
    place.run(command=place.command.replace("fake.py", "other.py"))
    assert len(place.calls) == 2 * len(calls)


def test_a_clip_that_was_changed_or_a_record_that_is_damaged_is_made_again(place: Place) -> None:
    stock(place, "a", "b")
    place.run()
    whole = place.clips()
    first, second = sorted(whole)
    (place.videos / first).write_bytes(b"changed")
    (place.videos / second).with_suffix(".json").write_text('{"pairing": 3}')
    calls = len(place.calls)
    place.run()
    assert place.clips() == whole
    assert len(place.calls) == calls + 2


def test_a_video_that_was_replaced_is_made_again_with_all_that_it_is_in(place: Place) -> None:
    stock(place, "a", "b", "c")
    place.run(per_clip=1)
    calls = len(place.calls)
    write_clip(place.videos / "a.mp4", 200)
    place.run(per_clip=1)
    again = place.calls[calls:]
    assert again
    assert all("a.mp4" in call for call in again)


@pytest.mark.parametrize("moment", [0, 3])
def test_a_call_that_was_interrupted_and_given_again_ends_as_one_that_was_not(place: Place, moment: int) -> None:
    stock(place, "a", "b", "stranger")
    place.taste.terminates_at = moment
    assert place.run() == 75
    assert not (place.videos / PAIRS_FILE).exists()
    place.taste.terminates_at = None
    assert_ends_as_unbroken(place, begun=moment)


def assert_ends_as_unbroken(place: Place, begun: int) -> None:
    """The same call ends as in a fresh folder, and makes no clip twice that was whole before."""
    calls, measured = len(place.calls), len(place.taste.measured)
    assert place.run() == 0
    assert len(place.calls) - calls == 6 - begun
    left = (place.videos / PAIRS_FILE).read_bytes(), place.clips(), place.report()
    assert not list(place.videos.rglob(".*"))
    shutil.rmtree(place.videos / "pseudo")
    (place.videos / PAIRS_FILE).unlink()
    assert place.run() == 0
    assert ((place.videos / PAIRS_FILE).read_bytes(), place.clips(), place.report()) == left
    assert len(place.taste.measured) == measured + 6 - begun + 6


CALL = "import sys; from tests.directanimator.pseudo.test_command import *; Place(Path(sys.argv[1])).run()"


@pytest.mark.slow
def test_a_killed_call_that_is_given_again_ends_as_one_that_was_not(place: Place) -> None:
    """Killed while the program is at work, which then has to be ended by hand."""
    stock(place, "a", "b", "waits")
    process = subprocess.Popen([sys.executable, "-c", CALL, str(place.root)])
    while not any(call.startswith("waits.mp4") for call in place.calls):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (place.root / "go").touch()
    assert len(place.clips()) == 4
    assert_ends_as_unbroken(place, begun=4)


outcomes = st.tuples(st.none(), all_measures) | st.tuples(st.sampled_from(list(BAD.values())), st.none())


def attempts_of(found: list[tuple[Failure | None, Measures | None]]) -> list[Attempt]:
    return [
        Attempt(
            pairing=Pairing(video=f"{number}.mp4", reference="r.mp4"),
            made_by="",
            failure=failure,
            sha256="0" * 64,
            measures=measures,
        )
        for number, (failure, measures) in enumerate(found)
    ]


@given(st.lists(outcomes, max_size=12).map(attempts_of), specs)
def test_counts_add_up_to_what_was_tried_and_pairs_are_what_was_kept(attempts, spec):
    counts = counts_of(attempts, spec)
    assert sum(counts.values()) == len(attempts)
    assert all(counts.values())
    assert len(pairs_of(attempts, spec).pairs) == sum(counts.get(word, 0) for word in KEPT)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"videos": "/no/such"}, "is not a directory"),
        ({"driver": "comand"}, "did you mean 'command'"),
        ({"command": "true"}, "{reference} is missing"),
        ({"face_command": "true"}, "face_command: {reference} is missing"),
        ({"per_clip": 0}, "per_clip=0: want a whole number 1..8"),
        ({"seed": -1}, "seed=-1"),
        ({"min_identity": 2}, "min_identity=2: want -1..1"),
        ({"time_limit_s": "nan"}, "time_limit_s=nan"),
        ({"face_network": "facenet"}, "want dlib_face or arcface"),
        ({"checkpoint": "x"}, "needs driver=own"),
        ({"driver": "own"}, "needs driver=command"),
        ({"video": "x"}, "did you mean 'videos'"),
    ],
)
def test_bad_words_are_told_in_one_line(
    place: Place, capsys: pytest.CaptureFixture[str], changes: dict[str, object], part: str
) -> None:
    stock(place, "a", "b")
    assert place.run(**changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
    assert not (place.videos / "pseudo").exists()


def test_a_folder_of_one_person_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    stock(place, "a")
    (place.videos / "copy.mp4").write_bytes((place.videos / "a.mp4").read_bytes())
    assert place.run() == 2
    assert "two different videos" in capsys.readouterr().err


def test_help_names_every_key_and_every_usual_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.strip() == HELP.strip()
    assert all(f"{key}=" in HELP for key in KEYS)
    assert all(f"{name}={value:g}" in HELP for name, value in ScreeningSpec())
