"""Studies that several workers share: who draws which parameters, who takes over from the dead, what to give up.

A worker holds a lock file of the kernel's for the trial that it runs. The lock of a killed worker is free, so that the
next one who asks takes the trial over: same number, same parameters. Where studies are in a file, locks lie beside it,
and workers of all machines that share the file meet there. Where they are on a server, locks tell of one machine alone:
the trials of a worker that was killed wait for its own machine, and those that were left politely are the server's to
give away: they are WAITING there, and it makes them RUNNING for a single one of those who ask."""

import contextlib
import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from directanimator.atomic import explained
from directanimator.digests import digest
from directanimator.errors import UserError
from experiments.edit import Leaf
from experiments.record import locked
from experiments.sweeps.space import STUDY_DIGITS, Choice, Domain, Sweep, ends, holds_integers, storage_file
from experiments.sweeps.storage import open_storage, quiet, storage_explained
from experiments.tracking.address import public_uri

State = Literal["complete", "pruned", "failed", "running"]

REPORTS = 9
"""Reports of a training that hyperband watches: rungs after 1, 3 and all 9."""
WILCOXON_P = 0.1
MOST_DEATHS = 4
"""Workers that may die of one trial before it is failed: it may be what kills them."""
UNCLAIMED_S = 60.0
"""Age at which a trial on a server, that no worker has signed for, is taken to be left by one that died."""
POLL_S = 0.2
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


@dataclass(frozen=True)
class Result:
    """A trial as it stands."""

    number: int
    state: State
    edits: dict[str, Leaf]
    values: dict[str, float]
    """Objectives and constraints by metric; empty unless the trial is complete."""
    feasible: bool
    """Whether every constraint is met."""
    estimated: bool
    """Whether seeds were left out, so that the objective is estimated from those there are."""
    reason: str
    """Why it failed; empty otherwise."""
    seconds: float
    """From the first start to the end, or until now; on a server, from when a trial that was left was last taken up."""


class Trial:
    """A drawn set of parameters that this worker alone tries."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, sweep: Sweep, artifacts: Path, address: str) -> None:
        self._study, self._trial, self._sweep = study, trial, sweep
        self._artifacts, self._address = artifacts, address
        self.number: int = trial.number
        self.edits: dict[str, Leaf] = {path: _suggested(trial, path, d) for path, d in sweep.space.items()}

    def report(self, step: int, value: float) -> bool:
        """Whether the trial should be given up, by what it and others reported at their steps so far."""
        with storage_explained(self._address):
            if step not in self._frozen().intermediate_values:
                self._trial.report(value, step)
            return self._trial.should_prune()

    def estimate(self) -> dict[str, float]:
        """The objective of a trial that leaves out seeds: the best trial's mean plus their difference on shared seeds.

        A plain mean over fewer seeds would compare easy seeds with hard ones."""
        with storage_explained(self._address):
            ours, best = self._frozen().intermediate_values, self._study.best_trial.intermediate_values
        shared = [ours[step] - best[step] for step in ours if step in best]
        objective = self._sweep.objectives[0].metric
        return {objective: math.fsum(best.values()) / len(best) + math.fsum(shared) / len(shared)}

    def complete(self, values: Mapping[str, float], *, estimated: bool = False) -> None:
        """Nothing; the trial is done, with a number for every metric of the sweep; it fails if one is NaN."""
        missing = [metric for metric in self._sweep.metrics if not math.isfinite(values[metric])]
        if missing:
            self.fail(f"{', '.join(missing)} has no value")
            return
        with storage_explained(self._address):
            self._trial.set_user_attr("values", {metric: values[metric] for metric in self._sweep.metrics})
            self._trial.set_user_attr("estimated", estimated)
            known = self._frozen().constraints
            for limit in self._sweep.constraints:
                if limit.metric not in known:
                    self._trial.set_constraint(limit.metric, limit.excess(values[limit.metric]))
            self._study.tell(self._trial, [values[goal.metric] for goal in self._sweep.objectives])

    def give_up(self) -> None:
        """Nothing; the trial is done without a result, as `report` advised."""
        with storage_explained(self._address):
            self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Nothing; the trial is done, and this is why it has no result."""
        with storage_explained(self._address):
            self._trial.set_user_attr("reason", reason)
            self._study.tell(self._trial, state=TrialState.FAIL)

    def is_hopeless(self, refusal: str) -> bool:
        """Whether the trial was refused for this reason as often as one may die; counted from call to call."""
        with storage_explained(self._address):
            known = self._frozen().user_attrs
            times = 1 + (int(known.get("refusals", 0)) if known.get("refusal") == refusal else 0)
            self._trial.set_user_attr("refusal", refusal)
            self._trial.set_user_attr("refusals", times)
        return times >= MOST_DEATHS

    def describe(self, note: str, files: Sequence[Path], **facts: object) -> None:
        """Nothing; the dashboard shows the note (Markdown) and copies of the files with the unfinished trial."""
        from optuna.artifacts import FileSystemArtifactStore, upload_artifact
        from optuna_dashboard import save_note

        with storage_explained(self._address), explained(self._artifacts):
            self._artifacts.mkdir(parents=True, exist_ok=True)
            for file in files:
                store = FileSystemArtifactStore(str(self._artifacts))
                upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=self._trial)
            save_note(self._trial, note)
            for name, fact in facts.items():
                self._trial.set_user_attr(name, fact)

    def _frozen(self) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[self.number]


@dataclass(frozen=True)
class Claim:
    """A trial, and the lock that makes it this worker's."""

    trial: Trial
    _lock: contextlib.ExitStack
    _leave: contextlib.ExitStack

    def leave(self) -> None:
        """Nothing; an unfinished trial waits for whoever asks next, and this is not counted as a death."""
        self._leave.close()
        self.drop()

    def drop(self) -> None:
        """Nothing; the lock is free, as it is when the process dies."""
        self._lock.close()


class Search:
    """One study, as one worker sees it."""

    def __init__(self, name: str, sweep: Sweep, seed: int, address: str, place: Path) -> None:
        """Opens the study, or makes it. `place` holds artifacts, and the locks where `address` is a server's; it is one
        for all workers of a machine.

        Raises: UserError, in one line, if the storage cannot be used."""
        self._name, self._sweep, self._seed, self._address = name, sweep, seed, address
        self._artifacts = place / "artifacts"
        file = storage_file(address)
        self._is_server = file is None
        self._place = digest(f"{socket.gethostname()}:{place.absolute()}", STUDY_DIGITS)
        beside, known = (place, public_uri(address)) if file is None else (file.parent, file.name)
        self._locks = beside / "locks" / f"{name}-{digest(known, STUDY_DIGITS)}"
        with storage_explained(address):
            storage = open_storage(address)
            directions = [goal.direction for goal in sweep.objectives]
            self.study = optuna.create_study(
                study_name=name, storage=storage, directions=directions, load_if_exists=True, pruner=_pruner(sweep)
            )
            self._introduce()

    def _introduce(self) -> None:
        if "question" not in self.study.user_attrs:
            self.study.set_metric_names([goal.metric for goal in self._sweep.objectives])
            self.study.set_user_attr("question", self._sweep.question)

    @contextlib.contextmanager
    def next_trial(self, budget: int) -> Iterator[Trial | None]:
        """A trial that is this worker's until the block ends; None when `budget` trials are done, by whomever.

        Waits while others run the last ones, to take over from those who die. An exception leaves the trial unfinished:
        the next worker, or the next call, goes on with it.
        Raises: UserError if the storage cannot be used."""
        while isinstance(claim := self.claim(budget), str):
            time.sleep(POLL_S)
        if claim is None:
            yield None
            return
        try:
            yield claim.trial
        except (RuntimeError, MemoryError):  # its own fault, as far as anyone can tell
            claim.drop()
            raise
        except BaseException:
            claim.leave()
            raise
        claim.drop()

    def claim(self, budget: int) -> Claim | Literal["busy"] | None:
        """A trial of a dead worker, else a new one; "busy" if others hold all that is left; None if nothing is left."""
        with locked(self._locks / "ask.lock"), storage_explained(self._address):
            trials = self.study.get_trials(deepcopy=False)
            ours = [trial for trial in trials if not trial.state.is_finished() and self._is_ours(trial)]
            for orphan in ours:
                claim = self._taken_over(orphan.number)
                if claim is not None:
                    return claim
            if len(trials) < budget:
                return self._asked(len(trials))
            running = any(self._is_held(trial.number) for trial in ours)
        return "busy" if running else None

    def results(self) -> list[Result]:
        """Every trial, by number.

        Raises: UserError if the storage cannot be used."""
        with storage_explained(self._address):
            return [_result(trial) for trial in self.study.get_trials(deepcopy=False)]

    def best(self) -> list[Result]:
        """The best feasible trial, or all that no other one beats in every objective; empty if none is complete."""
        with storage_explained(self._address):
            complete = [t for t in self.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
            if not any(_is_feasible(trial) for trial in complete):
                return []
            found = self.study.best_trials if len(self._sweep.objectives) > 1 else [self.study.best_trial]
            return [_result(trial) for trial in found]

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether the unfinished trial is this worker's to take once its lock is free. Called with the lock for asking.

        Who takes up a trial that was left signs for it a moment later, and until then it bears the old signature."""
        if not self._is_server or trial.state == TrialState.WAITING:
            return True
        if trial.user_attrs.get("place", self._place) != self._place:
            return False
        is_signed = "place" in trial.user_attrs and not trial.user_attrs.get("left", False)
        started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        return is_signed or time.time() - started > UNCLAIMED_S

    def _lock_of(self, number: int) -> Path:
        return self._locks / f"trial_{number}.lock"

    def _held(self, number: int) -> contextlib.ExitStack | None:
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(locked(self._lock_of(number), wait=False))
        except UserError:
            return None
        return stack

    def _is_held(self, number: int) -> bool:
        stack = self._held(number)
        if stack is not None:
            stack.close()
        return stack is None

    def _taken_over(self, number: int) -> Claim | None:
        stack = self._held(number)
        if stack is None:
            return None
        with stack:
            orphan = self.study.get_trials(deepcopy=False)[number]  # its worker may have ended it just before
            if orphan.state.is_finished() or not self._is_ours(orphan) or not self._is_given(orphan):
                return None
            self.study.sampler = self._sampler(number)
            trial = optuna.trial.Trial(self.study, orphan._trial_id)
            deaths = int(orphan.user_attrs.get("deaths", 0)) + (not orphan.user_attrs.get("left", False))
            trial.set_user_attr("deaths", deaths)
            if deaths >= MOST_DEATHS:
                trial.set_user_attr("reason", f"{deaths} workers died of it")
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            return self._claim(trial, stack)

    def _is_given(self, orphan: FrozenTrial) -> bool:
        """Whether the trial may be gone on with; of several who ask for one that waits, the storage says yes to one."""
        if orphan.state != TrialState.WAITING:
            return True
        try:
            return self.study._storage.set_trial_state_values(orphan._trial_id, TrialState.RUNNING)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    def _asked(self, number: int) -> Claim:
        """A new trial, or one that another machine has left this very moment."""
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self._lock_of(trial.number)))
            return self._claim(trial, stack)

    def _claim(self, trial: optuna.Trial, stack: contextlib.ExitStack) -> Claim:
        """The claim, signed; it takes over what the stack holds."""
        if self._is_server:
            trial.set_user_attr("place", self._place)
        if trial.user_attrs.get("left", False):  # after the place, or the machine that left it would take it back
            trial.set_user_attr("left", False)
        leave = contextlib.ExitStack()
        leave.callback(self._note_left, trial)
        claimed = Trial(self.study, trial, self._sweep, self._artifacts, self._address)
        return Claim(claimed, stack.pop_all(), leave)

    def _note_left(self, trial: optuna.Trial) -> None:
        with storage_explained(self._address):
            if self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                return
            trial.set_user_attr("left", True)
            if self._is_server:
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler for the draw of a trial, seeded by its number: to draw it again gives the same."""
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if self._sweep.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    with quiet():
        if sweep.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=REPORTS, reduction_factor=3)
        if sweep.pruner == "wilcoxon":
            return optuna.pruners.WilcoxonPruner(p_threshold=WILCOXON_P)
    return optuna.pruners.NopPruner()


def _suggested(trial: optuna.Trial, path: str, domain: Domain) -> Leaf:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(path, domain.values)
    low, high = ends(domain)
    if holds_integers(path):
        return trial.suggest_int(path, int(low), int(high), step=int(domain.step or 1), log=domain.log)
    return trial.suggest_float(path, low, high, step=domain.step, log=domain.log)


def _result(trial: FrozenTrial) -> Result:
    ended = trial.datetime_complete.timestamp() if trial.datetime_complete else time.time()
    return Result(
        number=trial.number,
        state=_STATES[trial.state],
        edits=dict(trial.params),
        values=dict(trial.user_attrs.get("values", {})),
        feasible=_is_feasible(trial),
        estimated=bool(trial.user_attrs.get("estimated", False)),
        reason=str(trial.user_attrs.get("reason", "")),
        seconds=ended - trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
    )


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(excess <= 0 for excess in trial.constraints.values())
