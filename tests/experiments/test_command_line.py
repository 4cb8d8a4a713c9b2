import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ablations.registry import ABLATIONS
from directanimator.errors import UserError
from experiments import demo, plan, reproduce, run, sweep, table
from experiments.command_line import (
    OPTIONS,
    Request,
    parse,
    render_dry_run,
    render_list,
    render_usage,
    resolve,
    run_main,
)
from experiments.edit import diff, edit, format_value, leaves
from experiments.presets import PRESETS
from experiments.spec import ExperimentSpec, fingerprint
from tests.experiments.strategies import BASE, free_edits, specs

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "mlflow", "optuna", "diffusers", "PIL", "cv2")


def refusal(*tokens: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(tokens)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_no_words_mean_the_full_method_on_the_default_preset() -> None:
    resolved = resolve([])
    assert (resolved.preset.name, resolved.ablation.name, resolved.edits) == ("cpu", "full", ())
    assert resolved.spec == PRESETS["cpu"].spec


@given(specs())
def test_any_spec_can_be_spelled_on_the_command_line(spec: ExperimentSpec) -> None:
    tokens = [f"{path}={format_value(value)}" for path, value in diff(BASE, spec).items()]
    assert resolve(tokens).spec == spec


@given(st.permutations(["preset=smoke", "ablation=no_face_cue", "seed=3", "same2x.weight=0.25", "--dry-run"]))
def test_the_order_of_words_does_not_matter(tokens: list[str]) -> None:
    resolved = resolve(tokens)
    assert resolved.spec == edit(PRESETS["smoke"].spec, {"cues.face.enabled": False, "seed": 3, "same2x.weight": 0.25})
    assert resolved.options == {"--dry-run"}


@given(st.sampled_from(sorted(PRESETS)), st.sampled_from(sorted(ABLATIONS)), free_edits())
def test_the_command_line_is_laid_over_the_ablation_over_the_preset(
    preset: str, ablation: str, change: tuple[str, Any]
) -> None:
    path, value = change
    if path in ABLATIONS[ablation].edits:
        return
    tokens = [f"preset={preset}", f"ablation={ablation}", f"{path}={format_value(value)}"]
    if ABLATIONS[ablation].needs_synthetic and PRESETS[preset].spec.data.source == "folder":
        assert "source=synthetic" in refusal(*tokens)
        return
    resolved = resolve(tokens)
    assert resolved.spec == edit(edit(PRESETS[preset].spec, ABLATIONS[ablation].edits), {path: value})


def test_each_edit_tells_who_asked_for_it() -> None:
    edits = resolve(["ablation=no_same2x", "seed=1"]).edits
    assert {change.path: change.origin for change in edits} == {"seed": "command line", "same2x.enabled": "ablation"}


@pytest.mark.parametrize("tokens", [["seed=1", "seed=2"], ["preset=cpu", "preset=smoke"]])
def test_two_values_for_one_path_are_refused(tokens: list[str]) -> None:
    assert "is given twice" in refusal(*tokens)


@pytest.mark.parametrize("tokens", [["seed=1", "seed=1"], ["same2x.weight=1", "same2x.weight=1.0"]])
def test_the_same_value_twice_is_no_contradiction(tokens: list[str]) -> None:
    assert resolve(tokens).spec == resolve(tokens[:1]).spec


def test_true_and_one_are_two_values() -> None:
    assert "true and 1" in refusal("cues.face.enabled=true", "cues.face.enabled=1")


@pytest.mark.parametrize("name", sorted(ABLATIONS.keys() - {"full"}))
def test_an_ablation_cannot_be_undone_under_its_name(name: str) -> None:
    undone = [f"{path}={format_value(leaves(BASE)[path])}" for path in ABLATIONS[name].edits]
    assert f"contradicts ablation {name}" in refusal(f"ablation={name}", *undone)


def test_an_ablation_may_be_confirmed() -> None:
    assert resolve(["ablation=no_face_cue", "cues.face.enabled=false"]).spec == resolve(["ablation=no_face_cue"]).spec


@pytest.mark.parametrize(
    ("token", "meant"),
    [
        ("preset=smok", "smoke"),
        ("ablation=no_face", "no_face_cue"),
        ("abltion=full", "ablation"),
        ("--dryrun", "--dry-run"),
        ("dry-run", "--dry-run"),
        ("smoke", "preset=smoke"),
        ("no_same2x", "ablation=no_same2x"),
        ("cues.fase.enabled=false", "cues.face.enabled"),
        ("weight=1", "same2x.weight"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(token: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in refusal(token)


@pytest.mark.parametrize(
    ("command", "words", "meant"),
    [
        (run, ["engin=ray"], "engine"),
        (run, ["procceses_per_run=2"], "processes_per_run"),
        (run, ["micro_bach=1"], "micro_batch"),
        (table, ["table=cues", "gpus_per_proces=1"], "gpus_per_process"),
        (table, ["table=cues", "shardin=true"], "sharding"),
        (sweep, ["sweep=same2x", "checkpoint=true"], "checkpointing"),
        (reproduce, ["run=x", "micro_batc=1"], "micro_batch"),
        (plan, ["memory=96"], "memory_gb"),
        (plan, ["utilisation=0.5"], "utilization"),
    ],
)
def test_a_slip_in_a_word_that_one_command_knows_is_answered_too(
    command: ModuleType, words: list[str], meant: str
) -> None:
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        command.main(words)


def test_no_word_is_offered_that_the_command_does_not_know() -> None:
    with pytest.raises(UserError, match="unknown path engin") as refused:
        demo.main(["engin=ray"])
    assert "engine" not in str(refused.value)


@given(st.lists(st.text(), min_size=1, max_size=3))
@example(["seed=\n"])
@example(["preset=a\nb"])
@example(["-\n"])
def test_any_other_words_are_refused_in_one_line(tokens: list[str]) -> None:
    assert refusal(*tokens)


def test_another_command_has_its_own_keys_and_options() -> None:
    request = parse(["table=cues", "seed=2", "--quick"], keys=("table",), options=("--quick",))
    assert request == Request({"table": "cues"}, {"seed": 2}, frozenset({"--quick"}))


@given(specs())
def test_a_dry_run_shows_every_value_and_the_fingerprint(spec: ExperimentSpec) -> None:
    tokens = [f"{path}={format_value(value)}" for path, value in diff(BASE, spec).items()]
    lines = render_dry_run(resolve(tokens)).splitlines()
    for path, value in leaves(spec).items():
        assert len([line for line in lines if line[2:].startswith((f"{path}=", f"{path}: "))]) == 1, (path, value)
    assert any(line.endswith(fingerprint(spec)) for line in lines)


def test_a_dry_run_marks_what_was_edited() -> None:
    text = render_dry_run(resolve(["ablation=no_face_cue", "seed=4"]))
    marked = [line for line in text.splitlines() if line.startswith("* ")]
    assert marked == ["* seed: 0 -> 4 (command line)", "* cues.face.enabled: true -> false (ablation)"]


@pytest.mark.parametrize("entry", [*PRESETS.values(), *ABLATIONS.values()], ids=lambda entry: entry.name)
def test_the_list_has_one_line_for_each_entry(entry: Any) -> None:
    assert len([line for line in render_list().splitlines() if line.startswith(f"  {entry.name} ")]) == 1


def test_the_usage_names_every_option_and_its_examples_work() -> None:
    text = render_usage()
    assert all(option in text for option in OPTIONS)
    examples = [line.split("  ")[1].split()[3:] for line in text.splitlines() if line.startswith("  python")]
    assert all(resolve(tokens) for tokens in examples)


def exit_status(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *tokens: str) -> int | str | None:
    def main(_: list[str]) -> int:
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(sys, "argv", ["run", *tokens])
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    return caught.value.code


def test_bad_input_is_one_line_and_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(monkeypatch, UserError("no\nface")) == 2
    assert capsys.readouterr() == ("", "error: no face\n")


def test_debug_shows_the_traceback_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(monkeypatch, UserError("no face"), "--debug") == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: no face\n")


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_status(monkeypatch, KeyboardInterrupt()) == 130


def test_success_is_status_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_status(monkeypatch, None) == 0


def test_an_error_of_ours_is_not_dressed_up_as_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run"])
    with pytest.raises(ZeroDivisionError):
        run_main(lambda _: 1 // 0)


def test_reading_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, experiments.command_line; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("name", ["experiments.demo", "experiments.benchmarks.overhead"])
@pytest.mark.parametrize("option", ["--dry-run", "--list", "--fresh"])
def test_commands_refuse_the_options_that_they_cannot_heed(name: str, option: str) -> None:
    with pytest.raises(UserError, match="unknown option"):
        importlib.import_module(name).main(["preset=smoke", option])


@pytest.mark.parametrize("name", ["experiments.demo", "experiments.benchmarks.overhead"])
def test_help_is_told_wherever_it_is_asked_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(name)
    assert command.main(["preset=smoke", "--help"]) == 0
    assert capsys.readouterr().out == f"{command.__doc__}\n"
