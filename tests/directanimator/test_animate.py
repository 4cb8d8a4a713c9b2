"""The animate command: its plans cover every frame, its files are whole or absent, and what is wrong is said once."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import Float32, UInt8
from PIL import Image

from directanimator import animate
from directanimator.animate import KEYS, USAGE, enlarged, main, parse
from directanimator.animator import CheckpointSpec, DirectAnimatorPipeline, default_checkpoint
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.cues.spec import CueSpec, FaceCueSpec, LocationCueSpec, PoseCueSpec, PosePicture
from directanimator.data.spec import DataSpec
from directanimator.errors import UserError
from directanimator.extraction.spec import PerceptionSpec
from directanimator.model.codec import PatchCodec
from directanimator.model.embedded import build_transformer
from directanimator.model.spec import ModelSpec
from directanimator.objective.spec import SamplingSpec
from directanimator.training.spec import OptimSpec
from directanimator.video import read_video, write_frames, write_video
from tests.killed_writer import killed_writer

SIZE, LATENT_FRAMES, CHANNELS = 32, 2, 16
MODEL = ModelSpec(
    base="random", num_layers=2, num_heads=1, head_dim=16, latent_channels=CHANNELS, time_embed_dim=16, text_embed_dim=8
)
SPEC = CheckpointSpec(
    data=DataSpec(size=SIZE, latent_frames=LATENT_FRAMES, fps=8.0),
    cues=CueSpec(),
    model=MODEL,
    optim=OptimSpec(precision="fp32"),
    sampling=SamplingSpec(num_steps=2),
)


@dataclass(frozen=True)
class BrightPerson:
    """Takes what is bright for the person, and the upper third of it for the face."""

    sees_person: bool = True
    sees_face: bool = True
    num_people: int = 1

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> PersonTrack:
        mask = np.where(frames.mean(axis=-1) > 128, 255, 0).astype(np.uint8) * np.uint8(self.sees_person)
        faces = np.stack([self._face(frame) for frame in mask])
        return PersonTrack(mask, faces, mask.any(axis=(1, 2)).astype(np.float32), no_landmarks(len(mask)))

    def faces(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        return np.repeat(self.track(image[None]).face_box, self.num_people, axis=0)

    def _face(self, mask: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, " 4"]:
        y, x = np.nonzero(mask)
        if not (self.sees_face and len(y)):
            return np.full(4, np.nan, np.float32)
        return np.array([x.min(), y.min(), x.max() + 1, y.min() + (y.max() + 1 - y.min()) / 3], np.float32)


def walker(num_frames: int, height: int = 48, width: int = 80) -> UInt8[np.ndarray, "f h w 3"]:
    """A bright block that walks to the right through a dim room."""
    frames = np.full((num_frames, height, width, 3), 40, np.uint8)
    for k, frame in enumerate(frames):
        left = 10 + 20 * k // num_frames
        frame[8:44, left : left + 14] = 220
    return frames


@dataclass(frozen=True)
class Studio:
    """Inputs and a place for outputs."""

    folder: Path
    checkpoint: Path
    codec: PatchCodec

    @property
    def output(self) -> Path:
        return self.folder / "out" / "c.mp4"

    @property
    def written(self) -> list[str]:
        return sorted(os.listdir(self.folder / "out"))

    def words(self, **changes: object) -> list[str]:
        values: dict[str, object] = {
            "reference": self.folder / "a.png",
            "driving": self.folder / "b.mp4",
            "output": self.output,
            "checkpoint": self.checkpoint,
        }
        return [f"{key}={value}" for key, value in (values | changes).items()]

    def run(self, perception: BrightPerson = BrightPerson(), **changes: object) -> int:
        return main(self.words(**changes), lambda: perception, lambda: self.codec)


def write_checkpoint(directory: Path, model: ModelSpec, spec: CheckpointSpec = SPEC) -> Path:
    torch.manual_seed(0)
    build_transformer(model).save_pretrained(directory / "transformer")
    whole = {"seed": 0, "evaluation": {"subsets": ["self"]}, **spec.model_dump(mode="json")}
    (directory / "spec.json").write_text(json.dumps(whole))
    return directory


@pytest.fixture(scope="module")
def codec() -> PatchCodec:
    torch.manual_seed(0)
    fitted = PatchCodec(latent_channels=CHANNELS, width=8, num_blocks=2).fit(torch.randn(64, 4 * 3 * 64))
    return fitted.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"), MODEL)


@pytest.fixture
def studio(tmp_path: Path, checkpoint: Path, codec: PatchCodec) -> Studio:
    Image.fromarray(walker(1)[0]).save(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", walker(11), 15.0)
    (tmp_path / "out").mkdir()
    return Studio(tmp_path, checkpoint, codec)


Refusal = Callable[[int, str], str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Checks that a call was refused in one line that holds the words; returns the line."""

    def check(status: int, words: str) -> str:
        line = capsys.readouterr().err
        assert status == 2
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert words in line
        return line

    return check


# ---------------------------------------------------------------- enlarging


@given(st.integers(1, 6))
def test_enlarging_multiplies_the_size_and_keeps_flat_colors(scale: int) -> None:
    frames = np.full((2, 8, 8, 3), 77, np.uint8)
    assert np.array_equal(enlarged(frames, scale), np.full((2, 8 * scale, 8 * scale, 3), 77, np.uint8))


def test_panels_are_enlarged_apart_from_each_other() -> None:
    panels = [np.full((1, 8, 8, 3), level, np.uint8) for level in (0, 255)]
    wide = enlarged(np.concatenate(panels, axis=2), 4, panels=2)
    assert np.array_equal(wide, np.concatenate([panel.repeat(4, axis=1).repeat(4, axis=2) for panel in panels], axis=2))


# ---------------------------------------------------------------- the command


def test_the_output_has_length_and_fps_of_the_driving_video_and_the_enlarged_size(studio: Studio) -> None:
    assert studio.run() == 0
    video, preview = read_video(studio.output), read_video(studio.folder / "out" / "c_cues.mp4")
    assert video.frames.shape == (11, 4 * SIZE, 4 * SIZE, 3)
    assert preview.frames.shape == (11, 4 * SIZE, 5 * 4 * SIZE, 3)
    assert video.fps == preview.fps == 15.0
    assert studio.written == ["c.mp4", "c_cues.mp4"]


@pytest.mark.parametrize(("count", "fps"), [(1, 30.0), (3, 4.0), (40, 24.0)])
def test_any_length_and_rate_of_the_driving_video_comes_back(studio: Studio, count: int, fps: float) -> None:
    write_video(studio.folder / "b.mp4", walker(count), fps)
    assert studio.run(scale=1) == 0
    video = read_video(studio.output)
    assert (video.frames.shape, video.fps) == ((count, SIZE, SIZE, 3), fps)


def test_a_long_video_is_made_in_windows_whose_seams_are_reported(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(studio.folder / "b.mp4", walker(26), SPEC.data.fps)
    assert studio.run(scale=1, overlap=2) == 0
    assert len(read_video(studio.output).frames) == 26
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "windows" in line]
    assert line.startswith("8 windows: ")
    assert "at seams" in line


def test_a_window_longer_than_the_video_is_stated(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(studio.folder / "b.mp4", walker(2), SPEC.data.fps)
    assert studio.run(scale=1) == 0
    out = capsys.readouterr().out
    assert "note: the video lasts 2 frames at the model's rate, its window 5" in out
    assert "windows:" not in out


def test_the_driving_videos_sound_is_carried_over_to_the_result_alone(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Path | None] = {}

    def noted(path: Path, frames: Iterator[np.ndarray], fps: float, sound: Path | None) -> None:
        asked[path.name] = sound
        write_frames(path, frames, fps, sound)

    monkeypatch.setattr(animate, "write_frames", noted)
    assert studio.run() == 0
    assert asked == {"c.mp4": studio.folder / "b.mp4", "c_cues.mp4": None}


def test_an_overlap_as_long_as_the_window_is_refused(studio: Studio, refusal: Refusal) -> None:
    refusal(studio.run(overlap=5), "overlap=5: want 0..4 frames")
    assert studio.written == []


def test_the_seed_decides_the_output(studio: Studio) -> None:
    outputs = []
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        assert studio.run(output=studio.folder / "out" / f"{name}.mp4", seed=seed) == 0
        outputs.append((studio.folder / "out" / f"{name}.mp4").read_bytes())
    assert outputs[0] == outputs[1] != outputs[2]


def test_the_prompt_reaches_the_model(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    monkeypatch.setattr(DirectAnimatorPipeline, "text_of", lambda self, prompt: self.empty_text + len(prompt))
    for prompt in ("", "dance", "walk on"):
        words = {"prompt": prompt} if prompt else {}
        assert studio.run(**words) == 0
        outputs.append(studio.output.read_bytes())
    assert len(set(outputs)) == 3


def test_each_file_is_reported_in_one_line_and_the_domain_is_stated(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.run()
    _, video, preview, *notes = capsys.readouterr().out.splitlines()
    assert video == f"{studio.output}: 11 frames, 128x128 (32x32 enlarged 4 times), 15 fps, 0.73 s"
    assert "c_cues.mp4: 11 frames, 640x128" in preview
    assert [note for note in notes if "synthetic humans" in note]


def test_what_a_model_was_trained_without_is_stated(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    cues = CueSpec(face=FaceCueSpec(enabled=False), location=LocationCueSpec(enabled=False))
    others = PerceptionSpec(faces="insightface")
    data = DataSpec(source="folder", folder="x", size=SIZE, latent_frames=LATENT_FRAMES, perception=others)
    other = write_checkpoint(studio.folder / "other", MODEL, SPEC.model_copy(update={"cues": cues, "data": data}))
    assert studio.run(checkpoint=other) == 0
    told = capsys.readouterr().out
    assert "without the face and location cue" in told
    assert "MediaPipe" in told
    assert studio.run() == 0
    told = capsys.readouterr().out
    assert "without the" not in told
    assert "MediaPipe" not in told


def test_a_driving_video_without_a_face_is_stated_and_animated(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    assert studio.run(BrightPerson(sees_face=False)) == 0
    assert "no face" in capsys.readouterr().out
    face_panel = read_video(studio.folder / "out" / "c_cues.mp4").frames[:, :, 3 * 4 * SIZE + 8 : 4 * 4 * SIZE - 8]
    assert np.abs(face_panel.astype(int) - 128).max() <= 3


def test_the_preview_shows_the_person_of_the_driving_video(studio: Studio) -> None:
    studio.run(scale=1)
    frame, mask = np.split(read_video(studio.folder / "out" / "c_cues.mp4").frames[:, :, : 2 * SIZE], 2, axis=2)
    bright = frame.mean(axis=-1) > 128
    assert bright.any(axis=(1, 2)).all()
    assert (bright == (mask.mean(axis=-1) > 128)).mean() > 0.95


def test_no_arguments_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert USAGE in capsys.readouterr().out


def test_debug_shows_the_traceback(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*studio.words(driving="nowhere.mp4"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


# ---------------------------------------------------------------- bad input


@given(st.sampled_from(KEYS), st.integers(0, 20))
def test_a_misspelled_key_is_answered_with_the_right_one(key: str, place: int) -> None:
    assume(place < len(key) and len(key) > 3)
    with pytest.raises(UserError, match=f"did you mean '{key}'"):
        parse([f"{key[:place]}{key[place]}{key[place:]}=1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reference=a.png"], "missing driving=..., output=...; usage: python -m directanimator.animate"),
        (["reference"], "reference needs a value"),
        (["seed=1", "seed=2"], "seed is given twice"),
        (["colour=1"], "unknown key 'colour'"),
    ],
)
def test_incomplete_or_odd_words_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "word", ["seed=-1", "seed=x", "fps=0", "fps=nan", "fps=fast", "scale=0", "scale=99", "scale=1.5"]
)
def test_an_illegal_value_is_refused_with_the_legal_ones(word: str) -> None:
    with pytest.raises(UserError, match=r"want .*\.\."):
        parse(["reference=a.png", "driving=b.mp4", "output=c.mp4", word])


def test_an_unknown_option_is_refused(refusal: Refusal) -> None:
    refusal(main(["--debgu"]), "did you mean '--debug'")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": "nowhere.png"}, "nowhere.png: no such file"),
        ({"driving": "nowhere.mp4"}, "nowhere.mp4: no such file"),
        ({"output": "out/c.avi"}, "want a name that ends in .mp4"),
        ({"output": "nowhere/c.mp4"}, "there is no directory"),
        ({"output": "b.mp4"}, "is an input and would be replaced"),
        ({"checkpoint": "nowhere"}, "no spec.json there"),
        ({"prompt": "a person waves"}, "prompt=a person waves: the model is told no words"),
        ({"scale": 16, "reference": "text.png"}, "text.png"),
        ({"driving": "text.mp4"}, "text.mp4"),
    ],
)
def test_files_that_will_not_do_are_refused_and_nothing_is_written(
    studio: Studio, refusal: Refusal, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    monkeypatch.chdir(studio.folder)
    for name in ("text.png", "text.mp4"):
        (studio.folder / name).write_text("no picture")
    before = (studio.folder / "b.mp4").read_bytes()
    refusal(studio.run(**changes), said)
    assert studio.written == []
    assert (studio.folder / "b.mp4").read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a directory that not even root can write into")
def test_an_output_directory_that_is_not_writable_is_refused_before_the_work(studio: Studio, refusal: Refusal) -> None:
    refusal(studio.run(output="/proc/self/c.mp4"), "cannot write into /proc/self")


def test_a_clip_or_picture_without_a_person_is_refused(studio: Studio, refusal: Refusal) -> None:
    write_video(studio.folder / "b.mp4", np.full((5, 32, 32, 3), 40, np.uint8), 8.0)
    refusal(studio.run(), "no person found in")
    Image.new("RGB", (32, 32)).save(studio.folder / "a.png")
    assert "a.png" in refusal(studio.run(), "no person found in")


def test_a_reference_with_two_people_is_refused(studio: Studio, refusal: Refusal) -> None:
    refusal(studio.run(BrightPerson(num_people=2)), "a.png: 2 people of similar size")
    assert studio.written == []


def test_a_checkpoint_of_another_architecture_is_refused(studio: Studio, refusal: Refusal, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", MODEL.model_copy(update={"num_layers": 1}))
    refusal(studio.run(checkpoint=other), "is of another architecture")


@pytest.mark.parametrize("picture", ["skeleton_exact", "skeleton_detected", "skeleton_unlabelled"])
def test_a_checkpoint_that_is_driven_by_skeletons_is_refused(
    studio: Studio, refusal: Refusal, tmp_path: Path, picture: PosePicture
) -> None:
    cues = CueSpec(pose=PoseCueSpec(picture=picture))
    other = write_checkpoint(tmp_path / "other", MODEL, SPEC.model_copy(update={"cues": cues}))
    refusal(studio.run(checkpoint=other), f"cues.pose.picture={picture}")
    assert studio.written == []


def test_a_checkpoint_that_is_driven_in_color_animates(studio: Studio, tmp_path: Path) -> None:
    cues = CueSpec(pose=PoseCueSpec(picture="rgb", cutoff=4096.0))
    other = write_checkpoint(tmp_path / "other", MODEL, SPEC.model_copy(update={"cues": cues}))
    assert studio.run(checkpoint=other) == 0


def test_a_checkpoint_for_another_codec_is_refused(studio: Studio, refusal: Refusal, tmp_path: Path) -> None:
    model = MODEL.model_copy(update={"latent_channels": 4})
    other = write_checkpoint(tmp_path / "other", model, SPEC.model_copy(update={"model": model}))
    refusal(studio.run(checkpoint=other), "latents of 4 channels")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"data": {"size": "big"}}'])
def test_a_damaged_spec_is_refused(studio: Studio, refusal: Refusal, tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    refusal(studio.run(checkpoint=tmp_path), "spec.json")


def test_a_failure_at_the_second_file_leaves_neither(
    studio: Studio, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk_at_preview(path: Path, frames: Iterator[np.ndarray], fps: float, sound: Path | None) -> None:
        if path.stem.endswith("_cues"):
            raise UserError("no space left")
        write_frames(path, frames, fps, sound)

    monkeypatch.setattr(animate, "write_frames", full_disk_at_preview)
    refusal(studio.run(), "no space left")
    assert studio.written == []


def test_an_interruption_leaves_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(animate, "write_frames", interrupted)
    assert studio.run() == 130
    assert studio.written == []


def test_what_a_killed_one_left_is_gone_after_the_next(studio: Studio) -> None:
    killed_writer("workplace", studio.output)
    assert studio.run() == 0
    assert studio.written == ["c.mp4", "c_cues.mp4"]


# ---------------------------------------------------------------- the checkpoint by default


def finished_run(root: Path, name: str, seconds: int) -> Path:
    model = root / "runs" / name / "model"
    (model / "transformer").mkdir(parents=True)
    (model / "spec.json").write_text("{}")
    os.utime(model / "spec.json", (seconds, seconds))
    return model


def test_the_newest_finished_run_of_a_stage_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    newest = finished_run(tmp_path, "cross_id-b", 200)
    finished_run(tmp_path, "cross_id-c", 100)
    teacher = finished_run(tmp_path, "same_id-a", 300)
    (tmp_path / "runs" / "cross_id-unfinished").mkdir()
    assert default_checkpoint() == newest
    assert default_checkpoint("same_id") == teacher


def test_without_a_finished_run_it_is_said_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    with pytest.raises(UserError, match="run `make demo` first, or give checkpoint=DIR"):
        default_checkpoint()
