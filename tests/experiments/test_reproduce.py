"""A run is rebuilt from its record: what is equal, what differs and by how much, and which records are refused."""

import copy
import functools
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from directanimator.atomic import write_json
from directanimator.errors import UserError
from experiments import experiment
from experiments.edit import edit, leaves
from experiments.evaluation import evaluate
from experiments.execution import Execution
from experiments.presets import PRESETS
from experiments.record import COMPUTED_IN_TAG, MetricRecord, RunDirectory, commit_tags
from experiments.reproduce import compare, compare_curves, compare_scores, find_run, main, notes, recorded_spec
from experiments.spec import ExperimentSpec, stage_fingerprint, stage_leaves

SPEC = PRESETS["smoke"].spec
SCORES = st.lists(st.none() | st.floats(-50, 50), min_size=1, max_size=6)


def evaluation(values: list[float | None]) -> dict[str, Any]:
    return {"clips": {"cross": [{"clip": float(i), "motion": value} for i, value in enumerate(values)]}}


# ---------------------------------------------------------------- comparing


@given(SCORES)
def test_a_record_agrees_with_itself(values: list[float | None]) -> None:
    (line,) = compare_scores(evaluation(values), evaluation(values))
    assert line.agrees
    assert "equal" in line.words


@given(SCORES, st.data())
@example([1.0], None)
def test_any_changed_number_is_named_by_how_much(values: list[float | None], data: Any) -> None:
    place = 0 if data is None else data.draw(st.integers(0, len(values) - 1))
    shift = 0.25 if data is None else data.draw(st.floats(0.001, 10))
    changed = list(values)
    changed[place] = shift if values[place] is None else values[place] + shift
    (line,) = compare_scores(evaluation(values), evaluation(changed))
    assert not line.agrees
    if values[place] is not None:
        said = re.search(r"by (\S+) at most", line.words)
        assert said is not None
        assert float(said[1]) == pytest.approx(shift, rel=0.06)


METRIC = {"metric": "fvd", "value": 300.5, "small_sample_bias": None, "protocol": {"clips": 4}, "clips": {"a": 0.5}}
WHOLE = evaluation([1.0]) | {
    "seed": 0,
    "summary": {"cross": {"motion": 0.25}},
    "trivial": {"repeat_reference": {"cross": [{"clip": 0.0, "motion": 0.0}]}},
    "ceiling": {"cross": [{"clip": 0.0, "motion": 0.875}]},
    "measured": {"cross": {"clips": ["a"], "metrics": [METRIC]}},
}


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of all numbers."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, inner in parts for place in places(inner, (*at, key))]
    return [at] if isinstance(value, int | float) and at[-1] != "clip" else []


@pytest.mark.parametrize("place", places(WHOLE), ids=str)
def test_any_number_that_is_written_is_compared(place: tuple[Any, ...]) -> None:
    assert all(line.agrees for line in compare_scores(WHOLE, copy.deepcopy(WHOLE)))
    changed: Any = copy.deepcopy(WHOLE)
    *way, last = place
    functools.reduce(lambda inner, key: inner[key], way, changed)[last] += 0.5
    assert not all(line.agrees for line in compare_scores(WHOLE, changed))
    assert not all(line.agrees for line in compare_scores(changed, WHOLE))


def test_a_metric_that_only_one_has_is_a_difference() -> None:
    without = WHOLE | {"measured": {}}
    assert [line.name for line in compare_scores(WHOLE, without) if not line.agrees] == ["cross/fvd"]


def test_a_measure_that_only_one_has_is_a_difference() -> None:
    lines = compare_scores(evaluation([1.0]), {"clips": {"cross": [{"clip": 0.0, "psnr": 1.0}]}})
    assert [line.agrees for line in lines] == [False, False]


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=8), st.data())
def test_curves_agree_up_to_the_step_where_they_part(losses: list[float], data: st.DataObject) -> None:
    records = [MetricRecord(step, 0.0, {"train/loss": loss}) for step, loss in enumerate(losses, 1)]
    later = [MetricRecord(record.step, 9.0, record.values) for record in records]
    assert compare_curves("student", records, later).agrees
    part = data.draw(st.integers(0, len(losses) - 1))
    value = losses[part]
    other = math.nextafter(value, math.inf) if math.isfinite(value) else 1.0
    if math.isinf(other):
        other = 0.0
    later[part] = MetricRecord(part + 1, 0.0, {"train/loss": other})
    line = compare_curves("student", records, later)
    assert not line.agrees
    assert f"from step {part + 1}" in line.words
    assert not compare_curves("student", records, records[:-1]).agrees


def test_previews_are_no_part_of_the_training() -> None:
    one, other = ([MetricRecord(1, 0.0, {"train/loss": 1.0, "preview/cross/psnr": psnr})] for psnr in (20.0, 21.0))
    assert compare_curves("student", one, other).agrees


# ---------------------------------------------------------------- records


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def recorded(runs: Path, spec: ExperimentSpec = SPEC, motion: float = 0.5) -> RunDirectory:
    """A finished run, as a training leaves it."""
    name = stage_fingerprint(spec, "cross_id")
    made = []
    for stage, tags in (("same_id", {}), ("cross_id", {"teacher_run": "same_id-0", "preset": "smoke"})):
        run = RunDirectory.claim(
            runs,
            "same_id-0" if stage == "same_id" else f"cross_id-{name}",
            spec=stage_leaves(spec, stage),
            tags={"stage": stage, "ablation": "full", "fingerprint": stage_fingerprint(spec, stage), **tags},
            experiment="e",
        )
        for step in range(1, 4):
            run.metrics.append(step, {"train/loss": 1.0 / step})
        (run.model / "transformer").mkdir(parents=True)
        (run.model / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
        shared = {"sampling": spec.sampling.model_dump(mode="json")}
        shared["protocol"] = evaluate.protocol_of(spec).model_dump(mode="json")
        write_json(run.evaluation_file, evaluation([motion, None]) | shared)
        run.finish()
        made.append(run)
    return made[1]


@pytest.fixture
def run(root: Path) -> RunDirectory:
    return recorded(root / "runs")


def test_the_spec_comes_back_from_the_record(run: RunDirectory) -> None:
    assert recorded_spec(run) == SPEC


@pytest.mark.parametrize("spelled", ["name", "id", "start", "path", "mlflow"])
def test_a_run_is_found_by_any_of_its_names(run: RunDirectory, spelled: str) -> None:
    from experiments.record import MirrorState

    run.update(mirrors={"x": MirrorState(run_id="abc123")})
    words = {
        "name": run.path.name,
        "id": run.record().id,
        "start": run.path.name[:16],
        "path": str(run.path),
        "mlflow": "abc123",
    }
    assert find_run(words[spelled]) == run


def test_an_unknown_run_suggests_the_nearest(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=f"did you mean '{run.path.name}'"):
        find_run(run.path.name[:-1] + "zz")


def test_a_beginning_that_fits_several_runs_is_refused(run: RunDirectory, root: Path) -> None:
    shutil.copytree(run.path, root / "runs" / f"{run.path.name}0")
    with pytest.raises(UserError, match="fits 2 runs"):
        find_run(run.path.name[:-1])


def change_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[RunDirectory], object], str]] = {
    "value of the spec": (
        lambda run: change_json(run.spec_file, lambda spec: spec.update({"same2x.weight": 0.125})),
        "was edited",
    ),
    "illegal value": (
        lambda run: change_json(run.spec_file, lambda spec: spec.update({"same2x.weight": -1.0})),
        "same2x.weight=-1.0",
    ),
    "unknown path": (
        lambda run: change_json(run.spec_file, lambda spec: spec.update({"same2x.colour": 1})),
        "another version",
    ),
    "missing path": (lambda run: change_json(run.spec_file, lambda spec: spec.pop("same2x.weight")), "another version"),
    "no spec": (lambda run: run.spec_file.unlink(), "cannot be read"),
    "score": (
        lambda run: change_json(run.evaluation_file, lambda e: e["clips"]["cross"][0].update({"motion": 0.9})),
        "was edited",
    ),
    "loss": (lambda run: run.metrics.append(4, {"train/loss": 0.0}), "was edited"),
    "no evaluation": (lambda run: run.evaluation_file.unlink(), "evaluation.json"),
    "interrupted": (lambda run: run.update(status="interrupted"), "interrupted"),
    "teacher removed": (lambda run: shutil.rmtree(run.path.parent / "same_id-0"), "same_id-0"),
    "record gone": (lambda run: run.record_file.unlink(), "no run"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_record_that_was_edited_deleted_or_is_of_another_version_is_refused(
    run: RunDirectory, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be trained")

    monkeypatch.setattr(experiment, "run_experiment", never)
    change, said = DAMAGES[damage]
    change(run)
    with pytest.raises(UserError) as caught:
        main([f"run={run.path}"])
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_numbers_of_another_protocol_are_refused(run: RunDirectory) -> None:
    change_json(run.evaluation_file, lambda found: found["protocol"].update({"version": 99}))
    run.finish()
    with pytest.raises(UserError, match="another protocol"):
        main([f"run={run.path.name}"])


def test_a_run_on_another_version_of_the_people_was_not_edited_and_is_not_called_so(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.spec.SYNTH_VERSION", 1_000)
    with pytest.raises(UserError, match="another version of the synthetic humans or of the base"):
        main([f"run={run.path.name}"])


def test_a_teacher_points_to_its_students(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=f"reproduce a student of it, such as {run.path.name}"):
        main(["run=same_id-0"])


@pytest.mark.parametrize(("words", "said"), [(["rnu=x"], "run"), (["run=x", "--frsh"], "--fresh")])
def test_a_slip_is_answered_with_what_was_meant(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{said}'"):
        main(words)


# ---------------------------------------------------------------- rebuilding, without training


@pytest.mark.parametrize(("motion", "status"), [(0.5, 0), (0.5000001, 1)])
def test_the_verdict_is_the_exit_status(
    run: RunDirectory,
    root: Path,
    motion: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[ExperimentSpec] = []

    def rebuild(
        spec: ExperimentSpec, tags: dict[str, str], address: str, adopt: bool, execution: Execution
    ) -> RunDirectory:
        assert execution == Execution(sharding=True)
        asked.append(spec)
        assert tags["reproduction_of"] == run.path.name
        assert not adopt
        place = Path(os.environ["DIRECTANIMATOR_RUNS"])
        assert place != root
        assert address == f"sqlite:///{root}/mlflow.db"
        return recorded(place / "runs", spec, motion)

    monkeypatch.setattr(experiment, "run_experiment", rebuild)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    assert main([f"run={run.path.name}", "sharding=true"]) == status
    assert asked == [SPEC]
    shown = capsys.readouterr().out
    assert ("the numbers agree" in shown) == (status == 0)
    assert ("1e-07" in shown) == (status == 1)
    assert before == {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    assert os.environ["DIRECTANIMATOR_RUNS"] == str(root)


@pytest.mark.parametrize(
    ("commit", "words", "is_kept", "said"),
    [
        (None, [], True, "--fresh makes it anew"),
        ("another", [], False, "of commit another, is made anew"),
        (None, ["--fresh"], False, ""),
    ],
)
def test_an_earlier_rebuild_is_shown_only_if_it_is_of_this_code(
    run: RunDirectory,
    root: Path,
    commit: str | None,
    words: list[str],
    is_kept: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunDirectory(run.path.rename(run.path.with_name("cross_id-renamed")))
    earlier = recorded(root / "reproductions" / run.path.name / "runs")
    earlier.update(tags={**commit_tags(), **({"commit": commit} if commit else {})})
    found: list[bool] = []

    def rebuild(spec: ExperimentSpec, *_: object, **__: object) -> RunDirectory:
        found.append(earlier.path.exists())
        return earlier if found[-1] else recorded(Path(os.environ["DIRECTANIMATOR_RUNS"]) / "runs", spec)

    monkeypatch.setattr(experiment, "run_experiment", rebuild)
    if not is_kept:
        with earlier.exclusive(), pytest.raises(UserError, match="in use by another process"):
            main([f"run={run.path.name}", *words])
        assert (found, earlier.path.exists()) == ([], True)
        capsys.readouterr()
    main([f"run={run.path.name}", *words])
    assert found == [is_kept]
    assert said in capsys.readouterr().out


def test_a_run_of_other_videos_cannot_be_made_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.update(tags={"videos": "others"})
    run.finish()
    with pytest.raises(UserError, match=r"was begun with other videos .*cannot be made again"):
        main([f"run={run.path.name}"])


def test_an_unfinished_run_of_another_version_is_not_called_edited(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = edit(SPEC, {"seed": 3})
    tags = {"stage": "cross_id", "fingerprint": stage_fingerprint(spec, "cross_id")}
    recorded_as = stage_leaves(spec, "cross_id")
    made = RunDirectory.claim(root / "runs", "cross_id-1", spec=recorded_as, tags=tags, experiment="e")
    monkeypatch.setattr("experiments.spec.SYNTH_VERSION", 1_000)
    with pytest.raises(UserError, match="another version of the synthetic humans or of the base, or was edited"):
        recorded_spec(made)


@pytest.mark.parametrize("key", ["sampling", "protocol"])
def test_scores_of_a_teacher_that_was_judged_for_another_run_are_not_compared(run: RunDirectory, key: str) -> None:
    rebuilt = recorded(run.path.parents[1] / "again" / "runs", motion=0.7)
    names = [line.name for line in compare(run, rebuilt)]
    assert "teacher's scores" in names
    teacher = RunDirectory.open(rebuilt.path.parent / "same_id-0")
    change_json(teacher.evaluation_file, lambda found: found[key].update({"other": 1}))
    assert "teacher's scores" not in [line.name for line in compare(run, rebuilt)]


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ({"model-1": b"weights", "model-2": b"more"}, "equal bit for bit"),
        ({"model-1": b"weights", "model-2": b"less"}, "differ"),
        ({"model-1": b"weights"}, "differ"),
        ({"model-1": b"weights", "model-3": b"more"}, "differ"),
    ],
)
def test_weights_in_several_files_are_all_compared(
    run: RunDirectory, tmp_path: Path, shards: dict[str, bytes], said: str
) -> None:
    rebuilt = recorded(tmp_path / "again" / "runs")
    for made, parts in ((run, {"model-1": b"weights", "model-2": b"more"}), (rebuilt, shards)):
        (made.model / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
        for name, content in parts.items():
            (made.model / "transformer" / f"{name}.safetensors").write_bytes(content)
    (line,) = [line for line in compare(run, rebuilt) if line.name == "student's weights"]
    assert (line.words, line.agrees) == (said, said != "differ")


def test_what_a_run_was_computed_in_is_noted_where_it_is_another(run: RunDirectory) -> None:
    here = experiment.how_computed(SPEC)
    for before, said in ((here, False), ("bf16 on a machine far away", True)):
        run.update(tags={COMPUTED_IN_TAG: before})
        assert any("far away" in note and here in note for note in notes(run, SPEC)) == said


def test_a_run_without_a_seal_is_compared_and_the_lack_is_said(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change_json(run.record_file, lambda record: record["tags"].pop("seal"))
    monkeypatch.setattr(
        experiment,
        "run_experiment",
        lambda spec, *_, **__: recorded(Path(os.environ["DIRECTANIMATOR_RUNS"]) / "runs", spec),
    )
    assert main([f"run={run.path.name}"]) == 0
    assert "without a seal" in capsys.readouterr().out


def test_leaves_of_the_record_are_those_of_the_spec(run: RunDirectory) -> None:
    assert set(run.spec()) == set(leaves(SPEC))
