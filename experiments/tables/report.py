"""A table's result as text, Markdown, CSV and LaTeX. Every number stands with what it rests on."""

import csv
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ablations.registry import ABLATIONS
from directanimator.atomic import atomic_write, write_json
from directanimator.markdown import plain_cell, table_lines
from directanimator.metrics.catalog import BY_NAME
from experiments.evaluation.columns import METRICS
from experiments.record import RunDirectory
from experiments.tables.measured import WHOLE_SET
from experiments.tables.plan import BASELINE
from experiments.tables.result import TableResult
from experiments.tables.statistics import ERROR, INTERVAL_LEVEL, POWER, interval

RULE = (
    f"Variant and full method are compared on the same seeds and clips. Intervals are {INTERVAL_LEVEL:.0%}, over seeds "
    "as clusters (cluster bootstrap standard error, Student's t): how other trainings would come out, on these very "
    "clips.",
    f"confirmed: the difference goes where it was expected, with an error of {ERROR:.0%} over the whole table (Holm), "
    "and is at least as large as what counts. refuted: a difference that counts is excluded, with the same error. "
    "Everything else is not distinguishable.",
    "p if none: chance of a difference so far the expected way if there is none. p if it counts: chance of one that "
    "falls so far short, if the true one is just what counts. Both corrected (Holm).",
    f"detectable: the true difference that these seeds, spread as they are, would confirm with {POWER:.0%} power at "
    "the table's strictest level; what counts at least.",
    "Seeds that all differ by the very same show no spread: no interval and no verdict.",
)
ONE_SEED = "One seed: no interval and no verdict, since one training says nothing of another. Give seeds=3 or more."
NOT_MEASURED = "not measured"
NOTHING = "-"
COMMIT_DIGITS = 12
TERMINAL_WIDTH = 120


@dataclass(frozen=True)
class Grid:
    """A titled table of text; the first column names the row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


# ---------------------------------------------------------------- what is said


def verdict_grid(result: TableResult) -> Grid:
    """One row for each variant: what was expected, what was found, what follows."""
    head = ("variant", "expected", "difference [90 %]", "p if none", "p if it counts", "detectable", "verdict")
    return Grid("Verdicts", head, tuple(_verdict_row(result, name) for name in result.plan.table.variants))


def _verdict_row(result: TableResult, name: str) -> tuple[str, ...]:
    expects = ABLATIONS[name].expects
    if expects is None:
        return name, *[NOTHING] * 6
    expected = f"{expects.metric} {expects.direction} by {expects.at_least:g}"
    judged = result.judgements.get(name)
    if judged is None:
        return name, expected, *[NOTHING] * 4, NOT_MEASURED
    decimals = decimals_of(expects.metric)
    return (
        name,
        expected,
        _with_interval(judged.effect.difference, judged.low, judged.high, decimals),
        _p_value(judged.p_confirmed),
        _p_value(judged.p_refuted),
        _number(judged.detectable, decimals),
        judged.verdict,
    )


def _p_value(p: float) -> str:
    if math.isnan(p):
        return NOTHING
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def mean_grids(result: TableResult) -> list[Grid]:
    """For each subset, the mean of every metric: full method first, answers without a model last."""
    return [
        Grid(
            f"{subset}: means over {result.clips(subset)} clips and all seeds",
            ("variant", *(column.partition("/")[2] for column in columns)),
            (
                *((name, *(_mean(result.mean(name, c), c) for c in columns)) for name in result.plan.variants),
                *(
                    (title, *(_mean(result.bound(title, c), c) for c in columns))
                    for title, known in result.bounds.items()
                    if not known.keys().isdisjoint(columns)
                ),
            ),
        )
        for subset, columns in by_subset(result).items()
    ]


def _mean(value: float, column: str) -> str:
    return _number(value, decimals_of(column))


def difference_grids(result: TableResult) -> list[Grid]:
    """For each subset, the difference of every metric with its interval. No verdict and no correction for these."""
    return [
        Grid(
            f"{subset}: variant minus full method, uncorrected",
            ("variant", *(column.partition("/")[2] for column in columns)),
            tuple(
                (name, *(_difference(result, name, column) for column in columns))
                for name in result.plan.table.variants
            ),
        )
        for subset, columns in by_subset(result).items()
    ]


def by_subset(result: TableResult) -> dict[str, list[str]]:
    """Measured columns by subset."""
    found: dict[str, list[str]] = {}
    for column in result.columns:
        found.setdefault(column.partition("/")[0], []).append(column)
    return found


def _difference(result: TableResult, name: str, column: str) -> str:
    effect = result.effects[name].get(column)
    if effect is None:
        return NOTHING
    return _with_interval(effect.difference, *interval(effect), decimals_of(column))


def convergence_grid(result: TableResult) -> Grid | None:
    """How much sooner aligned students are where the others end; None if the table does not ask, or nothing tells."""
    if not result.speed_ups:
        return None
    rows = []
    for one in result.speed_ups:
        ends = one.interval
        mean = f"not reached in every seed: at most {one.most:.2f}" if one.mean is None else f"{one.mean:.2f}"
        between = NOTHING if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"
        known = zip(one.by_seed, one.at_most, strict=True)
        seeds = ", ".join(f"below {most:.2f}" if value is None else f"{value:.2f}" for value, most in known)
        rows.append((one.variant, one.against, mean, between, seeds))
    head = ("variant", "to the final loss of", "times sooner", "90 %", "by seed")
    return Grid("Convergence: steps to equal held-out denoising loss", head, tuple(rows))


def cost_grid(result: TableResult) -> Grid:
    """Training seconds and memory for each variant."""
    rows = tuple(
        (name, f"{seconds:,.0f}", NOTHING if math.isnan(result.megabytes[name]) else f"{result.megabytes[name]:,.0f}")
        for name, seconds in result.seconds.items()
    )
    computed = " and ".join(result.computed_in)
    warning = "; they do not compare" if len(result.computed_in) > 1 else ""
    title = (
        "Cost: training seconds of a run, both stages, mean over seeds, and the most memory it held; "
        f"computed in {computed}{warning}"
    )
    return Grid(title, ("variant", "seconds", "peak MB"), rows)


def shared_work(result: TableResult) -> str:
    """What sharing stages left of the training."""
    separate = math.fsum(result.seconds.values()) * len(result.plan.seeds)
    share = f" ({result.seconds_shared / separate:.0%})" if separate else ""
    return (
        f"Stages that variants share were trained once: {result.seconds_shared:,.0f} s of training instead of "
        f"{separate:,.0f} s{share}."
    )


def published_grid(result: TableResult) -> Grid | None:
    """What the paper reports for the same changes; None if it has none of them."""
    sources = [(name, ABLATIONS[name].source) for name in result.plan.variants]
    known = [(name, source) for name, source in sources if source is not None]
    if len(known) < 2:
        return None
    metrics = list(dict.fromkeys(metric for _, source in known for metric in source.values))
    rows = tuple(
        (
            name,
            f"table {source.table}, {source.row}",
            *(f"{source.values[metric]:g}" if metric in source.values else NOTHING for metric in metrics),
            source.note,
        )
        for name, source in known
    )
    title = "The paper's own numbers: other data, other model, other metrics; not to be compared with those above"
    return Grid(title, ("variant", "row", *metrics, "note"), rows)


def run_grid(result: TableResult) -> Grid:
    """Run directories by variant and seed."""
    plan = result.plan
    rows = tuple(
        (name, *(plan.run(name, seed).stage("cross_id") for seed in plan.seeds)) for name in plan.variants
    )
    return Grid("Runs", ("variant", *(f"seed {seed}" for seed in plan.seeds)), rows)


def facts(result: TableResult) -> list[str]:
    """What the numbers rest on, a line each."""
    plan, protocol = result.plan, result.protocol
    counts = ", ".join(f"{subset} {result.clips(subset)}" for subset in by_subset(result))
    lines = [
        f"Preset {plan.preset}; seeds {', '.join(map(str, plan.seeds))}; test clips: {counts}; "
        f"{protocol.frames} frames, {protocol.size} px, {protocol.fps:g} fps, {protocol.source}/{protocol.split}; "
        f"protocol {protocol.id}.",
        f"Made by commit {' and '.join(commit[:COMMIT_DIGITS] for commit in result.made_by)}.",
        *_incomplete(result),
        *_measured_facts(result),
        *(f"In every run: {edit}." for edit in plan.edits),
    ]
    return [*lines, *([ONE_SEED] if len(plan.seeds) == 1 else [])]


def _incomplete(result: TableResult) -> list[str]:
    """Of how many clips the metrics are that some clips lack, if there are such."""
    found = []
    for subset, columns in by_subset(result).items():
        for column in columns:
            fewest, most = result.counted(column)
            if not _is_of_set(result, column) and fewest < result.clips(subset):
                found.append(f"{column} {fewest}" if fewest == most else f"{column} {fewest} to {most}")
    told = "; means are over those, differences over those that both runs have"
    return [f"Clips with a value, where not all have one: {', '.join(found)}{told}."] if found else []


def _is_of_set(result: TableResult, column: str) -> bool:
    """Whether there is one value for all clips."""
    return all(
        clips.keys() == {WHOLE_SET} for columns in result.samples.values() for clips in columns.get(column, {}).values()
    )


def _measured_facts(result: TableResult) -> list[str]:
    """The protocols of the metrics of the field, if there are any."""
    named = ", ".join(f"{column} {protocol.id}" for column, protocol in result.measured.items())
    lower = [name for name in _names(result.measured) if name in BY_NAME and BY_NAME[name].better == "lower"]
    return [f"Metrics of the field, by protocol: {named}. Lower is better: {', '.join(lower)}."] if named else []


def _names(columns: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(column.rpartition("/")[2] for column in columns))


def grids(result: TableResult) -> list[Grid]:
    """Every table of the report but the paper's."""
    optional = convergence_grid(result)
    return [
        verdict_grid(result),
        *difference_grids(result),
        *mean_grids(result),
        *([optional] if optional else []),
        cost_grid(result),
        run_grid(result),
    ]


def decimals_of(column: str) -> int:
    """Decimals of a metric."""
    name = column.rpartition("/")[2]
    known = BY_NAME.get(name)
    return METRICS.get(name, 3 if known is None else known.decimals)


def _number(value: float, decimals: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{decimals}f}"


def _with_interval(value: float, low: float, high: float, decimals: int) -> str:
    form = f"+.{decimals}f"
    return f"{value:{form}}" if math.isnan(low) else f"{value:{form}} [{low:{form}}, {high:{form}}]"


# ---------------------------------------------------------------- the forms it takes


def render_text(result: TableResult) -> str:
    """For the terminal: the verdicts, what they rest on, the paper's numbers."""
    published = published_grid(result)
    shown = [verdict_grid(result), convergence_grid(result), published]
    blocks = [_text(grid) for grid in shown if grid is not None]
    notes = [*facts(result), shared_work(result), *RULE[1:]]
    blocks.insert(1, "\n".join(textwrap.fill(note, TERMINAL_WIDTH, subsequent_indent="  ") for note in notes))
    return "\n\n".join(blocks) + "\n"


def render_markdown(result: TableResult) -> str:
    """The whole report."""
    plan, published = result.plan, published_grid(result)
    blocks = [f"# Table `{plan.table.name}`", plan.table.question, _bullets([*facts(result), *RULE])]
    for grid in grids(result):
        blocks.append(_markdown(grid))
        if grid.title.startswith("Cost"):
            blocks.append(shared_work(result))
    questions = [f"`{name}`: {ABLATIONS[name].question}" for name in plan.table.variants]
    blocks += ["## Questions", _bullets(questions), *([_markdown(published)] if published else [])]
    return "\n\n".join(blocks) + "\n"


def render_csv(result: TableResult) -> str:
    """One line for each variant and metric, numbers unrounded; what is corrected for all of the table, and the verdict,
    for the judged metric alone."""
    out = io.StringIO()
    head = (
        "variant column judged seeds pairs baseline_mean variant_mean difference low high p_if_none p_if_it_counts "
        "detectable verdict"
    )
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head.split())
    for name, columns in result.effects.items():
        expects, judged = ABLATIONS[name].expects, result.judgements.get(name)
        for column, effect in columns.items():
            primary = judged is not None and expects is not None and expects.metric == column
            low, high = interval(effect)
            numbers = (result.mean(BASELINE, column), result.mean(name, column), effect.difference, low, high)
            tested, verdict = (math.nan, math.nan, math.nan), ""
            if judged is not None and primary:
                tested, verdict = (judged.p_confirmed, judged.p_refuted, judged.detectable), judged.verdict
            cells = ["" if math.isnan(number) else repr(number) for number in (*numbers, *tested)]
            writer.writerow([name, column, str(primary).lower(), len(effect.by_seed), effect.clips, *cells, verdict])
    return out.getvalue()


def render_latex(result: TableResult) -> str:
    """The verdicts as a booktabs tabular; what they rest on and the run names as comments."""
    grid = verdict_grid(result)
    lines = [f"% table={result.plan.table.name}; needs the package booktabs", *(f"% {line}" for line in facts(result))]
    lines += [f"% {' '.join(row)}" for row in run_grid(result).rows]
    columns = "l" * len(grid.head)
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(grid.head), r"\midrule"]
    lines += [*map(_latex_row, grid.rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def write_report(result: TableResult, record: RunDirectory) -> None:
    """Nothing; writes every form of the report but the page, each whole or not at all, and numbers for MLflow."""
    forms: dict[str, Callable[[TableResult], str]] = {"md": render_markdown, "csv": render_csv, "tex": render_latex}
    for suffix, render in forms.items():
        atomic_write(record.media / f"table.{suffix}", render(result).encode())
    write_json(record.evaluation_file, _numbers(result))
    record.update(tags={f"verdict.{name}": judged.verdict for name, judged in result.judgements.items()})


def _numbers(result: TableResult) -> dict[str, object]:
    """What is drawn of a table; its `summary` is what MLflow gets of every record."""
    effects, judged = result.effects.items(), result.judgements.items()
    summary = {
        "difference": {name: {c: e.difference for c, e in columns.items()} for name, columns in effects},
        "seconds": {"shared": result.seconds_shared, **result.seconds},
        "peak_mb": {name: value for name, value in result.megabytes.items() if not math.isnan(value)},
        "p_if_none": {name: one.p_confirmed for name, one in judged if not math.isnan(one.p_confirmed)},
        "p_if_it_counts": {name: one.p_refuted for name, one in judged if not math.isnan(one.p_refuted)},
        "speed_up": {f"{one.variant}/{one.against}": one.mean for one in result.speed_ups if one.mean is not None},
    }
    return {"summary": summary}


def _text(grid: Grid) -> str:
    rows = [grid.head, *grid.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(grid.head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([grid.title, lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def _markdown(grid: Grid) -> str:
    rows = [[plain_cell(cell) for cell in row] for row in grid.rows]
    return "\n".join([f"## {grid.title}", "", *table_lines([plain_cell(cell) for cell in grid.head], rows)])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(text: str) -> str:
    for plain in "&%_#$":
        text = text.replace(plain, f"\\{plain}")
    return text.replace("<", "$<$")
