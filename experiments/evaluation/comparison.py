"""Variants beside the trivial answers, and their differences on the same clips, as text and as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from directanimator.data.spec import Subset
from directanimator.errors import UserError
from directanimator.markdown import plain_cell, table_lines
from directanimator.metrics.intervals import MIN_CLIPS, Interval, mean_interval, paired_difference, share_interval
from directanimator.metrics.protocol import Protocol, compare
from experiments.evaluation.columns import METRICS, SHARES

FULL = "full"
"""The variant that the others are compared with, when it is there."""
SUBSETS: dict[Subset, str] = {
    "cross": "Cross-ID clips (another person drives)",
    "self": "Same-ID clips (the target drives)",
    "occlusion": "Cross-ID clips with things in front of people",
    "complex": "Cross-ID clips of turned backs and fast motions",
    "face": "Cross-ID clips of strong expressions, from near",
    "ambiguous": "Cross-ID clips of twins that a skeleton cannot tell apart",
}
"""Titles, in the order of tables."""
TRIVIAL = {
    "repeat_reference": "repeat the reference",
    "paint_driving_outline": "paint the driving outline",
    "paste_driving_frame": "paste the driving frame",
    "paste_driving_person": "paste the driving person",
}
CEILING = "ceiling (truth through codec)"
NOTHING = "-"

ClipScores = Mapping[int, float]
"""One metric, by clip."""
Columns = Mapping[str, ClipScores]
"""By `subset/metric`."""


class _Evaluation(BaseModel):
    """What evaluation.json must hold; what else it holds does not matter here."""

    model_config = ConfigDict(extra="ignore", strict=True)
    protocol: dict[str, object]
    seed: int
    targets: dict[str, str] = {}
    """Digest of the test clips' pixels, by subset; none in an evaluation of before it was taken."""
    clips: dict[str, list[dict[str, float | None]]]
    trivial: dict[str, dict[str, list[dict[str, float | None]]]]
    ceiling: dict[str, list[dict[str, float | None]]]


@dataclass(frozen=True)
class _Answer:
    """A row: somebody's answer to the test clips."""

    name: str
    columns: Columns

    def answers(self, columns: Sequence[str]) -> bool:
        """Whether it has a value in any of them."""
        return not self.columns.keys().isdisjoint(columns)


@dataclass(frozen=True)
class _Variant(_Answer):
    seeds: tuple[int, ...]

    def title(self, columns: Sequence[str]) -> str:
        """Name, seeds and the number of clips of a subset's columns."""
        clips = {clip for column in columns for clip in self.columns.get(column, {})}
        numbers = " ".join(map(str, self.seeds))
        return f"{self.name} (seed{'s' if len(self.seeds) > 1 else ''} {numbers}, N {len(clips)})"


@dataclass(frozen=True)
class _Table:
    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class _Report:
    tables: list[_Table]
    notes: list[str]


def render_comparison(evaluations: Mapping[str, Sequence[Mapping[str, object]]], width: int = 120) -> str:
    """Tables for a terminal of `width` columns: means with intervals, then paired differences, per setting.

    `evaluations` holds for each variant what evaluation.json says, one per seed.
    Raises: UserError if there is none, one is malformed, or their protocols differ."""
    report = _report(evaluations)
    blocks = [block for table in report.tables for block in _text_blocks(table, width)]
    return "\n\n".join([*blocks, "\n".join(report.notes)]) + "\n"


def render_markdown(evaluations: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """The same tables and notes as Markdown.

    Raises: UserError if there is none, one is malformed, or their protocols differ."""
    report = _report(evaluations)
    blocks = [_markdown_table(table) for table in report.tables]
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in report.notes)]) + "\n"


def scores_by_clip(name: str, evaluation: Mapping[str, object]) -> tuple[Protocol, Columns]:
    """The protocol of an evaluation and its scores: `subset/metric`, then clip; NaN where a clip has no such value.

    Raises: UserError naming `name` if the evaluation is malformed."""
    parsed = _parsed(name, evaluation)
    return Protocol.of_record(parsed.protocol), _columns(parsed.clips)


def check_targets(evaluations: Mapping[str, Mapping[str, object]]) -> None:
    """Nothing, if evaluations by name were made on the very same pixels, as far as they tell.

    Raises: UserError naming two that were not, or one that is malformed."""
    _check_targets({name: _parsed(name, evaluation) for name, evaluation in evaluations.items()})


def _check_targets(evaluations: Mapping[str, _Evaluation]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for name, one in evaluations.items():
        for subset, digest in one.targets.items():
            first, other = known.setdefault(subset, (name, digest))
            if other != digest:
                raise UserError(
                    f"{first} and {name} cannot be compared: their {subset} clips have other pixels ({other} and "
                    f"{digest}); remove evaluation.json of the older one, and it is evaluated again"
                )


def bounds_by_clip(evaluations: Mapping[str, Mapping[str, object]]) -> dict[str, Columns]:
    """The scores of the trivial answers by their title, and last those of the ceiling, from evaluations by name.

    On same-ID clips those that paste the driving video are left out: there it is the target.
    Raises: UserError naming the evaluation that is malformed."""
    return _bounds([_parsed(name, evaluation) for name, evaluation in evaluations.items()])


def _report(evaluations: Mapping[str, Sequence[Mapping[str, object]]]) -> _Report:
    parsed = {name: [_parsed(name, one) for one in several] for name, several in evaluations.items()}
    everything = [one for several in parsed.values() for one in several]
    if not everything or not all(parsed.values()):
        raise UserError("nothing to compare: each variant needs at least one evaluation")
    protocols = [Protocol.of_record(one.protocol) for one in everything]
    for protocol in protocols[1:]:
        compare(protocols[0], protocol)
    _check_targets({f"{name}, seed {one.seed}": one for name, several in parsed.items() for one in several})
    variants = [_variant(name, several) for name, several in parsed.items()]
    *trivial, ceiling = [_Answer(title, columns) for title, columns in _bounds(everything).items()]
    tables = [table for subset in SUBSETS for table in _tables(subset, variants, trivial, ceiling)]
    return _Report(tables, _notes(protocols[0], variants))


def _parsed(name: str, evaluation: Mapping[str, object]) -> _Evaluation:
    try:
        return _Evaluation.model_validate(dict(evaluation))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"evaluation of {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _variant(name: str, evaluations: Sequence[_Evaluation]) -> _Variant:
    by_seed = [_columns(one.clips) for one in evaluations]
    shared = [column for column in by_seed[0] if all(column in columns for columns in by_seed)]
    mean = {column: _mean_by_clip([columns[column] for columns in by_seed]) for column in shared}
    return _Variant(name, mean, tuple(one.seed for one in evaluations))


def _columns(subsets: Mapping[str, Sequence[Mapping[str, float | None]]]) -> dict[str, dict[int, float]]:
    columns: dict[str, dict[int, float]] = {}
    for subset, clips in subsets.items():
        for position, scores in enumerate(clips):
            clip = scores.get("clip")
            number = position if clip is None or not math.isfinite(clip) else int(clip)
            for metric in METRICS:
                if metric in scores:
                    value = scores[metric]
                    columns.setdefault(f"{subset}/{metric}", {})[number] = math.nan if value is None else value
    return columns


def _mean_by_clip(seeds: Sequence[ClipScores]) -> dict[int, float]:
    shared = [clip for clip in seeds[0] if all(clip in scores for scores in seeds)]
    return {clip: math.fsum(scores[clip] for scores in seeds) / len(seeds) for clip in shared}


def _bounds(evaluations: Sequence[_Evaluation]) -> dict[str, Columns]:
    found: dict[str, Columns] = {}
    for key, title in TRIVIAL.items():
        fair = [subset for subset in SUBSETS if subset != "self" or not title.startswith("paste ")]
        found[title] = _first_columns(one.trivial.get(key, {}) for one in evaluations)
        found[title] = {name: values for name, values in found[title].items() if name.partition("/")[0] in fair}
    return {**found, CEILING: _first_columns(one.ceiling for one in evaluations)}


def _first_columns(found: Iterable[Mapping[str, Sequence[Mapping[str, float | None]]]]) -> Columns:
    """Each subset from the first evaluation that has it: these answers depend on no variant and no seed."""
    merged: dict[str, dict[int, float]] = {}
    for subsets in found:
        merged = _columns(subsets) | merged
    return merged


def _tables(
    subset: Subset, variants: Sequence[_Variant], trivial: Sequence[_Answer], ceiling: _Answer
) -> Iterable[_Table]:
    columns = [f"{subset}/{metric}" for metric in METRICS]
    columns = [column for column in columns if any(column in variant.columns for variant in variants)]
    if not columns:
        return
    trivial = [answer for answer in trivial if answer.answers(columns)]
    bounds = [answer for answer in [*trivial, ceiling] if answer.answers(columns)]
    rows = [(variant.title(columns), _mean_cells(variant, columns)) for variant in variants]
    rows += [(answer.name, _mean_cells(answer, columns)) for answer in bounds]
    yield _Table(f"{SUBSETS[subset]}: mean [95 % interval]", columns, rows)
    pairs: list[tuple[_Answer, _Answer]] = [(v, answer) for v in variants for answer in trivial]
    pairs += [(v, full) for full in variants if full.name == FULL for v in variants if v.name != FULL]
    differences = [
        (f"{a.name} - {b.name}", _difference_cells(a, b, columns, marked=not isinstance(b, _Variant))) for a, b in pairs
    ]
    if differences:
        yield _Table(f"{SUBSETS[subset]}: difference on the same clips", columns, differences)


def _mean_cells(answer: _Answer, columns: Sequence[str]) -> list[str]:
    found = [(column, answer.columns.get(column, {})) for column in columns]
    return [_cell(_mean(list(values.values()), column), column, "") for column, values in found]


def _mean(values: list[float], column: str) -> Interval:
    """By the column's kind; of seeds that disagree about a clip, its mean is neither yes nor no."""
    is_share = column.partition("/")[2] in SHARES and {0.0, 1.0}.issuperset(values)
    return share_interval(values) if is_share else mean_interval(values)


def _difference_cells(first: _Answer, second: _Answer, columns: Sequence[str], marked: bool) -> list[str]:
    cells = []
    for column in columns:
        a, b = first.columns.get(column, {}), second.columns.get(column, {})
        shared = [clip for clip in a if clip in b]
        interval = paired_difference([a[clip] for clip in shared], [b[clip] for clip in shared])
        cells.append(_cell(interval, column, "+") + (" *" if marked and interval.excludes_zero else ""))
    return cells


def _cell(interval: Interval, column: str, sign: str) -> str:
    if interval.n == 0:
        return NOTHING
    form = f"{sign}.{METRICS[column.partition('/')[2]]}f"
    if math.isnan(interval.low):
        return format(interval.mean, form)
    if math.isinf(interval.low):
        return f"{interval.mean:{form}} (one clip)"
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _notes(protocol: Protocol, variants: Sequence[_Variant]) -> list[str]:
    where = f"{protocol.metric} version {protocol.version} on {protocol.source}/{protocol.split}"
    what = f"{protocol.frames} frames, {protocol.size} px, {protocol.fps:g} fps, up to {protocol.clips} clips a subset"
    notes = [
        "Higher is better in every column; psnr columns are in dB.",
        "Intervals: 95 % over test clips, by bootstrap, of shares by Wilson; none where all clips say the very same.",
        "Seeds are averaged first: how trainings differ is in no interval. Two trainings are told apart by a table.",
        f"*: the difference from a trivial answer excludes zero, over {MIN_CLIPS} clips or more; uncorrected for many.",
        "Same-ID clips: pasting the driving video is left out, because it is the target.",
        f"Protocol {protocol.id}: {where}, {what}.",
    ]
    return notes + [note for variant in variants for note in _missing(variant)]


def _missing(variant: _Variant) -> list[str]:
    counts = {
        column: (len(values), sum(map(math.isnan, values.values()))) for column, values in variant.columns.items()
    }
    return [
        f"{variant.name}: {column} is the mean of {total - missing} of {total} clips; the others have no such value."
        for column, (total, missing) in counts.items()
        if missing
    ]


def _text_blocks(table: _Table, width: int) -> list[str]:
    """The table, cut between columns so that it fits; the first column stands in each part."""
    lengths = [max(len(text) for text in texts) for texts in _texts_by_column(table)]
    parts = _parts(lengths, width)
    return [(f"{table.title}\n" if part is parts[0] else "") + _text_block(table, part, lengths) for part in parts]


def _parts(lengths: Sequence[int], width: int) -> list[list[int]]:
    """The columns after the first, in as few and as equal parts as fit into `width`."""
    numbers = range(1, len(lengths))
    for count in numbers:
        parts = [list(map(int, part)) for part in np.array_split(numbers, count)]
        if all(lengths[0] + sum(2 + lengths[index] for index in part) <= width for part in parts):
            return parts
    return [[index] for index in numbers]


def _texts_by_column(table: _Table) -> list[list[str]]:
    names = ["", *(name for name, _ in table.rows)]
    return [names, *([head, *(cells[i] for _, cells in table.rows)] for i, head in enumerate(table.columns))]


def _text_block(table: _Table, chosen: Sequence[int], lengths: Sequence[int]) -> str:
    texts = _texts_by_column(table)
    shown = [(texts[0], lengths[0]), *((texts[index], lengths[index]) for index in chosen)]
    lines = ["  ".join(column[row].ljust(length) for column, length in shown).rstrip() for row in range(len(texts[0]))]
    rule = "-" * (sum(length for _, length in shown) + 2 * (len(shown) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def _markdown_table(table: _Table) -> str:
    rows = [[plain_cell(text) for text in (name, *cells)] for name, cells in table.rows]
    return "\n".join([f"### {table.title}", "", *table_lines(["", *map(plain_cell, table.columns)], rows)])
