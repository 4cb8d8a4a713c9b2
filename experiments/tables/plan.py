"""What a table is made of: its runs, the stages that they share, and what of it is there already.

Imports nothing heavy, so that a dry run is quick."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ablations.ablation import Table
from ablations.registry import ABLATIONS, TABLES
from directanimator.digests import digest
from directanimator.errors import UserError
from directanimator.places import runs_root
from directanimator.words import whole
from experiments.command_line import DEFAULT_ABLATION, Resolved, look_up, parse, resolve
from experiments.edit import Edit, describe, fields
from experiments.execution import EXECUTION_USAGE, EXECUTION_WORDS
from experiments.placement import CLUSTER_WORDS
from experiments.presets import DEFAULT_PRESET, PRESETS
from experiments.record import RunDirectory
from experiments.spec import (
    STAGES,
    WEIGHTS_TAG,
    ExperimentSpec,
    Stage,
    fingerprint,
    stage_fingerprint,
    stage_leaves,
    stage_name,
    steps_of,
    weights_fingerprint,
)

BASELINE = DEFAULT_ABLATION
KEYS = ("table", "variants", "seeds", "preset")
OPTIONS = {
    "--dry-run": "say for each run whether it exists, is shared or must be trained; run nothing",
    "--list": "print the tables and their variants",
    "--debug": "show the traceback of an error",
    "--help": "print this text",
}
DEFAULT_SEEDS = 3
MOST_SEEDS = 100

State = Literal["exists", "lent", "goes on", "to train"]


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed."""

    variant: str
    seed: int
    resolved: Resolved

    @property
    def spec(self) -> ExperimentSpec:
        """What is trained and evaluated."""
        return self.resolved.spec

    def stage(self, stage: Stage) -> str:
        """Name of a stage's run directory; runs that share the stage share the name."""
        return stage_name(self.spec, stage)


@dataclass(frozen=True)
class Plan:
    """A table's runs, by seed and then by variant, so that a whole comparison is there as early as can be."""

    table: Table
    preset: str
    edits: tuple[Edit, ...]
    """What the command line changes in every run."""
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]
    left_out: tuple[str, ...] = ()
    """Variants that ask for synthetic humans, where there are none."""

    @property
    def variants(self) -> tuple[str, ...]:
        """The baseline, then the table's variants."""
        return (BASELINE, *self.table.variants)

    @property
    def name(self) -> str:
        """The table's name and 12 digits that name its runs, whatever their order."""
        prints = sorted(stage_fingerprint(run.spec, "cross_id") for run in self.runs)
        return f"{self.table.name}-{digest(' '.join(prints))}"

    def run(self, variant: str, seed: int) -> PlannedRun:
        """The run of a variant and a seed."""
        return next(run for run in self.runs if (run.variant, run.seed) == (variant, seed))


# ---------------------------------------------------------------- words to a plan


def make_plan(tokens: Sequence[str]) -> Plan:
    """The table asked for, every spec of it checked.

    Raises: UserError for unknown names, illegal values, and edits that contradict a variant or make two of them one."""
    _check_words(tokens)
    request = parse(tokens, KEYS, tuple(OPTIONS), also=(*EXECUTION_WORDS, *CLUSTER_WORDS))
    if "table" not in request.words:
        raise UserError(f"no table given: say table=NAME, known are {', '.join(TABLES)}")
    if "seed" in request.edits:
        raise UserError("a table counts its seeds from 0: give seeds=N, not seed=")
    chosen = _chosen(look_up("table", request.words["table"], TABLES), request.words.get("variants"))
    preset = look_up("preset", request.words.get("preset", DEFAULT_PRESET), PRESETS)
    seeds = tuple(range(whole(request.words, "seeds", DEFAULT_SEEDS, 1, MOST_SEEDS)))
    kept = [token for token in tokens if token.partition("=")[0] in fields(ExperimentSpec)]
    baseline = resolve([f"preset={preset.name}", *kept]).spec
    table = chosen if "variants" in request.words else _possible(chosen, baseline)
    names = (BASELINE, *table.variants)
    runs = [
        PlannedRun(name, seed, resolve([f"preset={preset.name}", f"ablation={name}", f"seed={seed}", *kept]))
        for seed in seeds
        for name in names
    ]
    _check_all_differ(runs)
    edits = describe(preset.spec, runs[0].spec, dict.fromkeys(request.edits, "command line"))
    left_out = tuple(name for name in chosen.variants if name not in table.variants)
    return Plan(table, preset.name, edits, seeds, tuple(runs), left_out)


def _chosen(table: Table, text: str | None) -> Table:
    """The table with only the variants that `text` names, in the table's order.

    Raises: UserError for a variant that the table does not have."""
    if text is None:
        return table
    names = text.split(",")
    for name in names:
        look_up(f"variant of table {table.name}", name, dict.fromkeys(table.variants))
    return _only(table, names)


def _possible(table: Table, baseline: ExperimentSpec) -> Table:
    """The table without the variants that ask for synthetic humans, where there are none.

    Raises: UserError if none is left."""
    if baseline.data.source == "synthetic":
        return table
    kept = [name for name in table.variants if not ABLATIONS[name].needs_synthetic]
    if not kept:
        raise UserError(f"table {table.name} needs data.source=synthetic: it asks for what is known of them alone")
    return _only(table, kept)


def _only(table: Table, names: Collection[str]) -> Table:
    kept = tuple(name for name in table.variants if name in names)
    pairs = tuple(pair for pair in table.convergence if set(pair) <= {BASELINE, *kept})
    return Table(table.name, table.question, kept, pairs)


def _check_words(tokens: Sequence[str]) -> None:
    for token in tokens:
        if token.startswith("ablation="):
            raise UserError("a table chooses its ablations itself; leave out ablation=, or use experiments.run")
        for key, registry in (("table", TABLES), ("preset", PRESETS)):
            if token in registry:
                raise UserError(f"{token!r} is neither key=value nor an option; did you mean '{key}={token}'?")


def _check_all_differ(runs: Sequence[PlannedRun]) -> None:
    """Variants that the command line has made the same would be compared with themselves."""
    first: dict[str, str] = {}
    for run in runs:
        known = first.setdefault(fingerprint(run.spec), run.variant)
        if known != run.variant:
            raise UserError(f"with these edits {run.variant} is the same experiment as {known}; leave one out")


# ---------------------------------------------------------------- what is there


def stage_state(spec: ExperimentSpec, stage: Stage) -> State:
    """How a stage stands on disk.

    Raises: UserError if its directory holds something else than it is named for, or is damaged; or if another run has
    its weights, and what they were made of cannot be looked up."""
    run = RunDirectory(runs_root() / stage_name(spec, stage))
    if run.record_file.exists():
        run.record()
        _check_is_of(run, spec, stage)
    if run.is_trained:
        return "exists"
    if any(run.checkpoint.glob("*")):
        return "goes on"
    return "lent" if stage == "cross_id" and _has_donor(run, spec) else "to train"


def _check_is_of(run: RunDirectory, spec: ExperimentSpec, stage: Stage) -> None:
    if run.spec() != json.loads(json.dumps(stage_leaves(spec, stage))):
        raise UserError(
            f"{run.spec_file} is not the spec that {run.path.name} is named for: it was edited, or made by another "
            "version; remove the directory, and the run is made anew"
        )


def _has_donor(run: RunDirectory, spec: ExperimentSpec) -> bool:
    """Whether `adopt_trained` would find weights for the run."""
    others = (RunDirectory(path) for path in sorted(run.path.parent.glob("cross_id-*")) if path != run.path)
    given = [other.told for other in others if other.is_trained]
    wanted = weights_fingerprint(spec)
    alike = [tags for tags in given if tags.get(WEIGHTS_TAG) == wanted]
    if not alike:
        return False
    from experiments.pools import ORIGIN_TAGS, origin_tags  # heavy, and seldom asked for

    now = origin_tags(spec, "cross_id")
    return any(all(tags.get(tag) == now.get(tag) for tag in ORIGIN_TAGS) for tags in alike)


def is_finished(run: PlannedRun) -> bool:
    """Whether both stages of a run are trained and evaluated.

    Raises: UserError if a record is damaged or of something else."""
    directories = [RunDirectory(runs_root() / run.stage(stage)) for stage in STAGES]
    trained = all(stage_state(run.spec, stage) == "exists" for stage in STAGES)
    return trained and all(one.record_file.exists() and one.evaluation_file.exists() for one in directories)


@dataclass(frozen=True)
class Cost:
    """Stages and steps: of the table, of what is left to do, and of as many runs that share nothing."""

    stages: int
    stages_left: int
    steps: int
    steps_left: int
    steps_separate: int


def cost_of(plan: Plan, states: Mapping[str, State]) -> Cost:
    """The cost, each stage counted once; of one that goes on, what its log says is done is no longer left."""
    steps = {run.stage(stage): steps_of(run.spec, stage) for run in plan.runs for stage in STAGES}
    left = {name: steps[name] - _done(name, steps[name], states[name]) for name in steps if states[name] in _UNDONE}
    separate = sum(steps_of(run.spec, stage) for run in plan.runs for stage in STAGES)
    return Cost(len(steps), len(left), sum(steps.values()), sum(left.values()), separate)


_UNDONE: tuple[State, ...] = ("to train", "goes on")


def _done(name: str, steps: int, state: State) -> int:
    """Steps of a stage that a checkpoint spares: about what its log says, since one is written every few minutes."""
    return min(steps, RunDirectory(runs_root() / name).metrics.last_step()) if state == "goes on" else 0


def states_of(plan: Plan) -> dict[str, State]:
    """How every stage of the table stands, by the name of its run directory.

    Raises: UserError if one is damaged."""
    found: dict[str, State] = {}
    for run in plan.runs:
        for stage in STAGES:
            name = run.stage(stage)
            if name not in found:
                found[name] = stage_state(run.spec, stage)
    return found


# ---------------------------------------------------------------- text for people


def render_plan(plan: Plan) -> str:
    """The table, what the command line changes, each run with the state of its stages, and the cost."""
    states = states_of(plan)
    lines = [
        f"table   {plan.table.name}: {plan.table.question}",
        f"preset  {plan.preset}",
        *(f"edit    {edit}" for edit in plan.edits),
        *([f"without {', '.join(plan.left_out)}: only synthetic humans have them"] if plan.left_out else []),
        *_unanswered_lines(plan),
        "",
        *_run_lines(plan, states),
        "",
        *_cost_lines(plan, cost_of(plan, states)),
    ]
    return "\n".join(lines)


def _unanswered_lines(plan: Plan) -> list[str]:
    """That variants will have no verdict, since their runs do not measure what they are expected to change."""
    subsets = plan.runs[0].spec.evaluation.subsets
    expected = {name: ABLATIONS[name].expects for name in plan.table.variants}
    lost = {
        name: expects.metric
        for name, expects in expected.items()
        if expects is not None and expects.metric.partition("/")[0] not in subsets
    }
    if not lost:
        return []
    whose = "any variant" if len(lost) == len(plan.table.variants) else ", ".join(lost)
    missing = ", ".join(dict.fromkeys(lost.values()))
    return [f"no verdict on {whose}: evaluation.subsets={','.join(subsets)} measures no {missing}"]


def _run_lines(plan: Plan, states: Mapping[str, State]) -> list[str]:
    width = max(map(len, plan.variants))
    lines = [f"{'variant':<{width}}  seed  {'same-ID stage':<32}  cross-ID stage"]
    owners: dict[str, str] = {}
    for run in plan.runs:
        cells = []
        for stage in STAGES:
            name = run.stage(stage)
            owner = owners.setdefault(name, run.variant)
            digits = name.rpartition("-")[2][:6]
            shared = states[name] != "exists" and owner != run.variant
            cells.append(f"{digits} {f'shared with {owner}' if shared else _WORDS[states[name]]}")
        lines.append(f"{run.variant:<{width}}  {run.seed:>4}  {cells[0]:<32}  {cells[1]}")
    return lines


_WORDS: dict[State, str] = {
    "exists": "exists",
    "lent": "takes the weights of a run that differs in sampling alone",
    "goes on": "interrupted, goes on",
    "to train": "to train",
}


def _cost_lines(plan: Plan, cost: Cost) -> list[str]:
    share = cost.steps / cost.steps_separate
    finished = sum(is_finished(run) for run in plan.runs)
    lines = [
        f"{len(plan.runs)} runs, {finished} finished; {cost.stages} stages, {cost.stages_left} to train: "
        f"{cost.steps_left:,} of {cost.steps:,} steps",
        f"as separate runs {cost.steps_separate:,} steps: sharing stages leaves {share:.0%} of the training",
    ]
    if len(plan.seeds) == 1:
        lines.append("seeds=1: no interval and no verdict, since one training says nothing of another; give seeds=3")
    return lines


def render_tables() -> str:
    """Tables with their variants."""
    width = max(map(len, TABLES))
    blocks = []
    for table in TABLES.values():
        blocks.append(f"{table.name:<{width}}  {table.question}")
        blocks.append(f"{'':<{width}}  {', '.join(table.variants)}" if table.name != "all" else f"{'':<{width}}  all")
    return "\n".join(["tables, each against the full method", *(f"  {line}" for line in blocks)])


def render_usage() -> str:
    """How to call the command."""
    rows = {
        "python -m experiments.table --list": "the tables and their variants",
        "python -m experiments.table table=cues --dry-run": "what exists, what is shared, what must be trained",
        "python -m experiments.table table=cues seeds=3": "run what is missing, then say what follows",
        "python -m experiments.table table=cues preset=smoke": "the whole way in a minute; numbers mean nothing",
        "python -m experiments.table table=cues engine=ray": "its runs side by side on the Ray cluster of $RAY_ADDRESS",
    }
    width = max(map(len, rows))
    return "\n".join(
        [
            "usage: python -m experiments.table table=NAME [variants=A,B] [seeds=N] [preset=NAME] [PATH=VALUE ...]",
            "       [engine=ray [processes_per_run=1] [cpus_per_process=1] [gpus_per_process=N]]",
            f"       {EXECUTION_USAGE}",
            "",
            "try",
            *(f"  {left:<{width}}  {right}" for left, right in rows.items()),
            "",
            "options",
            *(f"  {name:<10}  {text}" for name, text in OPTIONS.items()),
        ]
    )
