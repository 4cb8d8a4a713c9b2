"""What a table is made of, and what of it is there: from words and directories, without any training."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.registry import ABLATIONS, TABLES
from directanimator.errors import UserError
from directanimator.places import runs_root
from experiments.edit import edit
from experiments.experiment import adopt_trained
from experiments.pools import ORIGIN_TAGS
from experiments.presets import PRESETS
from experiments.record import RunDirectory
from experiments.spec import STAGES, WEIGHTS_TAG, stage_fingerprint
from experiments.tables.plan import (
    BASELINE,
    cost_of,
    is_finished,
    make_plan,
    render_plan,
    render_tables,
    render_usage,
    stage_state,
    states_of,
)
from tests.experiments.tables.table_runs import claim, finish, plan_of


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))
    monkeypatch.setattr("experiments.record.environment", lambda: "python==3\n")  # it takes longest
    return tmp_path


@settings(max_examples=15)
@given(st.sampled_from(sorted(TABLES)), st.sampled_from(sorted(PRESETS)), st.integers(1, 3))
def test_every_table_is_legal_in_every_preset_and_holds_each_variant_with_each_seed(table, preset, seeds):
    is_real = PRESETS[preset].spec.data.source == "folder"
    possible = [name for name in TABLES[table].variants if not (is_real and ABLATIONS[name].needs_synthetic)]
    words = [f"table={table}", f"preset={preset}", f"seeds={seeds}"]
    if not possible:
        with pytest.raises(UserError, match=rf"table {table} needs data\.source=synthetic"):
            make_plan(words)
        return
    plan = make_plan(words)
    assert {*plan.left_out, *possible} == set(TABLES[table].variants)
    wanted = {(name, seed) for name in (BASELINE, *possible) for seed in range(seeds)}
    assert {(run.variant, run.seed) for run in plan.runs} == wanted
    assert len(plan.runs) == len(wanted)
    for run in plan.runs:
        assert run.spec == edit(PRESETS[preset].spec, {**ABLATIONS[run.variant].edits, "seed": run.seed})


def test_a_whole_comparison_is_there_after_the_first_seed():
    plan = plan_of("seeds=2")
    assert [run.seed for run in plan.runs] == [0] * 4 + [1] * 4
    assert [run.variant for run in plan.runs[:4]] == list(plan.variants)


def test_runs_that_do_not_change_the_same_id_stage_share_it():
    plan = plan_of("seeds=2")
    assert len({run.stage("same_id") for run in plan.runs}) == 2
    assert len({run.stage("cross_id") for run in plan.runs}) == 8
    cost = cost_of(plan, states_of(plan))
    assert (cost.stages, cost.steps, cost.steps_separate) == (10, 10 * 4, 16 * 4)


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_of_a_stage_that_goes_on_only_the_steps_that_its_log_lacks_are_left(has_checkpoint: bool):
    plan = plan_of("seeds=1", "same_id.steps=50", "cross_id.steps=70")
    begun = claim(plan.runs[0], "same_id")
    for step in range(1, 21):
        begun.metrics.append(step, {"train/loss": 1.0})
    if has_checkpoint:
        (begun.path / "checkpoint").mkdir()
        (begun.path / "checkpoint/state.safetensors").write_bytes(b"")
    cost = cost_of(plan, states_of(plan))
    assert cost.stages_left == 5
    assert cost.steps - cost.steps_left == (20 if has_checkpoint else 0)
    for step in range(21, 60):  # more than are asked for: the log of something longer is not time gained elsewhere
        begun.metrics.append(step, {"train/loss": 1.0})
    cost = cost_of(plan, states_of(plan))
    assert cost.steps - cost.steps_left == (50 if has_checkpoint else 0)


def test_a_table_that_will_not_answer_what_it_asks_says_so_before_it_is_trained():
    assert "no verdict" not in render_plan(plan_of())
    told = render_plan(plan_of("evaluation.subsets=self"))
    assert "\nno verdict on any variant: evaluation.subsets=self measures no cross/psnr_foreground\n" in told
    told = render_plan(make_plan(["table=fusion", "seeds=2", "evaluation.subsets=self"]))
    assert re.search(r"\nno verdict on fusion_concat, .*: evaluation\.subsets=self measures no cross/", told)


def test_a_table_is_named_by_its_runs():
    name = plan_of("seeds=2").name
    assert name == plan_of("seeds=2").name
    others = [plan_of("seeds=3"), plan_of("seeds=2", "optim.beta2=0.9"), make_plan(["table=cues", "seeds=2"])]
    assert len({name, *(other.name for other in others)}) == 4


def test_edits_reach_every_run_and_are_told():
    plan = plan_of("same_id.steps=7")
    assert {run.spec.same_id.steps for run in plan.runs} == {7}
    assert "same_id.steps: 4 -> 7 (command line)" in render_plan(plan)


def test_states_are_what_the_directories_say():
    plan = plan_of("seeds=1")
    full, variant = plan.runs[0], plan.runs[1]
    assert [stage_state(full.spec, stage) for stage in STAGES] == ["to train", "to train"]
    checkpoint = claim(full, "same_id").path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "state.safetensors").write_bytes(b"")
    assert stage_state(full.spec, "same_id") == "goes on"
    finish([full])
    assert [stage_state(full.spec, stage) for stage in STAGES] == ["exists", "exists"]
    assert [stage_state(variant.spec, stage) for stage in STAGES] == ["exists", "to train"]
    sampled = plan_of("seeds=1", "sampling.num_steps=5").runs[0]
    assert [stage_state(sampled.spec, stage) for stage in STAGES] == ["exists", "lent"]
    claim(full, "cross_id").update(tags={WEIGHTS_TAG: "weights of another base"})
    assert [stage_state(sampled.spec, stage) for stage in STAGES] == ["exists", "to train"]


@pytest.mark.parametrize("tag", ORIGIN_TAGS)
def test_weights_that_were_trained_on_other_videos_pairs_or_another_base_are_not_lent(
    tag: str, monkeypatch: pytest.MonkeyPatch
):
    """As when the run is made: `adopt_trained` would not take them."""
    full, sampled = (plan_of("seeds=1", *words).runs[0] for words in ((), ("sampling.num_steps=5",)))
    finish([full])
    donor = RunDirectory(runs_root() / full.stage("cross_id"))
    there = {tag: "as it is now"}
    monkeypatch.setattr("experiments.pools.origin_tags", lambda spec, stage: there if stage == "cross_id" else {})
    adopted: list[str] = []
    monkeypatch.setattr("experiments.experiment.adopt_model", lambda donor, *_: adopted.append(donor.path.name))
    for told, state in ({}, "to train"), ({tag: "another"}, "to train"), (there, "lent"):
        donor.update(tags=told)
        assert stage_state(sampled.spec, "cross_id") == state
        run = claim(sampled, "cross_id")
        run.update(tags=there)
        adopt_trained(run, sampled.spec)
        assert adopted == ([donor.path.name] if state == "lent" else [])


@pytest.mark.parametrize("record", [None, b"", b"[]"])
def test_a_trained_neighbor_without_a_readable_record_lends_nothing_and_hinders_nobody(record: bytes | None):
    full, sampled = (plan_of("seeds=1", *words).runs[0] for words in ((), ("sampling.num_steps=5",)))
    finish([full])
    donor = RunDirectory(runs_root() / full.stage("cross_id"))
    donor.record_file.unlink() if record is None else donor.record_file.write_bytes(record)
    assert stage_state(sampled.spec, "cross_id") == "to train"
    run = claim(sampled, "cross_id")
    adopt_trained(run, sampled.spec)
    assert not run.is_trained


def test_a_run_without_evaluation_is_not_finished():
    run = plan_of("seeds=1").runs[0]
    finish([run])
    assert is_finished(run)
    (runs_root() / run.stage("cross_id") / "evaluation.json").unlink()
    assert not is_finished(run)


def test_a_run_whose_record_was_deleted_is_not_finished_and_not_lost():
    run = plan_of("seeds=1").runs[0]
    finish([run])
    (runs_root() / run.stage("cross_id") / "record.json").unlink()
    assert not is_finished(run)
    assert stage_state(run.spec, "cross_id") == "exists"


def test_a_run_whose_spec_was_edited_is_named():
    plan = plan_of("seeds=1")
    finish(plan.runs[:1])
    file = RunDirectory(runs_root() / plan.runs[0].stage("cross_id")).spec_file
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 7}))
    with pytest.raises(UserError, match=f"{plan.runs[0].stage('cross_id')}.*remove the directory"):
        render_plan(plan)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_record_is_named(content: bytes):
    plan = plan_of("seeds=1")
    finish(plan.runs[:1])
    (runs_root() / plan.runs[0].stage("same_id") / "record.json").write_bytes(content)
    with pytest.raises(UserError, match=re.escape("record.json cannot be read")):
        render_plan(plan)


def test_the_dry_run_says_for_each_run_whether_it_exists_is_shared_or_must_be_trained():
    plan = plan_of("seeds=2")
    finish(plan.runs[:2])
    lines = [line.split() for line in render_plan(plan).splitlines() if re.match(r"full|no_same2x|student", line)]
    assert len(lines) == len(plan.runs)
    told = {(line[0], int(line[1])): " ".join(line[2:]) for line in lines}
    assert told["full", 0].count("exists") == 2
    assert told["student_from_base", 0].count("exists") == 1
    assert "to train" in told["student_from_base", 0]
    assert told["full", 1].count("to train") == 2
    assert "shared with full" in told["no_same2x", 1]
    assert "8 runs, 2 finished; 10 stages, 7 to train: 28 of 40 steps" in render_plan(plan)


def test_a_dry_run_of_a_run_names_the_same_stages():
    run = plan_of("seeds=1").runs[1]
    assert run.stage("same_id") == f"same_id-{stage_fingerprint(run.spec, 'same_id')}"
    assert run.stage("cross_id") == f"cross_id-{stage_fingerprint(run.spec, 'cross_id')}"


def test_one_seed_is_told_before_anything_is_trained():
    assert "no interval and no verdict" in render_plan(plan_of("seeds=1"))
    assert "no verdict" not in render_plan(plan_of("seeds=2"))


def test_tables_and_usage_name_what_there_is():
    assert all(name in render_tables() for name in TABLES)
    assert all(variant in render_tables() for table in TABLES.values() for variant in table.variants)
    assert "table=NAME" in render_usage()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["seeds=3"], ["no table given", "cues"]),
        (["table=cuse"], ["unknown table 'cuse'", "did you mean 'cues'?"]),
        (["cues"], ["'table=cues'"]),
        (["table=cues", "smoke"], ["'preset=smoke'"]),
        (["table=cues", "preset=smok"], ["did you mean 'smoke'?"]),
        (["table=cues", "seeds=0"], ["seeds=0", "1..100"]),
        (["table=cues", f"seeds={'9' * 5000}"], ["seeds=9", "1..100"]),
        (["table=cues", "seeds=two"], ["seeds=two", "whole number"]),
        (["table=cues", "seeds=-1"], ["seeds=-1"]),
        (["table=cues", "seeds=\u00b2"], ["whole number"]),
        (["table=cues", "seed=1"], ["seeds=N"]),
        (["table=cues", "ablation=full"], ["leave out ablation="]),
        (["table=cues", "table=fusion"], ["given twice"]),
        (["table=cues", "same2x.wieght=1"], ["same2x.weight"]),
        (["table=cues", "optim.learning_rate=-5"], ["optim.learning_rate", "-5"]),
        (["table=cues", "--dryrun"], ["--dry-run"]),
        (["table=cues", "cues.face.enabled=true"], ["contradicts ablation no_face_cue"]),
        (["table=same2x", "same2x.weight=1"], ["contradicts ablation s2x_weight_0"]),
        (["table=low_pass", "variants=cutoff_3", "cues.pose.cutoff=3"], ["cutoff_3 is the same experiment as full"]),
        (["table=cues", "variants=no_fase_cue"], ["variant of table cues", "no_face_cue"]),
        (["table=cues", "variants="], ["unknown variant"]),
        (["table=cues", "data.size=17"], ["data.size"]),
    ],
)
def test_bad_input_is_one_line(words: list[str], parts: list[str]):
    with pytest.raises(UserError) as refused:
        make_plan(words)
    assert all(part in str(refused.value) for part in parts), str(refused.value)
    assert "\n" not in str(refused.value)
