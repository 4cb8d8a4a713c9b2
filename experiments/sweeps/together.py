"""Trials by all processes that a launcher started: the first one draws and judges, and the others do as it says.

All of them see one set of parameters, and what is given up is given up by all after the same step."""

from accelerate.utils import broadcast_object_list

from directanimator.frozen import FrozenSpec
from directanimator.training.loop import DivergedTrainingError
from experiments import experiment
from experiments.execution import Execution, started_processes
from experiments.record import RunDirectory
from experiments.spec import ExperimentSpec
from experiments.stage import AbandonedTrainingError, InterruptedTrainingError, Watch

_NO_MORE = ""


class TrialRun(FrozenSpec):
    """A run that all processes are to make."""

    spec: ExperimentSpec
    tags: dict[str, str]


class Together:
    """The processes of a sweep, as one of them sees them; it may be the only one."""

    def __init__(self, spec: ExperimentSpec, execution: Execution) -> None:
        """Meets the others, who are all told to train in this way.

        Raises: UserError if they are not connected, or the global batch does not divide over them."""
        self._execution = execution
        self._are_several = started_processes() > 1
        if self._are_several:
            experiment.launch(spec)

    def run(self, trial: TrialRun, watch: Watch) -> RunDirectory:
        """The finished run of a trial that the others hear and follow. Called by the first process alone.

        Raises: as `run_experiment`."""
        self._exchange(trial.model_dump_json())
        return experiment.run_experiment(trial.spec, trial.tags, watch=watch, wait=True, execution=self._execution)

    def dismiss(self) -> None:
        """Nothing; the others need not wait for another trial. Called by the first process alone."""
        self._exchange(_NO_MORE)

    def follow(self) -> int:
        """Exit status of every process but the first, which makes the runs that it is told until it is dismissed.

        Raises: as `run_experiment`; the launcher then ends the other processes."""
        while text := self._exchange(_NO_MORE):
            trial = TrialRun.model_validate_json(text)
            try:
                experiment.run_experiment(trial.spec, trial.tags, wait=True, execution=self._execution)
            except (AbandonedTrainingError, DivergedTrainingError):
                continue
            except InterruptedTrainingError as stop:
                return stop.exit_status
        return 0

    def _exchange(self, text: str) -> str:
        """What the first process says, whatever the others pass."""
        if not self._are_several:
            return text
        (said,) = broadcast_object_list([text])
        return str(said)
