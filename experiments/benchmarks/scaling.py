"""What grows with the number of clips, and what loading them costs: measured on pools of zeros.

The files of such a pool are holes, so 100,000 clips cost nothing to make, and yet the loader finds, reads and converts
them as it does real ones."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from directanimator.data.pool import open_pool, zero_pool
from directanimator.model.cue_streams import MASK_CHANNELS
from directanimator.process_memory import resident_bytes
from directanimator.training.batch import DenoisingBatch
from directanimator.training.loop import train_step
from directanimator.training.state import TrainState, new_state
from experiments.benchmarks.alone import alone
from experiments.edit import edit
from experiments.experiment import launch
from experiments.presets import PRESETS
from experiments.spec import ExperimentSpec
from experiments.stage import StageJob

CLIPS = (100, 1_000, 10_000, 100_000)
PROCESSES = 2
STEPS_A_ROUND = 20
"""Steps of each kind, in turn with the others."""
SPEC = PRESETS["cpu"].spec
LITTLE_WORK = {"model.base": "random", "model.num_layers": 1, "model.num_heads": 1}
"""Edits after which a step is little more than its loading."""


def zero_item(spec: ExperimentSpec) -> dict[str, np.ndarray]:
    """A prepared clip of a spec without text, all zero; the fields that `prepare` makes."""
    side, channels, frames = spec.latent_side, spec.model.latent_channels, spec.data.latent_frames
    latents = np.zeros((frames, channels, side, side), np.float16)
    masks = np.zeros((frames, 2, MASK_CHANNELS, side, side), np.float16)
    item: dict[str, np.ndarray] = {"latents": latents, "reference": latents[:1]}
    for setting in ("own", "cross"):
        cues = {"pose": latents, "face": latents, "masks": masks, "present": np.zeros((frames, 2), np.bool_)}
        item |= {f"{setting}_{name}": value for name, value in cues.items()}
    return item


@dataclass(frozen=True, eq=False)
class _Trainee:
    """A same-ID training on a pool, step by step."""

    job: StageJob
    state: TrainState
    model: nn.Module
    """As the launcher wrapped it."""
    batch_at: Callable[[int], DenoisingBatch]
    accelerator: Accelerator

    @classmethod
    def on(cls, pool: Path, spec: ExperimentSpec) -> "_Trainee":
        accelerator = launch(spec)
        job = StageJob(spec, "same_id", open_pool(pool), teacher=None)
        state = new_state(job.model(), spec.optim)
        return cls(job, state, accelerator.prepare_model(state.model), job.batches(accelerator).batch_at, accelerator)

    def step(self, batch: DenoisingBatch) -> None:
        optim = self.job.spec.optim
        train_step(self.state, self.model, batch, self.job.objective(), optim.learning_rate, optim, self.accelerator)

    def load_and_step(self) -> None:
        self.step(self.batch_at(self.state.step))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def growth_words(rounds: int) -> str:
    """Seconds of a step, loading included, and memory after as many steps, by the number of cached clips."""
    spec = edit(SPEC, LITTLE_WORK)
    with tempfile.TemporaryDirectory() as place:
        pools = {count: Path(place) / str(count) for count in CLIPS}
        for count, pool in pools.items():
            zero_pool(pool, count, zero_item(spec))
        trainees = {count: _Trainee.on(pool, spec) for count, pool in pools.items()}
        taken: dict[int, list[float]] = {count: [] for count in CLIPS}
        for number in range(rounds * STEPS_A_ROUND + 2):
            for count, trainee in trainees.items():
                seconds = _seconds(trainee.load_and_step)
                taken[count] += [seconds] if number >= 2 else []
        memory = {count: alone(_memory_after, pool, spec, rounds * STEPS_A_ROUND) for count, pool in pools.items()}
    medians = {count: statistics.median(values) for count, values in taken.items()}
    first = CLIPS[0]
    parts = [
        f"{count:,} clips {1000 * medians[count]:.1f} ms ({medians[count] / medians[first]:.3f}), "
        f"{memory[count] / 1e6:.0f} MB ({(memory[count] - memory[first]) / 1e6:+.0f})"
        for count in CLIPS
    ]
    return (
        f"a step with its loading on a one-block model, and memory after {rounds * STEPS_A_ROUND}: {'; '.join(parts)}"
    )


def _memory_after(pool: Path, spec: ExperimentSpec, steps: int) -> int:
    trainee = _Trainee.on(pool, spec)
    for _ in range(steps):
        trainee.load_and_step()
    return resident_bytes()


def loading_words(rounds: int) -> str:
    """A step with its loading against the same step on one batch in memory, two processes, preset=cpu."""
    with tempfile.TemporaryDirectory() as place:
        pool = Path(place) / "pool"
        zero_pool(pool, SPEC.data.num_train_clips, zero_item(SPEC))
        config = LaunchConfig(
            run_id="loading",
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=PROCESSES,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            max_restarts=0,
            start_method="spawn",
        )
        ratios: dict[int, float] = elastic_launch(config, _loading_ratio)(pool, rounds)
    return f"step with its loading against one on a fixed batch, preset=cpu, {PROCESSES} processes: {ratios[0]:.3f}"


def _loading_ratio(pool: Path, rounds: int) -> float:
    threads = max(1, len(os.sched_getaffinity(0)) // PROCESSES)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # or the launcher warns that it chooses
    torch.set_num_threads(threads)
    trainee = _Trainee.on(pool, SPEC)
    fixed = trainee.batch_at(0)
    loaded: list[float] = []
    alike: list[float] = []
    for number in range(rounds * STEPS_A_ROUND // 4 + 1):
        seconds = _seconds(trainee.load_and_step), _seconds(lambda: trainee.step(fixed))
        if number:
            loaded.append(seconds[0])
            alike.append(seconds[1])
    return statistics.median(loaded) / statistics.median(alike)
