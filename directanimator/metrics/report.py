"""What was measured, as text, JSON, CSV and a page; and the differences to an earlier report."""

import csv
import html
import io
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from directanimator.atomic import atomic_write, write_json
from directanimator.errors import UserError
from directanimator.metrics.gallery import Ranking
from directanimator.metrics.intervals import Interval, paired_difference
from directanimator.metrics.measurement import Measured, Measurement
from directanimator.metrics.protocol import MetricProtocol, compare, compare_by_clip

NOTHING = "-"
MAX_LISTED = 12
HEADINGS = ("metric", "better", "value [95 % interval]", "truth", "N", "no value", "protocol")


def rankings(measurement: Measurement) -> list[Ranking]:
    """The metrics that have a value per clip, as a gallery wants them. `psnr_disco` says nothing about a clip."""
    return [
        Ranking(result.metric.name, result.metric.meaning, result.metric.better, result.clips, result.metric.decimals)
        for result in measurement.results
        if result.clips and result.metric.name != "psnr_disco"
    ]


def text(measurement: Measurement, width: int = 120) -> str:
    """The table and the lists for a terminal of `width` columns."""
    rows = [_cells(result, measurement) for result in measurement.results]
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
             for row in (HEADINGS, *rows)]  # fmt: skip
    lines.insert(1, "  ".join("-" * size for size in widths))
    for line in remarks(measurement):
        lines += textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False)
    return "\n".join(lines)


def remarks(measurement: Measurement) -> list[str]:
    """One line for everything that is not in the table, or not as it should be."""
    distances = [result for result in measurement.results if result.bias is not None]
    lines = [f"{result.metric.name}: {_size_alone(result)}" for result in distances]
    lines += [f"not measured: {name}: {reason}" for name, reason in measurement.unavailable.items()]
    lines += [f"left out: {line}" for line in measurement.left_out]
    grouped: dict[tuple[str, str], list[str]] = {}
    for failure in measurement.failures:
        grouped.setdefault((failure.where, failure.reason), []).append(failure.clip)
    for (where, reason), clips in grouped.items():
        listed = ", ".join(clips[:MAX_LISTED]) + (
            f" and {len(clips) - MAX_LISTED} more" if len(clips) > MAX_LISTED else ""
        )
        lines.append(f"no value: {where}: {listed}: {reason}")
    return [*lines, *(f"note: {note}" for note in measurement.notes)]


def differences_to(measurement: Measurement, earlier: Path) -> list[str]:
    """One line per metric: this report minus the earlier one, on the clips with a value in both, with its interval.

    A metric measured by another protocol is not compared, and the line says in which field they differ.
    Raises: UserError if the file is no report."""
    before = read_report(earlier)
    lines = []
    for result in measurement.results:
        name = result.metric.name
        entry = before.get(name)
        if entry is None:
            lines.append(f"{name}: not in {earlier}")
            continue
        try:
            compared = compare_by_clip if result.clips else compare
            compared(MetricProtocol.of_record(entry["protocol"]), result.protocol)
        except UserError as problem:
            lines.append(f"{name}: not compared: {problem}")
            continue
        lines.append(f"{name}: {_difference(result, entry)}")
    return lines


def read_report(path: Path) -> dict[str, Mapping[str, object]]:
    """The metrics of a report.json by name.

    Raises: UserError if the file is missing or no report."""
    try:
        record = json.loads(path.read_bytes())
        return {str(entry["protocol"]["metric"]): entry for entry in record["metrics"]}
    except FileNotFoundError as problem:
        raise UserError(f"against={path}: no such file") from problem
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise UserError(f"against={path}: not a report.json of this command") from problem


def write_report(folder: Path, measurement: Measurement, differences: Sequence[str], gallery: str | None) -> None:
    """Nothing; afterwards the folder holds report.json, clips.csv and report.html, each whole.

    Raises: UserError if a file cannot be written."""
    write_json(folder / "report.json", record(measurement) | {"differences": list(differences)})
    atomic_write(folder / "clips.csv", _table(measurement).encode())
    atomic_write(folder / "report.html", _page(measurement, differences, gallery).encode())


# ---------------------------------------------------------------- cells


def _cells(result: Measured, measurement: Measurement) -> tuple[str, ...]:
    metric = result.metric
    name = f"{metric.name} ({metric.unit})" if metric.unit else metric.name
    truth = NOTHING if result.truth is None else f"{result.truth:.{metric.decimals}f}"
    counted = str(result.protocol.clips)
    if result.protocol.items != result.protocol.clips:
        counted += f" ({result.protocol.items})"
    missing = len(measurement.clips) - result.protocol.clips
    return name, metric.better, _value(result), truth, counted, str(missing), result.protocol.id


def _value(result: Measured) -> str:
    decimals = result.metric.decimals
    if math.isnan(result.value):
        return NOTHING
    shown = f"{result.value:.{decimals}f}"
    if result.interval is None:
        return shown
    return f"{shown} {_ends(result.interval, decimals)}"


def _ends(interval: Interval, decimals: int) -> str:
    if math.isnan(interval.low):
        return "[all clips alike: no interval]"
    if math.isinf(interval.low):
        return "[one clip: no interval]"
    return f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def _size_alone(result: Measured) -> str:
    """What the size of the sets alone does to the distance."""
    decimals, count = result.metric.decimals, result.protocol.items
    if result.bias is None or math.isnan(result.bias):
        return f"N {count}; too few to estimate the small-sample bias"
    if result.bias == 0:
        return f"N {count}; unbiased, 0 on average for clips of one distribution and 0 for equal ones"
    return (
        f"N {count}; two independent sets of this size from the target's own distribution would be about "
        f"{result.bias:.{decimals}f} apart (small-sample bias); equal sets are at 0"
    )


def _difference(result: Measured, entry: Mapping[str, object]) -> str:
    decimals = result.metric.decimals
    earlier = entry.get("clips")
    if not result.clips or not isinstance(earlier, dict):
        value = entry.get("value")
        known = isinstance(value, (int, float)) and not math.isnan(result.value)
        return f"{result.value - float(value):+.{decimals}f}" if known and isinstance(value, (int, float)) else NOTHING
    names = sorted(result.clips)
    values = [earlier.get(name) for name in names]
    first = [result.clips[name] for name in names]
    found = paired_difference(first, [math.nan if value is None else float(value) for value in values])
    if found.n == 0:
        return f"{NOTHING} (no clip has both)"
    verdict = "" if found.excludes_zero else ", not distinguishable"
    return f"{found.mean:+.{decimals}f} {_ends(found, decimals)} on {found.n} clips{verdict}"


# ---------------------------------------------------------------- files


def record(measurement: Measurement) -> dict[str, object]:
    """All of the measurement as JSON objects: values, protocols, every clip, and what has no value."""
    return {
        "clips": measurement.clips,
        "metrics": [_result_record(result) for result in measurement.results],
        "not_measured": dict(measurement.unavailable),
        "left_out": list(measurement.left_out),
        "failures": [{"clip": one.clip, "where": one.where, "reason": one.reason} for one in measurement.failures],
        "notes": list(measurement.notes),
    }


def _result_record(result: Measured) -> dict[str, object]:
    interval = result.interval
    return {
        "metric": result.metric.name,
        "meaning": result.metric.meaning,
        "better": result.metric.better,
        "unit": result.metric.unit,
        "value": _or_none(result.value),
        "low": None if interval is None else _or_none(interval.low),
        "high": None if interval is None else _or_none(interval.high),
        "truth": None if result.truth is None else _or_none(result.truth),
        "small_sample_bias": None if result.bias is None else _or_none(result.bias),
        "protocol_id": result.protocol.id,
        "protocol": result.protocol.model_dump(mode="json"),
        "clips": {name: _or_none(value) for name, value in result.clips.items()} or None,
    }


def _or_none(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _table(measurement: Measurement) -> str:
    """One row per clip, one column per metric; empty where there is no value."""
    columns = [result for result in measurement.results if result.clips]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["clip", *(result.metric.name for result in columns)])
    for name in measurement.clips:
        values = [result.clips.get(name, math.nan) for result in columns]
        writer.writerow([name, *("" if math.isnan(value) else repr(value) for value in values)])
    return written.getvalue()


def _page(measurement: Measurement, differences: Sequence[str], gallery: str | None) -> str:
    rows = "".join(_page_row(result, measurement) for result in measurement.results)
    headings = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    parts = [
        f"<table><thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table>",
        _items("Differences to the earlier report", differences),
        _items("Read beside the table", remarks(measurement)),
    ]
    if gallery is not None:
        parts.insert(1, f'<p><a href="{html.escape(gallery, quote=True)}">Worst clips, with videos</a>, '
                        '<a href="clips.csv">values per clip</a></p>')  # fmt: skip
    return _PAGE.format(body="\n".join(parts), clips=len(measurement.clips))


def _page_row(result: Measured, measurement: Measurement) -> str:
    cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(result, measurement)[1:])
    name = html.escape(_cells(result, measurement)[0])
    protocol = ", ".join(f"{key}: {value}" for key, value in result.protocol.model_dump().items() if value)
    return (
        f"<tr><td><details><summary>{name}</summary><small>{html.escape(result.metric.meaning)}<br>"
        f"{html.escape(protocol)}</small></details></td>{cells}</tr>"
    )


def _items(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Metrics</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1000px; padding: 0 1rem;
  color: #191919; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; padding: .3rem .6rem; vertical-align: top; }}
th {{ border-bottom: 2px solid #191919; }} tr + tr td {{ border-top: 1px solid #ddd; }}
td:first-child {{ max-width: 26rem; }} summary {{ cursor: pointer; }} small {{ color: #555; }} li {{ margin: .2rem 0; }}
</style></head><body><h1>Metrics of {clips} clips</h1>
{body}
</body></html>
"""
