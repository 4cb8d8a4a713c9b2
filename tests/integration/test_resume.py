"""Killed or asked to stop, then started again: the result is that of a run which was never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import SAVE_EVERY_STEP, Workplace

pytestmark = pytest.mark.slow

WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"
STEPS = 12
WORDS = ("preset=smoke", f"same_id.steps={STEPS}", f"cross_id.steps={STEPS}", "model.num_layers=1")
DEADLINE_S = 240


def curve(run: Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and values of a run's log, without the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["values"]) for line in lines]


def steps_logged(place: Workplace, stage: str) -> int:
    logs = list((place.root / "runs").glob(f"{stage}-*/metrics.jsonl"))
    return len(logs[0].read_bytes().splitlines()) if logs else 0


def all_steps_logged(place: Workplace) -> int:
    return sum(steps_logged(place, stage) for stage in ("same_id", "cross_id"))


def stop_at(place: Workplace, stage: str, step: int, how: signal.Signals, delay_s: float = 0.0) -> int:
    """The exit status of a run that gets a signal `delay_s` after it has logged `step` steps of a stage."""
    process = place.start(*WORDS)
    deadline = time.monotonic() + DEADLINE_S
    while steps_logged(place, stage) < step and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(how)
    return process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def unbroken(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("unbroken"))
    (place.root / "cache").symlink_to(finished.root / "cache")
    place.call_from_nothing("-m", "experiments.run", *WORDS)
    return place


def assert_equal_runs(place: Workplace, unbroken: Workplace) -> None:
    for stage in ("same_id", "cross_id"):
        assert (place.stage(stage) / WEIGHTS).read_bytes() == (unbroken.stage(stage) / WEIGHTS).read_bytes()
        assert curve(place.stage(stage)) == curve(unbroken.stage(stage))


def test_resuming_after_three_kills_equals_never_stopping(fresh: Callable[[], Workplace], unbroken: Workplace):
    """At random moments, within a step or within the writing of a checkpoint; the plugin's seed repeats them."""
    place = fresh()
    half = STEPS // 2
    for stage, first, last in (("same_id", 1, half), ("same_id", half, STEPS - 1), ("cross_id", 1, STEPS - 4)):
        step, delay_s = random.randint(first, last), random.uniform(0, 0.05)
        assert stop_at(place, stage, step, signal.SIGKILL, delay_s) == -signal.SIGKILL
    done = place.run(*WORDS)
    assert done.returncode == 0, done.stderr
    assert_equal_runs(place, unbroken)


LONG_WORDS = ("preset=smoke", "same_id.steps=100", "cross_id.steps=100", "model.num_layers=1")
LONG_STEPS = 200
KILLS = 20
LIFE_S = 1200
"""A life of the long run ends by then, on however loaded a machine."""
SAVE_OFTEN = SAVE_EVERY_STEP.replace("CHECKPOINT_SECONDS = 0.0", "CHECKPOINT_SECONDS = 0.3")
"""Rarely enough that the log is ahead of the checkpoint at most kills."""


def start_long(place: Workplace, script: Path, processes: int) -> subprocess.Popen[bytes]:
    launcher = ("-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone")
    command = [sys.executable, *(launcher if processes > 1 else ()), str(script), *LONG_WORDS]
    environment = place.environment(PYTHONPATH=str(Path.cwd()))
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill(process: subprocess.Popen[bytes], one_worker: bool) -> None:
    """SIGKILL to one of the workers, whose launcher then ends the others, or to everything at once."""
    workers = psutil.Process(process.pid).children(recursive=True)
    if one_worker and workers:
        random.choice(workers).kill()
    else:
        for victim in (process, *workers):
            victim.kill()
    process.communicate(timeout=LIFE_S)


def finish_long(place: Workplace, script: Path, processes: int) -> None:
    process = start_long(place, script, processes)
    output, _ = process.communicate(timeout=LIFE_S)
    assert process.returncode == 0, output.decode()


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "deep", reason="minutes; HYPOTHESIS_PROFILE=deep runs it")
@pytest.mark.parametrize("processes", [1, 2])
def test_resuming_after_twenty_kills_equals_never_stopping(
    fresh: Callable[[], Workplace], tmp_path: Path, processes: int
):
    """Wherever the kill falls: starting up, in a step, writing a checkpoint or a log line, between the stages."""
    script = tmp_path / "run_and_save_often.py"
    script.write_text(SAVE_OFTEN)
    unbroken, place = fresh(), fresh()
    finish_long(unbroken, script, processes)
    killed_after = []
    for moment in sorted(random.uniform(0, LONG_STEPS) for _ in range(KILLS)):
        process = start_long(place, script, processes)
        deadline = time.monotonic() + LIFE_S
        # Within a step; or, where an earlier life came as far, within the start-up or soon after it.
        delay_s = random.uniform(0, 0.05) if all_steps_logged(place) < moment else random.uniform(0, 12)
        while all_steps_logged(place) < moment:
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay_s)
        killed_after.append(all_steps_logged(place))
        kill(process, one_worker=processes > 1 and random.random() < 0.5)
    print(f"{processes} process(es): killed after {killed_after} of {LONG_STEPS} logged steps")
    finish_long(place, script, processes)
    assert_equal_runs(place, unbroken)


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_polite_signal_writes_a_checkpoint_and_says_so(
    fresh: Callable[[], Workplace], unbroken: Workplace, how: signal.Signals, status: int
):
    place = fresh()
    assert stop_at(place, "cross_id", 2, how) == status
    run = place.stage("cross_id")
    assert (run / "checkpoint/state.safetensors").exists()
    assert json.loads((run / "record.json").read_text())["status"] == "interrupted"
    assert place.run(*WORDS).returncode == 0
    assert_equal_runs(place, unbroken)
