"""One training stage in its run directory: builds it, goes on with it, writes checkpoints, the log and the model.

Periodic work is hooks around the library's generator of steps. The same call after a kill ends at the same weights."""

import functools
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn

from directanimator.atomic import atomic_directory, atomic_write, settle, write_json
from directanimator.command import on_stopping, stopped_status
from directanimator.data.pool import Rows
from directanimator.model.backbone import CueBackbone
from directanimator.model.embedded import load_transformer, make_transformer
from directanimator.model.low_rank import add_low_rank, merge_low_rank
from directanimator.model.published import EMPTY_TEXT_FILE
from directanimator.objective.noise_process import make_process
from directanimator.progress import progress
from directanimator.training.background import BackgroundWriter
from directanimator.training.batch import DenoisingBatch, denoising_objective
from directanimator.training.checkpoint import Snapshot, load_checkpoint, load_sharded, save_sharded
from directanimator.training.loop import StepResult, mixed_precision, suitable_attention, train
from directanimator.training.sharding import is_sharded, shard, whole_weights
from directanimator.training.stages import (
    CROSS_ID,
    SAME_ID,
    BatchSource,
    Objective,
    cross_id_objective,
    held_out_loss,
)
from directanimator.training.state import TrainState, load_average, new_state
from experiments.execution import PLAIN, Execution
from experiments.pools import text_tokens
from experiments.record import COMPUTED_IN_TAG, HELD_OUT_LOSS, RunDirectory
from experiments.spec import ExperimentSpec, Stage, stage_fingerprint, steps_of

CHECKPOINT, SHARDED_CHECKPOINT = "state.safetensors", "state_sharded"
CHECKPOINT_SECONDS = 120.0
"""A killed training loses at most this much."""
HELD_OUT_POINTS = 24
"""Points of the curve of the held-out loss."""
PREVIEW_POINTS = 8
"""Of which as many are seen in pictures: a model that samples in many steps takes its time for that."""

Preview = Callable[[CueBackbone], Mapping[str, float]]
"""Scores of a few clips by a model that is still being trained."""
Watch = Callable[[RunDirectory, int], bool]
"""Told of every logged step; whether the training should be given up."""


class StoppedTrainingError(Exception):
    """The training ended before its last step; its checkpoint is written."""


class AbandonedTrainingError(StoppedTrainingError):
    """Whoever watched the training gave it up."""


class InterruptedTrainingError(StoppedTrainingError):
    """A signal asked the training to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; the same command goes on")
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C; else the status to be started again on."""
        return stopped_status(self.signal_number)


@dataclass
class StopRequest:
    """The signal that asked to stop, if one did."""

    signal_number: int | None = None

    def _note(self, signal_number: int, _frame: FrameType | None) -> None:
        self.signal_number = signal_number


@dataclass(frozen=True)
class Wish:
    """What a process wants to happen after a step."""

    stopped_by: int = 0
    """A signal's number; 0 for none."""
    abandon: bool = False
    save: bool = False

    def agreed(self, accelerator: Accelerator) -> "Wish":
        """What any of the processes wants; the same answer in all of them."""
        if accelerator.num_processes == 1:
            return self
        own = torch.tensor([[self.stopped_by, self.abandon, self.save]], device=accelerator.device)
        stopped_by, abandon, save = accelerator.gather(own).amax(dim=0).tolist()
        return Wish(stopped_by, bool(abandon), bool(save))


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """A block in which SIGINT, SIGTERM and SIGUSR1 are noted instead of obeyed at once."""
    request = StopRequest()
    with on_stopping(request._note):
        yield request


def unwatched(_run: RunDirectory, _step: int) -> bool:
    """False: the training goes on to its last step."""
    return False


def unseen(_model: CueBackbone) -> Mapping[str, float]:
    """Nothing: no clips are looked at before the training ends."""
    return {}


@dataclass(frozen=True, eq=False)
class StageJob:
    """A stage to be trained: what to minimize, from where, on what."""

    spec: ExperimentSpec
    stage: Stage
    pool: Mapping[str, Rows]
    teacher: CueBackbone | None
    """The frozen same-ID model; None in the same-ID stage."""
    execution: Execution = PLAIN
    held_out: Mapping[str, Rows] | None = None
    """Clips that are not trained on, whose loss is followed; None where nobody asks."""
    watch: Watch = unwatched
    preview: Preview = unseen

    @property
    def fingerprint(self) -> str:
        """Names the weights that this stage ends with."""
        return stage_fingerprint(self.spec, self.stage)

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return steps_of(self.spec, self.stage)

    def model(self) -> CueBackbone:
        """The model at step 0: the base, or in the cross-ID stage a copy of the teacher."""
        return self._started(self.teacher if self.spec.cross_id.init == "teacher" else None)

    def untrained(self) -> CueBackbone:
        """A model of the same shape, from the base."""
        return self._started(None)

    def _started(self, teacher: CueBackbone | None) -> CueBackbone:
        model = make_transformer(self.spec.model, self.spec.seed)
        if teacher is not None:
            model.load_state_dict(teacher.state_dict())
        if self.spec.optim.lora_rank is not None:
            add_low_rank(model, self.spec.optim.lora_rank, self.spec.seed)
        return model

    def objective(self) -> Objective:
        """What the stage minimizes."""
        process = make_process(self.spec.sampling)
        if self.teacher is None:
            return denoising_objective(process)
        return cross_id_objective(process, self.teacher, self.spec.same2x)

    def batches(self, accelerator: Accelerator) -> BatchSource:
        """This process's batches by step."""
        return self._source(self.pool, accelerator)

    def held_out_loss(self, model: nn.Module, accelerator: Accelerator) -> float | None:
        """The denoising loss on clips that are not trained on, noise and timesteps fixed; None if there are none."""
        if self.held_out is None:
            return None
        process = make_process(self.spec.sampling)
        with mixed_precision(model, accelerator), suitable_attention(accelerator):
            return held_out_loss(model, self._source(self.held_out, accelerator), process)

    def _source(self, pool: Mapping[str, Rows], accelerator: Accelerator) -> BatchSource:
        return BatchSource(
            pool=pool,
            cues=self.spec.cues,
            optim=self.spec.optim,
            denoising=self.spec.denoising,
            seed=self.spec.seed,
            stage=SAME_ID if self.stage == "same_id" else CROSS_ID,
            empty_text=text_tokens(self.spec.model, [""]),
            latent_frames=self.spec.model.padded(self.spec.data.latent_frames),
            same_id_share=1.0 if self.stage == "same_id" else self.spec.cross_id.same_id_share,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )


def train_stage(job: StageJob, run: RunDirectory, accelerator: Accelerator) -> None:
    """Nothing; afterwards `run.model` holds the averaged weights of the whole stage.

    Raises: StoppedTrainingError after a signal to stop, or when given up, with a checkpoint written."""
    model = job.model()
    if job.execution.checkpointing:
        model.enable_gradient_checkpointing()
    for part in (model, *([] if job.teacher is None else [job.teacher])):
        if job.execution.sharding:
            shard(part, accelerator.device.type)
        part.to(accelerator.device)
    state = new_state(model, job.spec.optim)
    Checkpoint(run.checkpoint, job.fingerprint).load(state, accelerator)
    if accelerator.is_main_process:
        run.metrics.truncate_after(state.step)
    try:
        run_steps(state, job, run, accelerator)
    finally:
        accelerator.free_memory()  # it keeps what it has prepared, and serves the next stage too
    load_average(state)
    weights = whole_weights(model) if is_sharded(model) else None
    if accelerator.is_main_process:
        if weights is not None:
            model = job.untrained()
            model.load_state_dict(weights)
        merge_low_rank(model)
        save_model(model, run.model, job)
    accelerator.wait_for_everyone()


def run_steps(state: TrainState, job: StageJob, run: RunDirectory, accelerator: Accelerator) -> None:
    """Nothing; does the steps that are left, with log and progress on the main process alone, and checkpoints, of which
    the last one is on disk when this ends, however it ends.

    Raises: StoppedTrainingError after a signal to stop, or when given up, with a checkpoint written;
        DivergedTrainingError."""
    batches, optim = job.batches(accelerator), job.spec.optim
    micro, main = job.execution.micro_batch, accelerator.is_main_process

    def batch_at(step: int) -> DenoisingBatch:
        return batches.batch_at(step).to(accelerator.device)

    def split(batch: DenoisingBatch) -> list[DenoisingBatch]:
        return [batch] if micro is None else batch.parts(micro)

    results: Iterable[StepResult] = train(state, batch_at, job.objective(), job.steps, optim, accelerator, split)
    if main:
        results = progress(results, job.stage.replace("_id", "-ID training"), total=job.steps, done=state.step)
    checkpoint = Checkpoint(run.checkpoint, job.fingerprint)
    with stop_requests() as request, BackgroundWriter() as writer:
        for result in results:
            aside = _measured_aside(state, job, accelerator) if main or is_sharded(state.model) else {}
            if main:
                measured = {f"train/{name}": value for name, value in result.metrics.items()}
                run.metrics.append(result.step, measured | aside)
            own = Wish(request.signal_number or 0, main and job.watch(run, result.step), main and checkpoint.is_due)
            wish = own.agreed(accelerator)
            if wish.stopped_by or wish.abandon or wish.save or result.step == job.steps:
                checkpoint.save(state, accelerator, writer)
            if wish.stopped_by:
                raise InterruptedTrainingError(wish.stopped_by)
            if wish.abandon:
                raise AbandonedTrainingError(f"given up after step {result.step} of {job.steps}")


def _measured_aside(state: TrainState, job: StageJob, accelerator: Accelerator) -> dict[str, float]:
    """The held-out loss and the scores of the preview, where their turn has come. They draw no random number."""
    measured: dict[str, float] = {}
    if _is_point(state.step, job.steps, HELD_OUT_POINTS):
        loss = job.held_out_loss(state.model, accelerator)
        measured |= {} if loss is None else {HELD_OUT_LOSS: loss}
    if _is_point(state.step, job.steps, PREVIEW_POINTS):
        assert isinstance(state.model, CueBackbone)
        measured |= job.preview(state.model)
    return measured


def _is_point(step: int, steps: int, points: int) -> bool:
    """Whether a step is one of so many that are spread evenly over the stage and end with it."""
    points = min(steps, points)
    return step * points // steps != (step - 1) * points // steps


class Checkpoint:
    """The state of a stage on disk: one file, or one of every process where the model is sharded.

    Whichever it is, a training goes on from it, however it is carried out itself. One file is written in the
    background, from a copy of the state. Shards are written while the training waits, since all processes have to
    meet for it."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self._whole, self._sharded = directory / CHECKPOINT, directory / SHARDED_CHECKPOINT
        self._fingerprint = fingerprint
        self._saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last one is too long ago."""
        return time.monotonic() - self._saved > CHECKPOINT_SECONDS

    def load(self, state: TrainState, accelerator: Accelerator) -> None:
        """Nothing; puts what was saved, if anything was, into a fresh state. All processes must call it.

        Both are there when a process was killed between writing one and removing the other. The file is whole then;
        shards are removed one by one.
        Raises: UserError if it is damaged or of another spec."""
        with accelerator.main_process_first():
            settle(self._sharded)
        if self._whole.exists():
            load_checkpoint(state, self._whole, self._fingerprint)
        elif self._sharded.exists():
            load_sharded(state, self._sharded, self._fingerprint)

    def save(self, state: TrainState, accelerator: Accelerator, writer: BackgroundWriter) -> None:
        """Nothing; begins to write the state, in place of an older one of either kind. All processes must call it.

        Raises: UserError if this one or the one before cannot be written."""
        if is_sharded(state.model):
            save_sharded(state, self._sharded, self._fingerprint)
            if accelerator.is_main_process:
                self._whole.unlink(missing_ok=True)
        elif accelerator.is_main_process:
            writer.wait()  # one copy of the state is enough
            writer.start(functools.partial(self._write, Snapshot.of(state)))
        self._saved = time.monotonic()

    def _write(self, snapshot: Snapshot) -> None:
        snapshot.write(self._whole, self._fingerprint)
        shutil.rmtree(self._sharded, ignore_errors=True)


def save_model(model: CueBackbone, directory: Path, job: StageJob) -> None:
    """Nothing; writes a model that `animate` and MLflow can take: weights, the spec, and a card."""
    with atomic_directory(directory) as draft:
        model.save_pretrained(draft / "transformer")
        _describe(draft, job.spec, job.stage)


def adopt_model(donor: RunDirectory, run: RunDirectory, spec: ExperimentSpec, stage: Stage) -> None:
    """Nothing; afterwards `run` has the donor's weights and training log, as if it had done the very same training."""
    atomic_write(run.metrics.path, donor.metrics.path.read_bytes())
    run.update(tags={"weights_of": donor.path.name, COMPUTED_IN_TAG: donor.record().tags.get(COMPUTED_IN_TAG, "?")})
    with atomic_directory(run.model) as draft:
        shutil.copytree(donor.model / "transformer", draft / "transformer")
        _describe(draft, spec, stage)


def _describe(directory: Path, spec: ExperimentSpec, stage: Stage) -> None:
    if spec.model.text_encoder != "none":
        save_file({"text": text_tokens(spec.model, [""])}, directory / EMPTY_TEXT_FILE)
    write_json(directory / "spec.json", spec.model_dump(mode="json"))
    (directory / "README.md").write_text(_card(spec, stage))


def _card(spec: ExperimentSpec, stage: Stage) -> str:
    return (
        f"# DirectAnimator, {stage.replace('_', '-')} stage\n\n"
        f"Fingerprint {stage_fingerprint(spec, stage)}; {steps_of(spec, stage)} steps; seed {spec.seed}; "
        f"trained on {spec.data.source} clips of {spec.data.size} px.\nThe spec is in spec.json. Use:\n\n"
        "    python -m directanimator.animate reference=a.png driving=b.mp4 output=c.mp4 checkpoint=THIS_DIRECTORY\n"
    )


def trained_model(run: RunDirectory, spec: ExperimentSpec) -> CueBackbone:
    """The run's trained model, frozen.

    Raises: UserError if it is missing, damaged or of another architecture."""
    return load_transformer(run.model / "transformer", spec.model)
