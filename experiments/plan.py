"""`python -m experiments.plan preset=paper gpus=4 memory_gb=96`: what an experiment will cost, before anyone pays.

Parameters, operations per step, bytes by kind, predicted time, and the sharding that fits. Nothing is trained, no
weights are read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from directanimator.errors import UserError
from directanimator.words import own_words
from experiments.command_line import resolve, run_main
from experiments.spec import ExperimentSpec

if TYPE_CHECKING:
    from directanimator.model.counts import ModelCounts

USAGE = """usage: python -m experiments.plan [preset=NAME] [PATH=VALUE ...] [KEY=NUMBER ...]

  gpus, memory_gb  how many devices, and how much memory each has (10**9 bytes); 4 and 96
  tflops           dense bf16 peak of one of them, in 10**12 operations a second; 148 is an H20's
  utilization      share of that peak which a step reaches; 0.4"""
MACHINE_KEYS = {"gpus": (4, 1, 100_000), "memory_gb": (96, 1, 10_000), "tflops": (148, 0.01, 1e6)}
FLOAT, HALF = 4, 2
"""Bytes of a number in fp32 and in bf16 or fp16."""
USABLE = 0.9
"""Share of a device's memory that tensors can fill; the rest is the driver's, the allocator's gaps, and buffers."""
GATHERED_BLOCKS = 2
"""Blocks that FSDP holds whole at once: the one that works and the one that is fetched."""


@dataclass(frozen=True)
class Machine:
    """Where it is to run."""

    gpus: int
    memory_gb: float
    tflops: float
    utilization: float


@dataclass(frozen=True)
class Layout:
    """One way to lay a training over devices."""

    name: str
    sharded: bool
    checkpointing: bool
    clips_at_once: int
    """Clips of a forward pass on one device; the rest of its share is accumulated."""
    device_bytes: int


@dataclass(frozen=True)
class Plan:
    """What is predicted; bytes are those of the whole model before sharding."""

    counts: "ModelCounts"
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    average_bytes: int
    teacher_bytes: int
    cache_bytes: int
    same_id_flops: float
    """Of one step over all devices."""
    cross_id_flops: float
    layout: Layout | None
    """The first layout that fits, cheapest first; None if none does."""
    smallest: Layout
    """The layout that needs least."""
    same_id_seconds: float
    """Of one step."""
    cross_id_seconds: float
    days: float


def main(tokens: Sequence[str]) -> int:
    """Exit status: 0, or 1 if nothing fits.

    Raises: UserError for bad input."""
    if not tokens or "--help" in tokens:
        print(USAGE)
        return 0
    machine, rest = read_machine(tokens)
    spec = resolve(rest, options=("--debug", "--help"), also=(*MACHINE_KEYS, "utilization")).spec
    check_batch(spec, machine)
    plan = make_plan(spec, machine)
    print(render(plan, spec, machine))
    return 0 if plan.layout else 1


def read_machine(tokens: Sequence[str]) -> tuple[Machine, list[str]]:
    """The machine that the words describe, and the words about the experiment.

    Raises: UserError for an illegal value, or a word that is given twice."""
    values = {name: float(default) for name, (default, _, _) in MACHINE_KEYS.items()} | {"utilization": 0.4}
    bounds = {name: (least, most) for name, (_, least, most) in MACHINE_KEYS.items()} | {"utilization": (0.001, 1.0)}
    words, rest = own_words(tokens, values)
    for key, text in words.items():
        try:
            values[key] = float(text)
        except ValueError:
            values[key] = math.nan
        least, most = bounds[key]
        if not least <= values[key] <= most or (key == "gpus" and values[key] % 1):
            raise UserError(f"{key}={text}: want {'a whole number ' if key == 'gpus' else ''}{least:g}..{most:g}")
    return Machine(int(values["gpus"]), values["memory_gb"], values["tflops"], values["utilization"]), rest


def check_batch(spec: ExperimentSpec, machine: Machine) -> None:
    """Nothing; refuses a batch that cannot be spread.

    Raises: UserError unless the global batch divides over the devices."""
    batch = spec.optim.global_batch_size
    if batch % machine.gpus:
        divisors = [n for n in range(1, batch + 1) if batch % n == 0]
        raise UserError(
            f"optim.global_batch_size={batch} does not divide over gpus={machine.gpus}; want one of {divisors}"
        )


def make_plan(spec: ExperimentSpec, machine: Machine) -> Plan:
    """The plan of an experiment on a machine."""
    import torch

    from directanimator.model.counts import LatentGrid, count_model

    side = spec.latent_side
    dtype = torch.bfloat16 if spec.optim.precision == "bf16" else torch.float32
    counts = count_model(spec.model, LatentGrid(1, spec.data.latent_frames, side, side), dtype)
    share = spec.optim.global_batch_size // machine.gpus
    trained = trained_parameters(spec, counts)
    layouts = [
        _layout(counts, trained, machine, sharded, again, clips)
        for sharded in (False, True)
        for again in (False, True)
        for clips in _divisors(share)
    ]
    smallest = min(layouts, key=lambda layout: layout.device_bytes)
    fitting = [layout for layout in layouts if layout.device_bytes <= USABLE * machine.memory_gb * 1e9]
    layout = fitting[0] if fitting else None
    passes = 4 if (layout or smallest).checkpointing else 3
    passes -= spec.optim.lora_rank is not None  # no gradient of the base's own weights
    batch = spec.optim.global_batch_size
    same_id = passes * counts.forward_flops * batch
    teacher = spec.same2x.block(spec.model.num_layers) * counts.block_flops * batch if spec.same2x.enabled else 0
    speed = machine.gpus * machine.tflops * 1e12 * machine.utilization
    seconds = (same_id / speed, (same_id + teacher) / speed)
    return Plan(
        counts=counts,
        weight_bytes=FLOAT * counts.parameters,
        gradient_bytes=FLOAT * trained,
        optimizer_bytes=2 * FLOAT * trained,
        average_bytes=FLOAT * trained,
        teacher_bytes=FLOAT * counts.parameters,
        cache_bytes=spec.data.num_train_clips * clip_bytes(spec),
        same_id_flops=float(same_id),
        cross_id_flops=float(same_id + teacher),
        layout=layout,
        smallest=smallest,
        same_id_seconds=seconds[0],
        cross_id_seconds=seconds[1],
        days=(spec.same_id.steps * seconds[0] + spec.cross_id.steps * seconds[1]) / 86400,
    )


def _divisors(share: int) -> list[int]:
    """Clips at once that divide a device's share, the most first."""
    return [clips for clips in range(share, 0, -1) if share % clips == 0]


def trained_parameters(spec: ExperimentSpec, counts: "ModelCounts") -> int:
    """How many numbers training changes: all of the model's, or with LoRA the updates and the cues' own."""
    from directanimator.model.low_rank import low_rank_parameters

    rank = spec.optim.lora_rank
    return counts.parameters if rank is None else counts.cue_parameters + low_rank_parameters(spec.model, rank)


def _layout(
    counts: "ModelCounts", trained: int, machine: Machine, sharded: bool, checkpointing: bool, clips: int
) -> Layout:
    states = FLOAT * (2 * counts.parameters + 4 * trained)  # weights, teacher; gradients, two moments, average
    kept = clips * (counts.checkpointed_bytes if checkpointing else counts.activation_bytes)
    held = states
    if sharded:
        held = states // machine.gpus + GATHERED_BLOCKS * HALF * counts.block_parameters
    name = (
        "sharding=true (FSDP2: weights, gradients, optimizer, average, teacher)"
        if sharded
        else "DDP: a whole copy each"
    )
    return Layout(name, sharded, checkpointing, clips, held + kept)


def clip_bytes(spec: ExperimentSpec) -> int:
    """Bytes on disk of one prepared clip: latents, reference, the cues of both settings, and the caption's tokens."""
    from directanimator.model.cue_streams import MASK_CHANNELS

    data, model = spec.data, spec.model
    cells = spec.latent_side**2
    latent = model.latent_channels * cells * HALF
    masks = 2 * MASK_CHANNELS * cells * HALF
    text = model.max_text_tokens * model.text_embed_dim * HALF if model.text_encoder != "none" else 0
    per_setting = data.latent_frames * (2 * latent + masks + 2)
    return data.latent_frames * latent + latent + 2 * per_setting + text


def render(plan: Plan, spec: ExperimentSpec, machine: Machine) -> str:
    """The plan in words, one line per fact."""
    counts, clip = plan.counts, plan.counts.activation_bytes
    lines = [
        f"model        {counts.parameters / 1e6:,.1f} M parameters: base {counts.base_parameters / 1e6:,.1f} M, "
        f"cues {counts.cue_parameters / 1e6:,.1f} M (+{100 * counts.cue_parameters / counts.base_parameters:.1f} %)",
        f"clip         {spec.data.num_frames} frames of {spec.data.size} px, {spec.data.latent_frames} latent frames",
        f"operations   forward of a clip {counts.forward_flops / 1e12:.3g} TFLOP; step, all devices: same-ID "
        f"{plan.same_id_flops / 1e12:.3g}, cross-ID {plan.cross_id_flops / 1e12:.3g} TFLOP",
        "",
        f"weights      {_gb(plan.weight_bytes)}  (fp32)",
        f"gradients    {_gb(plan.gradient_bytes)}",
        f"optimizer    {_gb(plan.optimizer_bytes)}  (AdamW)",
        f"average      {_gb(plan.average_bytes)}  (EMA)",
        f"teacher      {_gb(plan.teacher_bytes)}  (second stage)",
        f"activations  {_gb(clip)}  a clip; {_gb(counts.checkpointed_bytes).strip()} with gradient checkpointing",
        f"cache        {_gb(plan.cache_bytes)}  on disk, {clip_bytes(spec) / 1e6:.2f} MB a clip",
        "",
    ]
    return "\n".join([*lines, *_advice(plan, spec, machine)])


def _advice(plan: Plan, spec: ExperimentSpec, machine: Machine) -> list[str]:
    where = f"{machine.gpus} x {machine.memory_gb:g} GB"
    if plan.layout is None:
        least = plan.smallest.device_bytes / USABLE / 1e9
        return [
            f"does not fit {where}: at least {least:.0f} GB a device are needed",
            f"             ({_words(plan.smallest, spec, machine)})",
            "more devices shard further; fewer latent frames or a smaller size keep less",
        ]
    return [
        f"layout       {_words(plan.layout, spec, machine)}",
        f"             {_gb(plan.layout.device_bytes).strip()} of {machine.memory_gb:g} GB a device",
        f"step         {plan.same_id_seconds:.3g} s same-ID, {plan.cross_id_seconds:.3g} s cross-ID, at "
        f"{100 * machine.utilization:.0f} % of {machine.tflops:g} TFLOP/s on {where}",
        f"whole        {plan.days:.2f} days for {spec.same_id.steps:,} + {spec.cross_id.steps:,} steps",
    ]


def _words(layout: Layout, spec: ExperimentSpec, machine: Machine) -> str:
    rounds = spec.optim.global_batch_size // machine.gpus // layout.clips_at_once
    again = "gradient checkpointing" if layout.checkpointing else "no gradient checkpointing"
    return f"{layout.name}; {again}; {layout.clips_at_once} clip(s) at once, {rounds} round(s) of accumulation"


def _gb(count: int) -> str:
    return f"{count / 1e9:8.2f} GB"


if __name__ == "__main__":
    run_main(main)
