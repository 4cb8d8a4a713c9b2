"""One experiment from spec to evaluated model: the same-ID stage, then the cross-ID stage, each a run directory.

A directory is named by its stage's fingerprint, so variants that do not change the same-ID stage share one teacher.
What is finished is not done again; what was interrupted goes on."""

import functools
import gc
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState

from ablations.registry import ABLATIONS
from directanimator.data.pool import Rows
from directanimator.errors import UserError
from directanimator.model.backbone import CueBackbone
from directanimator.model.codec import VideoCodec
from directanimator.model.embedded import make_codec
from directanimator.model.precision import device_kind, precision_on
from directanimator.model.published import check_scheduler
from directanimator.model.spec import ModelSpec, Precision
from directanimator.objective.noise_process import published_settings
from directanimator.places import runs_root
from directanimator.training.loop import make_accelerator
from experiments.edit import diff, format_value
from experiments.evaluation.evaluate import evaluate, is_evaluated
from experiments.evaluation.measures import check_networks, networks_for
from experiments.evaluation.preview import preview
from experiments.execution import PLAIN, Execution, check_batch, check_execution, started_processes
from experiments.pools import (
    BASE_TAG,
    ORIGIN_TAGS,
    captions_of,
    check_pairs,
    held_out_pool,
    origin_tags,
    text_tokens,
    train_pool,
)
from experiments.presets import DEFAULT_PRESET, PRESETS
from experiments.record import COMPUTED_IN_TAG, TITLE_TAG, VARIANT_TAG, RunDirectory, Status, commit_tags, then
from experiments.spec import (
    STAGES,
    WEIGHTS_TAG,
    ExperimentSpec,
    Stage,
    data_fingerprint,
    stage_fingerprint,
    stage_leaves,
    stage_name,
    weights_fingerprint,
)
from experiments.stage import (
    StageJob,
    StoppedTrainingError,
    Watch,
    adopt_model,
    train_stage,
    trained_model,
    unwatched,
)
from experiments.tracking.address import EXPERIMENT, default_uri
from experiments.tracking.tracker import MlflowTracker, NullTracker, Tracker

PATIENCE = timedelta(days=2)
"""How long processes wait for the first one, which prepares clips and evaluates alone. Whoever dies ends the launcher's
other processes at once, so that patience hides nothing."""


def launch(spec: ExperimentSpec) -> Accelerator:
    """The processes of this training: one, or as many as the launcher started.

    Raises: UserError if the launcher and accelerate disagree, or the global batch does not divide."""
    _set_imports_aside()
    waiting = InitProcessGroupKwargs(timeout=PATIENCE)
    AcceleratorState._reset_state()  # it keeps the first precision for good, and a table may train variants of two
    accelerator = make_accelerator(spec.optim.precision, waiting)
    expected = started_processes()
    if accelerator.num_processes != expected:
        raise UserError(f"the launcher started {expected} processes, but {accelerator.num_processes} are connected")
    check_batch(spec.optim.global_batch_size, accelerator.num_processes)
    if accelerator.is_main_process and computed_in(spec) != spec.optim.precision:
        _say_precision()
    return accelerator


@functools.cache
def _set_imports_aside() -> None:
    """Nothing; what the process has loaded so far is not looked through when memory is freed after a training.

    A million objects that stay for good: a third of a second, more than a short trial. Once only, since what is garbage
    now is not found later."""
    gc.collect()
    gc.freeze()


def computed_in(spec: ExperimentSpec) -> Precision:
    """The precision of products on this machine."""
    return precision_on(device_kind(), spec.optim.precision)


def how_computed(spec: ExperimentSpec) -> str:
    """In what precision a training here is computed, and on what."""
    device = torch.cuda.get_device_name() if device_kind() == "cuda" else f"{torch.get_num_threads()} threads"
    processes = started_processes()
    return f"{computed_in(spec)} on {device}" + (f" in each of {processes} processes" if processes > 1 else "")


def variant_of(spec: ExperimentSpec, preset: str, ablation: str) -> str:
    """What is trained, but for its seed, in the words that ask for it: only seeds of one variant are averaged."""
    told = {"seed", *ABLATIONS[ablation].edits}
    others = {path: value for path, value in diff(PRESETS[preset].spec, spec).items() if path not in told}
    edits = [f"{path}={format_value(value)}" for path, value in others.items()]
    return ", ".join([ablation, *edits, *([f"preset={preset}"] if preset != DEFAULT_PRESET else [])])


@functools.cache
def _say_precision() -> None:
    print("note: this processor does not multiply in bf16; products are made in fp32", flush=True)


@contextmanager
def held_stage(
    spec: ExperimentSpec, stage: Stage, tags: dict[str, str], accelerator: Accelerator, *, wait: bool
) -> Iterator[RunDirectory]:
    """The run directory of a stage, in which only these processes train meanwhile; with `wait`, once nobody else does.

    Claimed when it is held: who finds it in use has made nothing of it.

    Raises: UserError if another process trains there, unless `wait`."""
    run = RunDirectory(runs_root() / stage_name(spec, stage))
    with run.exclusive(wait=wait) if accelerator.is_main_process else nullcontext():
        with accelerator.main_process_first():  # whether it is trained can be known once nobody else is at it
            claim_stage(spec, stage, tags)
        yield run


def claim_stage(spec: ExperimentSpec, stage: Stage, tags: dict[str, str]) -> RunDirectory:
    """The run directory of a stage. One that is finished keeps the tags that it has, and gets those that it lacks."""
    print_of_stage = stage_fingerprint(spec, stage)
    who = "same-ID teacher" if stage == "same_id" else tags["ablation"]
    if "trial" in tags:
        who = f"{tags['study']} trial {tags['trial']}, {who}"
    if "reproduction_of" in tags:
        who = f"reproduction, {who}"
    known = {
        TITLE_TAG: f"{who}, seed {spec.seed}, {print_of_stage[:6]}",
        "stage": stage,
        "seed": str(spec.seed),
        "fingerprint": print_of_stage,
        "data_fingerprint": data_fingerprint(spec),
        WEIGHTS_TAG: weights_fingerprint(spec),
    }
    if stage == "cross_id" and not {"trial", "reproduction_of"} & tags.keys():
        known[VARIANT_TAG] = variant_of(spec, tags["preset"], tags["ablation"])
    name = stage_name(spec, stage)
    run = RunDirectory(runs_root() / name)
    before = run.record().tags if run.record_file.exists() else {}
    told = tags | known
    if _is_finished(run):  # or its numbers would be told to be of this commit, these videos, this trial
        told = {tag: value for tag, value in told.items() if tag not in before}
    else:
        made = {**commit_tags(), COMPUTED_IN_TAG: how_computed(spec)}
        told |= {tag: then(before.get(tag), now) for tag, now in made.items()} | origin_tags(spec, stage)
    return RunDirectory.claim(runs_root(), name, spec=stage_leaves(spec, stage), tags=told, experiment=EXPERIMENT)


def _is_finished(run: RunDirectory) -> bool:
    return run.record_file.exists() and run.status == "finished"


def adopt_trained(run: RunDirectory, spec: ExperimentSpec) -> None:
    """Nothing; gives a cross-ID run that is new the weights of one that differs only in sampling and evaluation."""
    if is_trained(run) or any(run.checkpoint.glob("*")):
        return
    taken = run.record().tags
    for path in sorted(run.path.parent.glob("cross_id-*")):
        donor = RunDirectory(path)
        if donor == run or not is_trained(donor):
            continue
        given = donor.told
        if all(given.get(tag) == taken.get(tag) for tag in (*ORIGIN_TAGS, WEIGHTS_TAG)):
            adopt_model(donor, run, spec, "cross_id")
            return


def check_same_clips(spec: ExperimentSpec) -> None:
    """Nothing, unless a run of this spec was begun with other videos, pairs or another base: then it is neither gone on
    with nor shown.

    Raises: UserError."""
    for stage in STAGES:
        run = RunDirectory(runs_root() / stage_name(spec, stage))
        if other := other_origin(run, spec, stage):
            raise UserError(f"{other}; remove that directory, and the run is made with what is there")


def other_origin(run: RunDirectory, spec: ExperimentSpec, stage: Stage) -> str:
    """That the run, if there is one, was begun with other videos, pairs or base than are there now; empty if not."""
    tags, now = run.record().tags if run.record_file.exists() else {}, origin_tags(spec, stage)
    for what in ORIGIN_TAGS:
        if what in tags and tags[what] != now.get(what):
            place = spec.model.base if what == BASE_TAG else spec.data.folder
            return f"{run.path} was begun with other {what} in {place} ({tags[what]}, now {now.get(what)})"
    return ""


def start_fresh(spec: ExperimentSpec) -> None:
    """Nothing; removes what an earlier call with this spec left, finished or not.

    Raises: UserError if another process trains there."""
    with ExitStack() as held:
        runs = [RunDirectory(runs_root() / stage_name(spec, stage)) for stage in STAGES]
        there = [run for run in runs if run.path.exists()]
        for run in there:
            held.enter_context(run.exclusive())
        for run in there:
            shutil.rmtree(run.path, ignore_errors=True)


def tracker_for(accelerator: Accelerator, address: str | None) -> Tracker:
    """MLflow on the main process; nothing elsewhere."""
    return MlflowTracker(address or default_uri()) if accelerator.is_main_process else NullTracker()


def run_stage(
    job: StageJob, run: RunDirectory, accelerator: Accelerator, tracker: Tracker, codec: VideoCodec
) -> CueBackbone:
    """The stage's trained model, frozen; trains and evaluates what is missing.

    Raises: StoppedTrainingError after SIGINT or SIGTERM, or when given up, with the run's status set."""
    status: Status = "failed"
    networks = networks_for(job.spec, job.stage)
    # A finished teacher keeps the scores of the run that it was trained for: others have other samplers and splits.
    is_judged = job.stage == "same_id" and _is_finished(run) and run.evaluation_file.exists()
    is_judged = is_judged or is_evaluated(run, job.spec, networks)
    was_done = _is_finished(run) and is_trained(run) and is_judged
    if accelerator.is_main_process and not was_done:
        run.update(status="running")
    tracker.start(run)
    try:
        if not is_trained(run):
            train_stage(job, run, accelerator)
        model = trained_model(run, job.spec)
        if accelerator.is_main_process and not is_judged:
            evaluate(model.to(accelerator.device), codec, job.spec, run, networks)
        status = "finished"
    except (StoppedTrainingError, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        if accelerator.is_main_process and not was_done:  # what was finished keeps its seal, and shows if it was edited
            run.finish() if status == "finished" else run.update(status=status)
            if status == "finished":  # there is nothing to go on with, and it is four times as large as the model
                shutil.rmtree(run.checkpoint, ignore_errors=True)
        tracker.finish()
    accelerator.wait_for_everyone()
    return model


def _check_that_it_can_be_measured(spec: ExperimentSpec) -> None:
    """Nothing, unless weights are missing by which the run is still to be judged: known before days of training.

    Raises: UserError."""
    networks = networks_for(spec, "cross_id")
    run = RunDirectory(runs_root() / stage_name(spec, "cross_id"))
    if networks and not is_evaluated(run, spec, networks):
        check_networks(networks)


def is_trained(run: RunDirectory) -> bool:
    """Whether the stage's last step is done."""
    return run.is_trained


@functools.lru_cache(maxsize=1)
def _codec(model: ModelSpec) -> VideoCodec:
    """The codec; kept, so that what follows from it and the test clips is worked out once for all variants."""
    return make_codec(model, tiling=True, device=device_kind())


@dataclass(frozen=True, eq=False)
class Start:
    """What an experiment has before its first step."""

    accelerator: Accelerator
    codec: VideoCodec
    pool: Mapping[str, Rows]
    held_out: Mapping[str, Rows]


def prepared(spec: ExperimentSpec, execution: Execution = PLAIN) -> Start:
    """The processes, the codec and the clips of an experiment; clips are made on the first call.

    Raises: UserError for what cannot be met."""
    accelerator = launch(spec)
    _check_that_it_can_be_measured(spec)
    check_pairs(spec)
    check_same_clips(spec)
    check_execution(execution, spec.optim.global_batch_size, accelerator.num_processes)
    if spec.model.codec != "embedded":
        check_scheduler(spec.model.base, published_settings(spec.sampling))
    codec = _codec(spec.model)
    with accelerator.main_process_first():
        pool, held_out = train_pool(spec), held_out_pool(spec)
        text_tokens(spec.model, ["", *captions_of(spec)])  # now, and not on a GPU that trains
    return Start(accelerator, codec, pool, held_out)


def train_teacher(
    start: Start, spec: ExperimentSpec, preset: str, address: str | None = None, execution: Execution = PLAIN
) -> tuple[RunDirectory, CueBackbone]:
    """The finished same-ID run of the spec, trained and evaluated first if no variant has done so, and its model.

    Raises: StoppedTrainingError after SIGINT or SIGTERM."""
    accelerator, tags = start.accelerator, {"preset": preset, "ablation": "shared"}
    with held_stage(spec, "same_id", tags, accelerator, wait=True) as run:
        look = functools.partial(preview, codec=start.codec, spec=spec, stage="same_id")
        job = StageJob(spec, "same_id", start.pool, teacher=None, execution=execution, preview=look)
        return run, run_stage(job, run, accelerator, tracker_for(accelerator, address), start.codec)


def run_experiment(
    spec: ExperimentSpec,
    tags: dict[str, str],
    address: str | None = None,
    adopt: bool = True,
    execution: Execution = PLAIN,
    *,
    watch: Watch = unwatched,
    wait: bool = False,
) -> RunDirectory:
    """The finished cross-ID run of the spec; its same-ID teacher is trained first if no variant has done so.

    With `adopt`, weights are taken from a finished run that differs only in sampling and evaluation, if there is one.
    `watch` sees the steps of the cross-ID stage. Of processes that need the same teacher one trains it, and the others
    wait; with `wait`, also for another one that is at the same run.

    Raises: UserError for what cannot be met; StoppedTrainingError after SIGINT or SIGTERM, or when given up."""
    start = prepared(spec, execution)
    accelerator = start.accelerator
    teacher_run, teacher = train_teacher(start, spec, tags["preset"], address, execution)
    lineage = {
        "teacher_run": teacher_run.record().name,
        "teacher_run_id": teacher_run.record().id,
        "teacher_fingerprint": stage_fingerprint(spec, "same_id"),
    }
    with held_stage(spec, "cross_id", {**tags, **lineage}, accelerator, wait=wait) as run:
        with accelerator.main_process_first():
            if adopt and accelerator.is_main_process:
                adopt_trained(run, spec)
        look = functools.partial(preview, codec=start.codec, spec=spec, stage="cross_id")
        job = StageJob(spec, "cross_id", start.pool, teacher, execution, start.held_out, watch, look)
        run_stage(job, run, accelerator, tracker_for(accelerator, address), start.codec)
    return run
