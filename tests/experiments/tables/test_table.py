"""A table of finished runs: what is said of it, in every form; and what is refused. Nothing is trained."""

import csv
import dataclasses
import errno
import io
import json
import math
import os
import random
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import experiments.table as table
import experiments.tables.page as page
import experiments.tables.sheet as sheet
from ablations.ablation import Expectation
from ablations.registry import ABLATIONS
from directanimator.cluster import Share
from directanimator.errors import UserError
from directanimator.model.spec import EMBEDDED_WEIGHTS
from directanimator.places import mlruns_root, runs_root
from experiments.execution import Execution
from experiments.pools import PAIRS_TAG
from experiments.record import (
    COMPUTED_IN_TAG,
    PEAK_MEMORY,
    MetricRecord,
    RunDirectory,
    locked,
    peak_memory,
    training_seconds,
)
from experiments.spec import STAGES, ExperimentSpec, Stage
from experiments.tables.plan import PlannedRun, is_finished
from experiments.tables.report import (
    cost_grid,
    difference_grids,
    published_grid,
    render_csv,
    render_latex,
    render_markdown,
    render_text,
    verdict_grid,
)
from experiments.tables.result import TableResult, read_table
from experiments.tables.statistics import ERROR, Effect, interval
from experiments.tracking.mirror import evaluation_numbers
from tests.experiments.tables.table_runs import (
    BOUNDS,
    CLIPS,
    MEASURED,
    WORDS,
    evaluation_of,
    finish,
    metric_protocol,
    noise,
    plan_of,
)

ANY_PLACE = settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    monkeypatch.setattr("experiments.record.environment", lambda: "python==3\n")  # it takes longest
    monkeypatch.setattr(page, "variant_sheet", lambda plan: np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(table, "_sync", lambda record: None)
    return tmp_path


def shifted(amount: float):
    """Scores where no_same2x is `amount` off on cross/psnr_foreground, with a little luck of each training."""

    def score(run: PlannedRun, column: str, clip: int) -> float:
        hit = run.variant == "no_same2x" and column == "cross/psnr_foreground"
        return clip + hit * (amount + 0.01 * run.seed) + run.seed

    return score


def finished(*words: str, score=noise) -> TableResult:
    plan = plan_of(*words)
    finish(plan.runs, score)
    return read_table(plan)


def row_of(result: TableResult, name: str) -> tuple[str, ...]:
    return next(row for row in verdict_grid(result).rows if row[0] == name)


@pytest.mark.parametrize(
    ("amount", "verdict"), [(-2.0, "confirmed"), (2.0, "refuted"), (-0.1, "refuted"), (0.0, "refuted")]
)
def test_verdicts_follow_the_scores(amount: float, verdict: str):
    result = finished("seeds=3", score=shifted(amount))
    assert result.judgements["no_same2x"].verdict == verdict
    assert result.judgements["no_same2x"].effect.difference == pytest.approx(amount + 0.01)
    assert row_of(result, "no_same2x")[-1] == verdict


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("file", ["evaluation.json", "metrics.jsonl"])
def test_a_run_that_was_edited_after_it_finished_is_not_believed(stage: Stage, file: str):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    sealed = [RunDirectory(runs_root() / run.stage(stage)) for run in plan.runs]
    for directory in sealed:
        directory.finish()
    read_table(plan)
    edited = sealed[-1].path / file
    edited.write_text(edited.read_text().replace("1", "2"))
    with pytest.raises(UserError, match=f"{sealed[-1].path.name} was edited after it finished; remove the directory"):
        read_table(plan)


@ANY_PLACE
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_runs_came_about_does_not_matter(rng: random.Random):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    first = render_csv(read_table(plan))
    for run in rng.sample(plan.runs, len(plan.runs)):
        finish([run])
    assert render_csv(read_table(plan)) == first


def test_one_seed_has_no_interval_no_verdict_and_says_so():
    result = finished("seeds=1")
    assert {judged.verdict for judged in result.judgements.values()} == {"no verdict"}
    assert "One seed: no interval and no verdict" in render_text(result)
    assert "One seed: no interval and no verdict" in render_markdown(result)
    assert "[+" not in " ".join(cell for grid in difference_grids(result) for row in grid.rows for cell in row)
    assert "nan" not in render_text(result) + render_csv(result) + render_latex(result)


def test_a_metric_that_is_not_measured_is_said_so():
    result = finished("seeds=2", score=lambda run, column, clip: None if column.startswith("cross") else 1.0)
    assert result.judgements == {}
    assert {row[-1] for row in verdict_grid(result).rows} == {"not measured"}
    assert "nan" not in render_text(result) + render_csv(result)


@pytest.mark.parametrize("metric", MEASURED)
def test_an_ablation_may_expect_something_of_a_metric_of_the_field(metric: str, monkeypatch: pytest.MonkeyPatch):
    expects = Expectation(f"cross/{metric}", "higher", at_least=1.0)
    monkeypatch.setitem(ABLATIONS, "no_same2x", dataclasses.replace(ABLATIONS["no_same2x"], expects=expects))

    def score(run: PlannedRun, column: str, clip: int) -> float:
        return 10.0 * run.seed + clip + (run.variant == "no_same2x") * (4 + 0.01 * run.seed)

    result = finished("seeds=3", score=score)
    assert result.judgements["no_same2x"].verdict == "confirmed"
    assert f"cross/{metric} higher by 1" in render_text(result)


@pytest.mark.parametrize("metric", MEASURED)
def test_metrics_of_the_field_are_paired_like_scores_and_those_of_a_set_by_seed(metric: str):
    def score(run: PlannedRun, column: str, clip: int) -> float:
        return 10.0 * run.seed + clip - (run.variant == "no_same2x") * (1 + run.seed)

    result = finished("seeds=3", score=score)
    effect = result.effects["no_same2x"][f"cross/{metric}"]
    assert effect.by_seed == pytest.approx((-1, -2, -3))
    assert metric in " ".join(render_text(result).split())
    assert result.measured[f"cross/{metric}"].metric == metric


def remeasured(run: PlannedRun, metric: str, **other: object) -> None:
    changed = evaluation_of(run)
    (entry,) = [one for one in changed["measured"]["cross"]["metrics"] if one["metric"] == metric]
    entry["protocol"] = metric_protocol(metric, **other)
    RunDirectory(runs_root() / run.stage("cross_id")).evaluation_file.write_text(json.dumps(changed))


@pytest.mark.parametrize("metric", MEASURED)
@pytest.mark.parametrize("other", [{"weights": "other"}, {"version": 2}, {"resize": "half"}])
def test_metrics_measured_in_two_ways_are_not_put_side_by_side(metric: str, other: dict[str, object]):
    plan = plan_of("seeds=1")
    finish(plan.runs)
    remeasured(plan.runs[1], metric, **other)
    with pytest.raises(UserError, match=f"cross/{metric}.*{next(iter(other))}"):
        read_table(plan)


def test_a_clip_without_a_value_spoils_a_distance_over_the_set_and_nothing_else():
    plan = plan_of("seeds=1")
    finish(plan.runs)
    remeasured(plan.runs[1], "l1", clips=3, items=3)
    read_table(plan)
    remeasured(plan.runs[1], "fid_mobilenetv2", clips=3, items=3)
    with pytest.raises(UserError, match=r"cross/fid_mobilenetv2.*clips"):
        read_table(plan)


def test_a_metric_that_found_nothing_to_measure_is_no_column():
    plan = plan_of("seeds=1")
    finish(plan.runs, lambda run, column, clip: None if column == "cross/fid_mobilenetv2" else 1.0)
    assert "cross/fid_mobilenetv2" not in read_table(plan).columns


def test_a_metric_that_the_catalog_has_no_more_is_shown_all_the_same():
    plan = plan_of("seeds=1")
    finish(plan.runs)
    for run in plan.runs:
        file = RunDirectory(runs_root() / run.stage("cross_id")).evaluation_file
        file.write_text(file.read_text().replace('"l1"', '"retired"'))
    assert "retired" in render_text(read_table(plan)) + render_csv(read_table(plan))


@pytest.mark.parametrize("render", [render_markdown, lambda result: page.render_page(result, "<svg/>", b"")])
def test_means_stand_beside_what_anyone_could_answer_without_a_model(render):
    text = render(finished("seeds=2"))
    assert text.count("repeat the reference") == 2
    assert text.count("paste the driving frame") == 1  # on same-ID clips it is the target
    assert text.count("ceiling") == 2
    assert {f"{level + (CLIPS - 1) / 2:.3f}" for level in BOUNDS.values()} <= set(re.findall(r"\d+\.\d+", text))


@ANY_PLACE
@given(st.integers(0, CLIPS - 1), st.integers(0, CLIPS - 1))
def test_every_form_says_of_how_many_clips_a_metric_is_that_some_lack(first: int, second: int):
    def score(run: PlannedRun, column: str, clip: int) -> float | None:
        lacking = second if run.variant == "no_same2x" else first
        return None if column == "cross/mask_iou" and clip < lacking else noise(run, column, clip)

    result = finished("seeds=2", score=score)
    fewest, most = sorted((CLIPS - first, CLIPS - second))
    told = f"cross/mask_iou {fewest}" if fewest == most else f"cross/mask_iou {fewest} to {most}"
    for text in (render_text(result), render_markdown(result), page.render_page(result, "<svg/>", b"")):
        flat = " ".join(text.split())
        assert "test clips: self 4, cross 4" in flat
        assert (told in flat) == (fewest < CLIPS)
        assert "self/motion 4" not in flat


def test_csv_holds_the_numbers_unrounded():
    result = finished("seeds=3")
    rows = list(csv.DictReader(io.StringIO(render_csv(result))))
    assert len(rows) == 3 * (6 + 2 * len(MEASURED))
    for row in rows:
        effect = result.effects[row["variant"]][row["column"]]
        assert float(row["difference"]) == effect.difference
        assert float(row["variant_mean"]) - float(row["baseline_mean"]) == pytest.approx(effect.difference)
        assert int(row["pairs"]) == 3 * (1 if row["column"].endswith("fid_mobilenetv2") else 4)
        judged = row["column"] == ABLATIONS[row["variant"]].expects.metric
        assert bool(row["verdict"]) == judged == (row["judged"] == "true")
        assert row["detectable"] == (repr(result.judgements[row["variant"]].detectable) if judged else "")


def test_the_papers_numbers_stand_apart():
    result = finished("seeds=2")
    grid = published_grid(result)
    assert grid is not None
    numbers = {f"{value:g}" for name in ("full", "no_same2x") for value in ABLATIONS[name].source.values.values()}
    assert numbers <= {cell for row in grid.rows for cell in row}
    cells = {cell for one in [verdict_grid(result), *difference_grids(result)] for row in one.rows for cell in row}
    assert not numbers & cells
    markdown = render_markdown(result)
    assert markdown.index("The paper's own numbers") > markdown.index("## Runs")


def test_latex_is_escaped_and_names_its_runs():
    result = finished("seeds=2")
    text = render_latex(result)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[_%#]", " ".join(body))
    assert all(line.count(" & ") == 6 for line in body if line.endswith(r"\\"))
    assert all(run.stage("cross_id") in text for run in result.plan.runs)


def test_every_form_names_the_runs_but_no_machine(place: Path):
    result = finished("seeds=2")
    for text in (render_markdown(result), render_latex(result), page.render_page(result, "<svg/>", b"")):
        assert all(run.stage("cross_id") in text for run in result.plan.runs)
        assert str(place) not in text


def test_the_page_is_whole_in_itself_and_escaped():
    result = finished("seeds=3")
    text = page.render_page(result, page.forest_plot(result), b"png")
    outside = re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*|@import|url\((?!#)""", text)
    assert outside == []
    assert "<script" not in text
    assert text.count("<svg") == text.count("</svg>") == 4
    assert all(judged.verdict in text for judged in result.judgements.values())


def test_plots_are_the_same_every_time():
    result = finished("seeds=3")
    assert page.forest_plot(result) == page.forest_plot(result)
    assert page.curve_plots(result) == page.curve_plots(result)


@ANY_PLACE
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=2), st.sampled_from([1, 2]))
def test_a_forest_plot_bears_any_effect(amounts: list[float], seeds: int):
    def score(run: PlannedRun, column: str, clip: int) -> float:
        return amounts[run.seed % 2] * (run.variant != "full")

    result = finished(f"seeds={seeds}", score=score)
    assert "nan" not in page.forest_plot(result).lower().replace("nance", "")


def test_the_thin_bars_are_corrected_for_as_many_variants_as_were_tested(monkeypatch: pytest.MonkeyPatch):
    def score(run: PlannedRun, column: str, clip: int) -> float:
        return clip + run.seed * (1 + 0.1 * (run.variant not in ("full", "student_from_base")))

    result = finished("seeds=3", score=score)
    untested = [name for name, judged in result.judgements.items() if judged.verdict == "no verdict"]
    assert untested == ["student_from_base"]
    levels: list[float] = []

    def note(effect: Effect, level: float) -> tuple[float, float]:
        levels.append(level)
        return interval(effect, level)

    monkeypatch.setattr(page, "interval", note)
    page.forest_plot(result)
    assert levels == pytest.approx([1 - 2 * ERROR / 2] * 3)


def test_curves_tell_how_much_sooner():
    result = finished("seeds=2")
    assert [(one.variant, one.against) for one in result.speed_ups] == [
        ("full", "no_same2x"),
        ("student_from_base", "student_from_base_no_same2x"),
    ]
    assert all(one.by_seed == (1.0, 1.0) for one in result.speed_ups)


def test_pauses_between_steps_are_not_training(place: Path):
    run = RunDirectory.claim(place, "paused", spec={}, tags={}, experiment="test")
    times = [0.0, 1.0, 2.0, 5000.0, 5001.0]
    lines = [json.dumps({"step": step, "time": time, "values": {}}) for step, time in enumerate(times)]
    run.metrics.path.write_text("\n".join(lines) + "\n")
    assert training_seconds(run.metrics.read()) == 5.0


# ---------------------------------------------------------------- the command


def test_a_finished_table_is_reported_without_running_anything(capsys: pytest.CaptureFixture[str]):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    assert table.run_table(plan) == 0
    record = RunDirectory.open(mlruns_root() / "tables" / plan.name)
    assert record.status == "finished"
    names = {path.name for path in record.media.iterdir()}
    assert names == {"table.md", "table.csv", "table.tex", "table.html", "forest.svg", "clips.png", "clips.json"}
    drawn, effects = evaluation_numbers(json.loads(record.evaluation_file.read_text())), read_table(plan).effects
    assert drawn["difference/no_same2x/cross/motion"] == effects["no_same2x"]["cross/motion"].difference
    assert drawn["p_if_it_counts/no_same2x"] == read_table(plan).judgements["no_same2x"].p_refuted
    assert record.record().tags["verdict.no_same2x"] == read_table(plan).judgements["no_same2x"].verdict
    assert "Verdicts" in capsys.readouterr().out


def test_the_sheet_is_made_anew_when_a_variant_it_shows_was_trained_anew_and_not_otherwise(
    monkeypatch: pytest.MonkeyPatch,
):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    made: list[int] = []

    def sheet_of(plan: object) -> np.ndarray:
        made.append(len(made))
        return np.full((8, 8, 3), len(made), np.uint8)

    def calls() -> int:
        made.clear()
        table.run_table(plan_of("seeds=2"))
        return len(made)

    def weights(variant: str, seed: int) -> Path:
        return runs_root() / plan.run(variant, seed).stage("cross_id") / "model" / "spec.json"

    monkeypatch.setattr(page, "variant_sheet", sheet_of)
    media = mlruns_root() / "tables" / plan.name / "media"
    assert (calls(), calls()) == (1, 0)
    os.utime(weights("no_same2x", 0), ns=(1, 1))  # as `experiments.run --fresh` leaves it: the same names and sizes
    assert (calls(), calls()) == (1, 0)
    os.utime(weights("no_same2x", 1), ns=(1, 1))  # of a seed that is not shown
    assert calls() == 0
    (media / "clips.json").write_text("{")
    assert (calls(), calls()) == (1, 0)
    (media / "clips.png").unlink()
    assert (calls(), calls()) == (1, 0)
    assert set(json.loads((media / "clips.json").read_text())) == {
        plan.run(name, 0).stage("cross_id") for name in plan.variants
    }


def test_a_sheet_that_could_not_be_made_is_made_by_the_next_call(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    table.run_table(plan)
    os.utime(runs_root() / plan.runs[0].stage("cross_id") / "model" / "spec.json", ns=(1, 1))
    replace = os.replace

    def refuse(draft: Path, target: Path) -> None:
        if Path(target).name == "clips.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(draft, target)

    with monkeypatch.context() as full:
        full.setattr("os.replace", refuse)
        with pytest.raises(UserError, match="No space left on device"):
            table.run_table(plan)
    made: list[object] = []
    monkeypatch.setattr(page, "variant_sheet", lambda plan: made.append(plan) or np.zeros((8, 8, 3), np.uint8))
    table.run_table(plan)
    assert made == [plan]


def test_a_second_driver_is_refused():
    plan = plan_of("seeds=2")
    finish(plan.runs)
    with (
        locked(mlruns_root() / "tables" / plan.name / ".run.lock"),
        pytest.raises(UserError, match=f"{plan.name} is in use by another process"),
    ):
        table.run_table(plan)


def test_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one process"):
        table.main(["table=cues"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"protocol": 1}', '{"clips": '])
def test_an_evaluation_that_was_damaged_is_named(content: str):
    plan = plan_of("seeds=1")
    finish(plan.runs)
    run = RunDirectory(runs_root() / plan.runs[0].stage("cross_id"))
    run.evaluation_file.write_text(content)
    with pytest.raises(UserError, match=r"evaluation\.json.*remove it, and the run is evaluated again"):
        read_table(plan)


def test_runs_of_another_version_of_the_scores_are_evaluated_again(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=1")
    finish(plan.runs)
    old = evaluation_of(plan.runs[1])
    old["protocol"] = {**old["protocol"], "version": 1_000}  # type: ignore[dict-item]
    file = RunDirectory(runs_root() / plan.runs[1].stage("cross_id")).evaluation_file
    file.write_text(json.dumps(old))
    with pytest.raises(UserError, match="cannot be compared"):
        read_table(plan)
    made: list[str] = []

    def make(spec: ExperimentSpec, tags: dict[str, str], execution: Execution) -> None:
        made.append(tags["ablation"])
        finish([run for run in plan.runs if run.spec == spec])

    monkeypatch.setattr("experiments.experiment.run_experiment", make)
    assert table.run_table(plan) == 0
    assert made == [plan.runs[1].variant]


def test_a_run_that_fails_is_named_the_others_are_made_and_the_table_says_failed(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=2")
    finish(plan.runs[:1])
    others = plan.runs[2:]

    def fail_once(spec: ExperimentSpec, tags: dict[str, str], execution: Execution) -> None:
        assert execution == Execution(checkpointing=True)
        if spec == plan.runs[1].spec:
            raise UserError("diverged")
        finish([run for run in others if run.spec == spec])

    monkeypatch.setattr("experiments.experiment.run_experiment", fail_once)
    with pytest.raises(UserError, match="1 of 7 failed; no_same2x, seed 0: diverged"):
        table.main([*WORDS, "seeds=2", "checkpointing=true"])
    assert all(is_finished(run) for run in others)
    assert RunDirectory.open(mlruns_root() / "tables" / plan.name).status == "failed"


def test_on_a_cluster_what_is_missing_is_ordered_at_once_and_told(monkeypatch: pytest.MonkeyPatch, capsys):
    plan = plan_of("seeds=2")
    finish(plan.runs[:3])
    ordered: list[tuple[str, object, Share]] = []

    def make_runs(orders, share, say, left) -> None:
        ordered.extend((order.name, order.spec, order.tags["ablation"], order.tags["table"], share) for order in orders)
        assert {order.execution for order in orders} == {Execution(micro_batch=1)}
        say(f"something was made; {left()}")
        finish(plan.runs)

    monkeypatch.setattr("experiments.placement.make_runs", make_runs)
    words = ["engine=ray", "cpus_per_process=2", "gpus_per_process=0.5", "micro_batch=1"]
    assert table.main([*WORDS, "seeds=2", *words]) == 0
    share = Share("process", 2, 0.5)
    missing = [(f"{run.variant}, seed {run.seed}", run.spec, run.variant, "same2x", share) for run in plan.runs[3:]]
    assert ordered == missing
    assert "something was made; 24 steps to train\n" in capsys.readouterr().out
    monkeypatch.setattr("experiments.placement.make_runs", None)
    assert table.main([*WORDS, "seeds=2", *words]) == 0  # nobody is asked for a cluster once all is there


def test_a_report_that_cannot_be_written_leaves_the_old_one(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    table.run_table(plan)
    media = mlruns_root() / "tables" / plan.name / "media"
    before = {path.name: path.read_bytes() for path in media.iterdir()}
    finish(plan.runs, shifted(-5.0))
    replace = os.replace

    def refuse(draft: Path, target: Path) -> None:
        if Path(target).parent == media:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(draft, target)

    with monkeypatch.context() as full:
        full.setattr("os.replace", refuse)
        with pytest.raises(UserError, match=r"cannot write .*/media/table\.md: No space left on device"):
            table.run_table(plan)
    assert {path.name: path.read_bytes() for path in media.iterdir()} == before
    assert RunDirectory.open(media.parent).status == "failed"
    assert table.run_table(plan) == 0
    assert (media / "table.md").read_bytes() != before["table.md"]


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.floats(0, 1e6))
def test_time_left_is_told_once_something_is_done_and_is_as_long_for_each_step_as_those_took(
    steps: int, left: int, seconds: float
):
    clock = SimpleNamespace(monotonic=lambda: 7.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "time", clock)
        pace = table._Pace(steps)
        clock.monotonic = lambda: 7.0 + seconds
        text = pace.left(min(left, steps))
    assert (text == "") == (left >= steps)
    if text:
        minutes = seconds / 60 * left / (steps - left)
        told = re.fullmatch(r", (?:about (\d+) min|less than a minute) left", text)
        assert told is not None
        if told[1] is None:
            assert minutes == pytest.approx(0, abs=1 + 1e-6)
        else:
            assert int(told[1]) >= 1
            assert int(told[1]) == pytest.approx(minutes, abs=0.5 + 1e-6)


def test_a_run_that_was_trained_on_other_pairs_is_not_compared(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    run = RunDirectory(runs_root() / plan.runs[2].stage("cross_id"))
    run.update(tags={PAIRS_TAG: "old"})
    monkeypatch.setattr("experiments.experiment.origin_tags", lambda spec, stage: {PAIRS_TAG: "new"})
    with pytest.raises(UserError, match=f"{run.path.name} was begun with other pairs"):
        table.run_table(plan)


VERSIONS: dict[str, object] = {"SYNTH_VERSION": 1_000, "EMBEDDED_WEIGHTS": dict.fromkeys(EMBEDDED_WEIGHTS, "other")}


@pytest.mark.parametrize("what", VERSIONS)
def test_another_version_of_people_or_base_is_another_table(monkeypatch: pytest.MonkeyPatch, what: str):
    before = plan_of("seeds=2").name
    monkeypatch.setattr(f"experiments.spec.{what}", VERSIONS[what])
    assert plan_of("seeds=2").name != before


def test_the_sheet_decodes_by_the_codec_of_the_runs(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("seeds=1")
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    decoded: list[object] = []
    monkeypatch.setattr(sheet, "make_codec", lambda model, tiling, device: model)
    monkeypatch.setattr(sheet, "trained_model", lambda run, spec: nn.Identity())
    monkeypatch.setattr(sheet, "_shown_clips", lambda spec: [])
    monkeypatch.setattr(sheet, "answers_sheet", lambda answers, scale: frames[0])
    monkeypatch.setattr(sheet, "generate_clips", lambda model, codec, clips, spec: decoded.append(codec) or [frames])
    sheet.variant_sheet(plan)
    assert decoded == [plan.runs[0].spec.model] * len(plan.variants)


@pytest.mark.parametrize(("other", "compare"), [("bf16 on 2 threads", True), ("fp32 on 2 threads", False)])
def test_seconds_of_runs_that_were_computed_differently_are_not_compared(other: str, compare: bool):
    plan = plan_of("seeds=2")
    finish(plan.runs)
    for number, run in enumerate(plan.runs):
        for stage in STAGES:
            told = other if number == 1 else "bf16 on 2 threads"
            RunDirectory(runs_root() / run.stage(stage)).update(tags={COMPUTED_IN_TAG: told})
    title = cost_grid(read_table(plan)).title
    assert "bf16 on 2 threads" in title
    assert ("do not compare" not in title) == compare


def test_the_cost_tells_the_most_memory_of_any_stage_and_seed_and_where_it_is_unknown():
    plan = plan_of("seeds=2")
    finish(plan.runs)
    for run in plan.runs:
        if run.variant == "no_same2x":
            for stage, megabytes in (("same_id", 500.0), ("cross_id", 700.0 + run.seed)):
                log = RunDirectory(runs_root() / run.stage(stage)).system
                log.append(0, {PEAK_MEMORY: megabytes / 2, "system/cpu_utilization_percentage": 9e9})
                log.append(1, {PEAK_MEMORY: megabytes})
    rows = {row[0]: row[-1] for row in cost_grid(read_table(plan)).rows}
    assert rows["no_same2x"] == "701"
    assert rows["full"] == "500", "its teacher is shared"
    other = plan_of("seeds=1", "same_id.steps=7")
    finish(other.runs)
    assert {row[-1] for row in cost_grid(read_table(other)).rows} == {"-"}


def test_where_runs_hold_memory_of_gpus_that_is_told():
    values = {PEAK_MEMORY: 9e9, "system/gpu_0_memory_usage_megabytes": 3.0, "system/gpu_10_memory_usage_megabytes": 5.0}
    records = [MetricRecord(0, 0.0, values), MetricRecord(1, 1.0, {"system/gpu_0_memory_usage_percentage": 80.0})]
    assert peak_memory(records) == 5.0
    assert math.isnan(peak_memory([]))


def test_a_report_tells_every_commit_that_made_its_runs():
    plan = plan_of("seeds=2")
    finish(plan.runs)
    for run in plan.runs:
        for stage in STAGES:
            RunDirectory(runs_root() / run.stage(stage)).update(tags={"commit": "abc"})
    assert "- Made by commit abc.\n" in render_markdown(read_table(plan))
    RunDirectory(runs_root() / plan.runs[0].stage("same_id")).update(tags={"commit": "abc, then def"})
    assert "- Made by commit abc and def.\n" in render_markdown(read_table(plan))
