"""What runs share is made once and first, and nothing waits without need: said of the jobs, without any cluster."""

import itertools
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.cluster import Job, Share
from directanimator.errors import UserError
from directanimator.places import runs_root
from experiments import placement
from experiments.edit import edit, leaves
from experiments.execution import Execution
from experiments.placement import Order, Piece, carry_out, jobs_of
from experiments.presets import SMOKE
from experiments.record import RunDirectory
from experiments.run import main
from experiments.spec import ExperimentSpec, data_fingerprint, stage_fingerprint, stage_name
from experiments.stage import InterruptedTrainingError

CHOICES: Mapping[str, tuple[object, ...]] = {
    "seed": (0, 1),
    "data.num_train_clips": (8, 9),
    "optim.beta2": (0.9, 0.99),
    "same2x.weight": (0.1, 0.5),
    "sampling.num_steps": (2, 3),
    "evaluation.subsets": (("cross",), ("self",)),
}
"""One path of everything that stages do or do not read."""
EDITS = st.fixed_dictionaries({path: st.sampled_from(values) for path, values in CHOICES.items()})
SETS_OF_EDITS = st.lists(EDITS, min_size=1, max_size=6, unique_by=lambda edits: tuple(edits.values()))


def order_of(name: str, spec: ExperimentSpec) -> Order:
    return Order(name, spec, {"preset": "smoke", "ablation": name})


def weights_of(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec without what only those read that come after training."""
    plain = {path: value for path, value in leaves(SMOKE.spec).items() if path.startswith(("sampling.", "evaluation."))}
    return edit(spec, plain)


def made_by(piece: Piece) -> set[object]:
    """All that a piece makes where it is missing."""
    spec = piece.order.spec
    clips, teacher = data_fingerprint(spec), stage_fingerprint(spec, "same_id")
    return {"clips": {clips}, "same_id": {clips, teacher}, "run": {clips, teacher, weights_of(spec)}}[piece.part]


def before(jobs: list[Job[Piece]]) -> dict[str, set[str]]:
    """By name, all that have ended when a job begins; the order of the list is one in which they can be done."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        found[job.name] = set(job.after).union(*(found[name] for name in job.after))
    return found


@given(SETS_OF_EDITS)
def test_nothing_is_made_by_two_at_once_and_nobody_waits_without_need(several: list[dict[str, object]]):
    orders = [order_of(str(number), edit(SMOKE.spec, edits)) for number, edits in enumerate(several)]
    jobs = jobs_of(orders)
    assert [job.work.order for job in jobs if job.work.part == "run"] == orders
    assert len({job.name for job in jobs}) == len(jobs)
    earlier = before(jobs)
    makers: dict[object, list[Job[Piece]]] = {}
    for job in jobs:
        for thing in made_by(job.work):
            makers.setdefault(thing, []).append(job)
    for first, *others in makers.values():
        assert all(first.name in earlier[job.name] for job in others)
    runs = {job.name: job for job in jobs if job.work.part == "run"}
    for job in jobs:
        if job.name not in runs:
            assert sum(job.name in earlier[name] for name in runs) > 1
        for name in earlier[job.name] & runs.keys():
            assert weights_of(runs[name].work.order.spec) == weights_of(job.work.order.spec)


@given(SETS_OF_EDITS)
def test_runs_with_the_same_weights_follow_each_other(several: list[dict[str, object]]):
    jobs = jobs_of([order_of(str(number), edit(SMOKE.spec, edits)) for number, edits in enumerate(several)])
    earlier = before(jobs)
    runs = [job for job in jobs if job.work.part == "run"]
    for index, job in enumerate(runs):
        for other in runs[:index]:
            if weights_of(other.work.order.spec) == weights_of(job.work.order.spec):
                assert other.name in earlier[job.name]


def test_a_run_alone_is_one_job():
    order = order_of("full", SMOKE.spec)
    assert jobs_of([order]) == [Job("full", Piece("run", order))]


# ---------------------------------------------------------------- a worker's part


def test_a_piece_calls_what_a_row_of_runs_would(monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("experiments.experiment.prepared", lambda *a: calls.append(("prepared", *a)) or "start")
    monkeypatch.setattr("experiments.experiment.train_teacher", lambda *a, **k: calls.append(("teacher", *a, k)))
    monkeypatch.setattr("experiments.experiment.run_experiment", lambda *a, **k: calls.append(("run", *a, k)))
    spec, how = SMOKE.spec, Execution(micro_batch=1)
    order = Order("full", spec, {"preset": "smoke", "ablation": "full"}, how, fresh=True)
    for part in ("clips", "same_id", "run"):
        carry_out(Piece(part, order))
    assert calls == [
        ("prepared", spec, how),
        ("prepared", spec, how),
        ("teacher", "start", spec, "smoke", {"execution": how}),
        ("run", spec, order.tags, {"adopt": False, "execution": how, "wait": True}),
    ]


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, SystemExit), (signal.SIGUSR1, SystemExit), (signal.SIGINT, UserError)]
)
def test_a_run_is_begun_again_if_its_worker_was_stopped_but_not_if_the_driver_stopped_it(
    number: int, end: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(_piece: Piece) -> None:
        raise InterruptedTrainingError(number)

    monkeypatch.setattr(placement, "carry_out", stopped)
    with pytest.raises(end):
        placement.make((tmp_path, Piece("run", order_of("full", SMOKE.spec))))


def test_a_machine_that_sees_other_runs_says_so(tmp_path: Path):
    with pytest.raises(UserError, match=f"does not see {tmp_path}: all machines must share the runs"):
        placement.make((tmp_path / "sign", Piece("run", order_of("full", SMOKE.spec))))


@given(st.lists(st.integers(0, 200), max_size=30), st.integers(1, 100))
def test_what_is_left_is_told_now_and_then(pauses: list[int], period: int):
    clock, told = SimpleNamespace(monotonic=lambda: 0.0), list[float]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "time", clock)
        tell = placement.now_and_then(lambda: told.append(clock.monotonic()), period)
        for now in itertools.accumulate(pauses):
            clock.monotonic = lambda now=now: float(now)
            tell()
    assert all(after - before >= period for before, after in itertools.pairwise([0.0, *told]))
    silent = [b - a for a, b in itertools.pairwise([0.0, *told, float(sum(pauses))])]
    assert all(gap < period + max(pauses, default=0) for gap in silent)


# ---------------------------------------------------------------- one run


def test_a_run_on_a_cluster_is_ordered_with_its_execution_and_leaves_its_fingerprint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ordered: list[tuple[Order, Share]] = []
    monkeypatch.setenv("DIRECTANIMATOR_RUNS", str(tmp_path))

    def make_runs(orders: list[Order], share: Share, say: Callable[[str], None], left: Callable[[], str]) -> None:
        ordered.append((*orders, share))
        RunDirectory(runs_root() / stage_name(orders[0].spec, "same_id")).metrics.append(3, {"train/loss": 1.0})
        say(left())

    monkeypatch.setattr(placement, "make_runs", make_runs)
    words = ["preset=smoke", "seed=3", "--fresh"]
    with pytest.raises(UserError, match="holds no run"):
        main([*words, "engine=ray", "gpus_per_process=1", "processes_per_run=4", "micro_batch=1"])
    spec, tags = edit(SMOKE.spec, {"seed": 3}), {"preset": "smoke", "ablation": "full"}
    order = Order("full, seed 3", spec, tags, Execution(micro_batch=1), fresh=True)
    assert ordered == [(order, Share("process", 1, 1.0, 4))]
    told = capsys.readouterr().out
    main([*words, "--dry-run"])
    assert told == f"{capsys.readouterr().out}same_id 3 of 4 steps, cross_id 0 of 4 steps\n"


def test_a_launcher_is_refused_before_anything_is_removed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("experiments.experiment.start_fresh", None)
    with pytest.raises(UserError, match="engine=ray starts processes itself; leave the launcher out"):
        main(["preset=smoke", "engine=ray", "--fresh"])


def test_without_ray_nothing_is_removed_and_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("experiments.experiment.start_fresh", None)
    with pytest.raises(UserError, match=r"Ray is not installed; python -m pip install 'ray>=2,<3'"):
        main(["preset=smoke", "engine=ray", "--fresh"])
