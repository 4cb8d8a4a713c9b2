"""A sweep as text for people: what will be searched, how it stands, what came out. Knows no search library."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.command_line import Resolved
from experiments.edit import format_value
from experiments.spec import fingerprint
from experiments.sweeps.registry import SWEEPS
from experiments.sweeps.space import Choice, Domain, Sweep
from experiments.tracking.address import public_uri

if TYPE_CHECKING:
    from experiments.sweeps.search import Result

SHOWN_TRIALS = 10
_SAMPLERS = {"tpe": "tpe, a tree-structured Parzen estimator", "gp": "gp, a Gaussian process"}
_PRUNERS = {
    "none": "none",
    "hyperband": "hyperband, over the training loss at equal steps",
    "wilcoxon": "wilcoxon, over the same seeds of the best trial",
}


def render_sweeps() -> str:
    """Every named sweep: its question and its space."""
    blocks = [f"{name}\n  {sweep.question}\n{_space_lines(sweep)}" for name, sweep in SWEEPS.items()]
    return "\n".join([*blocks, "", "or sweep=FILE.json with the same fields; any path of the spec can be searched"])


def render_plan(study: str, sweep: Sweep, resolved: Resolved, trials: int, storage: str) -> str:
    """What a sweep will do, with the base spec's edits and fingerprint."""
    lines = [
        f"study      {study}",
        f"question   {sweep.question}",
        "space",
        _space_lines(sweep),
        *(f"objective  {goal.direction} {goal.metric}" for goal in sweep.objectives),
        *(f"only if    {_limit_words(limit)}" for limit in map(dict, sweep.constraints)),
        f"sampler    {_SAMPLERS[sweep.sampler]}",
        f"pruner     {_PRUNERS[sweep.pruner]}",
        f"budget     {trials} trials of {sweep.seeds} run{'s' if sweep.seeds > 1 else ''}",
        f"base       preset {resolved.preset.name}, ablation {resolved.ablation.name}, {fingerprint(resolved.spec)}",
        *(f"           {change}" for change in resolved.edits),
        f"storage    {public_uri(storage)}",
    ]
    return "\n".join(lines)


def _limit_words(limit: Mapping[str, object]) -> str:
    bounds = [f"{sign} {limit[key]}" for key, sign in (("at_least", ">="), ("at_most", "<=")) if limit[key] is not None]
    return f"{limit['metric']} {' and '.join(bounds)}"


def _space_lines(sweep: Sweep) -> str:
    width = max(map(len, sweep.space))
    return "\n".join(f"  {path:<{width}}  {_domain_words(domain)}" for path, domain in sweep.space.items())


def _domain_words(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return "one of " + ", ".join(map(format_value, domain.values))
    log = ", by ratio" if domain.log else ""
    step = f", in steps of {domain.step}" if domain.step is not None else ""
    return f"{domain.low} to {domain.high}{log}{step}"


def progress_line(results: "Sequence[Result]", best: "Sequence[Result]", number: int, trials: int, workers: int) -> str:
    """How the trial of that number ended, and how the study stands."""
    done = [result for result in results if result.state != "running"]
    (trial,) = [result for result in results if result.number == number]
    mean = sum(result.seconds for result in done) / len(done)
    left = max(0, trials - len(done)) * mean / workers
    standing = [f"{len(done)} of {trials} done"]
    if len(best) == 1:
        standing.append(f"best {_values(best[0])} by trial {best[0].number}")
    if left:
        standing.append(f"about {_duration(left)} left")
    return f"trial {number:<3} {_outcome(trial)}  {_edits(trial)}  [{', '.join(standing)}]"


def render_results(study: str, results: "Sequence[Result]", best: "Sequence[Result]", sweep: Sweep, split: str) -> str:
    """The trials that matter, best first, and what became of the others."""
    lines = ["", f"{'trial':>5}  {'took':>8}  {'outcome'}"]
    ranked = sorted(results, key=lambda result: _rank(result, sweep))
    lines += [f"{r.number:>5}  {_duration(r.seconds):>8}  {_outcome(r)}  {_edits(r)}" for r in ranked[:SHOWN_TRIALS]]
    if len(ranked) > SHOWN_TRIALS:
        lines.append(f"       and {len(ranked) - SHOWN_TRIALS} more, in the dashboard")
    counts = [f"{sum(r.state == state for r in results)} {state}" for state in ("complete", "pruned", "failed")]
    running = sum(result.state == "running" for result in results)
    lines += ["", f"trials     {', '.join(counts)}{f', {running} unfinished' if running else ''}"]
    if any(result.estimated for result in results):
        lines.append("~          seeds were left out: the best trial's mean plus the difference on the seeds both have")
    if not best:
        lines.append("best       none: no complete trial meets the constraints")
    elif len(sweep.objectives) > 1:
        lines.append(f"front      no other trial is better in all of them: {', '.join(str(r.number) for r in best)}")
    else:
        lines.append(f"best       trial {best[0].number}: {_values(best[0])}  {_edits(best[0])}")
    if best and split == "test":
        lines.append("           chosen by the clips that runs are tested on: on others it would stand out less")
    elif best:
        lines.append("           chosen by validation clips; test it with: python -m experiments.run and these edits")
    return "\n".join([*lines, f"browse     python -m experiments.ui   (in MLflow: tags.study = '{study}')"])


def _rank(result: "Result", sweep: Sweep) -> tuple[bool, bool, float, int]:
    goal = sweep.objectives[0]
    value = result.values.get(goal.metric, 0.0)
    signed = value if goal.direction == "minimize" else -value
    return result.state != "complete", not result.feasible, signed, result.number


def _outcome(result: "Result") -> str:
    if result.state == "complete":
        return _values(result) + ("" if result.feasible else " (beyond a constraint)")
    return f"{result.state}: {result.reason}" if result.reason else result.state


def _values(result: "Result") -> str:
    about = "~" if result.estimated else ""
    return "  ".join(f"{metric} {about}{value:.4g}" for metric, value in result.values.items())


def _edits(result: "Result") -> str:
    return " ".join(
        f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={format_value(value)}"
        for path, value in result.edits.items()
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
