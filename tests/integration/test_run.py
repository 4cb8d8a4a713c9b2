"""The main job from the command line: what it leaves, what it prints, what it refuses."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from safetensors.torch import load_file

from directanimator.data.spec import DataSpec
from experiments.record import locked
from tests.integration.conftest import TIMEOUT, Workplace

pytestmark = pytest.mark.slow
FOLDER = ("cross_id.same_id_share=1", "evaluation.subsets=self")


def logged_losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["values"]["train/loss"] for line in lines}


def mirrored_losses(place: Workplace, run: Path) -> dict[int, float]:
    """The losses in the workplace's database of the copy of a run that was made there."""
    mirrors = json.loads((run / "record.json").read_text())["mirrors"]
    (run_id,) = [mirror["run_id"] for address, mirror in mirrors.items() if address.startswith("sqlite")]
    query = "select step, value from metrics where run_uuid = ? and key = 'train/loss'"
    with sqlite3.connect(place.root / "mlflow.db") as database:
        return dict(database.execute(query, (run_id,)).fetchall())


def test_a_run_leaves_weights_scores_sheets_and_videos(finished: Workplace):
    run = finished.stage("cross_id")
    weights = load_file(run / "model/transformer/diffusion_pytorch_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    report = json.loads((run / "evaluation.json").read_text())
    assert set(report["clips"]) == {"self", "cross"}
    assert set(report["trivial"]) == {
        "repeat_reference",
        "paint_driving_outline",
        "paste_driving_frame",
        "paste_driving_person",
    }
    assert {path.name for path in run.rglob("*_sheet.png")} == {"self_sheet.png", "cross_sheet.png"}


def test_every_run_is_measured_and_shows_its_worst_clips(finished: Workplace):
    run = finished.stage("cross_id")
    report = json.loads((run / "evaluation.json").read_text())
    (gallery,) = run.rglob("worst_clips.html")
    assert gallery.read_text().count("<video") >= 2
    (run_id,) = [mirror["run_id"] for mirror in json.loads((run / "record.json").read_text())["mirrors"].values()]
    (copy,) = (finished.root / "artifacts").rglob(f"{run_id}/artifacts/media/*/worst_clips.html")
    assert copy.read_bytes() == gallery.read_bytes()
    query = "select key, value from metrics where run_uuid = ?"
    with sqlite3.connect(finished.root / "mlflow.db") as database:
        logged = dict(database.execute(query, (run_id,)).fetchall())
    for subset in ("self", "cross"):
        for name in ("l1", "flicker", "color_drift"):
            (entry,) = [one for one in report["measured"][subset]["metrics"] if one["metric"] == name]
            assert logged[f"{subset}/{name}"] == entry["value"] == report["summary"][subset][name]
            assert (entry["protocol"]["clips"], len(entry["clips"])) == (2, 2)
            assert entry["protocol"]["frames"] == str(DataSpec(latent_frames=2).num_frames)


def test_videos_have_the_clips_length_and_rate(finished: Workplace):
    video = next(finished.stage("cross_id").rglob("cross_00.mp4"))
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert sum(1 for _ in container.decode(stream)) == DataSpec(latent_frames=2).num_frames
        assert float(stream.average_rate or 0) == DataSpec().fps


def test_the_student_names_its_teacher(finished: Workplace):
    student = json.loads((finished.stage("cross_id") / "record.json").read_text())["tags"]
    teacher = json.loads((finished.stage("same_id") / "record.json").read_text())
    assert student["teacher_run"] == teacher["name"]
    assert student["teacher_fingerprint"] == teacher["tags"]["fingerprint"]
    assert student["ablation"] == "full"


def test_the_log_holds_every_step_once(finished: Workplace):
    for stage in ("same_id", "cross_id"):
        lines = (finished.stage(stage) / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_mlflow_holds_the_values_of_the_log(finished: Workplace):
    run = finished.stage("cross_id")
    assert mirrored_losses(finished, run) == logged_losses(run)


def test_the_same_command_again_changes_nothing(finished: Workplace):
    weights = finished.stage("cross_id") / "model/transformer/diffusion_pytorch_model.safetensors"
    before = weights.stat().st_mtime_ns
    again = finished.run("preset=smoke")
    assert again.returncode == 0, again.stderr
    assert weights.stat().st_mtime_ns == before
    assert "repeat the reference" in again.stdout


def test_a_variant_of_the_second_stage_shares_the_teacher(finished: Workplace, fresh: Callable[[], Workplace]):
    place = fresh()
    first, second = place.run("preset=smoke"), place.run("preset=smoke", "ablation=no_same2x")
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert len(list((place.root / "runs").glob("same_id-*"))) == 1
    assert len(place.students()) == 2
    tags = [json.loads((run / "record.json").read_text())["tags"] for run in place.students()]
    assert not any("weights_of" in found for found in tags)


def test_a_dead_tracking_server_loses_nothing_after_sync(fresh: Callable[[], Workplace]):
    place = fresh()
    done = place.run("preset=smoke", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning:") <= 2  # one a stage
    run = place.stage("cross_id")
    synced = place.run(f"sync={run.name}")
    assert synced.returncode == 0, synced.stderr
    assert mirrored_losses(place, run) == logged_losses(run)


def test_another_sampler_is_evaluated_on_the_weights_that_are_there(fresh: Callable[[], Workplace]):
    place = fresh()
    first, second = place.run("preset=smoke"), place.run("preset=smoke", "sampling.num_steps=3")
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    runs = {json.loads((run / "spec.json").read_text())["sampling.num_steps"]: run for run in place.students()}
    two, three = runs[2], runs[3]
    weights = "model/transformer/diffusion_pytorch_model.safetensors"
    assert (three / weights).read_bytes() == (two / weights).read_bytes()
    assert (three / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()
    assert json.loads((three / "record.json").read_text())["tags"]["weights_of"] == two.name
    assert json.loads((three / "model/spec.json").read_text())["sampling"]["num_steps"] == 3
    scores = [json.loads((run / "evaluation.json").read_text())["clips"] for run in (two, three)]
    assert scores[0] != scores[1]


def test_two_trainings_at_once_share_one_database(fresh: Callable[[], Workplace]):
    place = fresh()
    both = [place.start("preset=smoke", f"seed={seed}") for seed in (1, 2)]
    assert [process.wait(TIMEOUT) for process in both] == [0, 0]
    runs = list((place.root / "runs").glob("*_id-*"))
    assert len(runs) == 4
    for run in runs:
        assert json.loads((run / "record.json").read_text())["status"] == "finished"
        assert mirrored_losses(place, run) == logged_losses(run)


def test_the_same_training_twice_at_once_is_refused_in_one_line(finished: Workplace):
    run = finished.stage("cross_id")
    with locked(run / ".run.lock"):
        second = finished.run("preset=smoke")
    assert second.returncode == 2
    (line,) = second.stderr.strip().splitlines()
    assert "in use by another process" in line
    assert run.name in line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["preset=cpuu"], ["preset", "cpu"]),
        (["ablation=no_fase_cue"], ["no_face_cue"]),
        (["same2x.wieght=1"], ["same2x.weight"]),
        (["seed=one"], ["seed", "one"]),
        (["optim.learning_rate=-5"], ["optim.learning_rate", "-5"]),
        (["ablation=no_face_cue", "cues.face.enabled=true"], ["cues.face.enabled", "no_face_cue"]),
        (["data.source=folder"], ["folder=DIR"]),
        (["sync=nothing"], ["nothing"]),
        (["preset=smoke", "data.source=folder", "data.folder=absent", *FOLDER], ["absent"]),
        (["preset=smoke", "model.base=absent"], ["absent"]),
        (["preset=smoke", "model.base=embedded", "model.num_layers=3"], ["another architecture"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(fresh: Callable[[], Workplace], words: list[str], parts: list[str]):
    done = fresh().run(*words)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in parts)
