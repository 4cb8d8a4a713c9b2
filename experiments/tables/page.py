"""A table as one self-contained page: verdicts, forest plots, curves, the same clips by every variant.

Everything is inside the file: styles, plots as SVG, pictures as PNG. It asks no server for anything."""

import base64
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ablations.registry import ABLATIONS
from directanimator.atomic import atomic_write, write_json
from experiments.record import RunDirectory
from experiments.tables.convergence import Curve
from experiments.tables.plan import BASELINE, Plan
from experiments.tables.report import (
    RULE,
    Grid,
    convergence_grid,
    cost_grid,
    difference_grids,
    facts,
    mean_grids,
    published_grid,
    run_grid,
    shared_work,
    verdict_grid,
)
from experiments.tables.result import TableResult
from experiments.tables.sheet import shown_weights, variant_sheet
from experiments.tables.statistics import Verdict, interval, strictest_error

INK, FAINT, RULE_COLOR, BASE_COLOR, MARK = "#1f2328", "#8c959f", "#d0d7de", "#6e7781", "#0550ae"
COLORS: dict[Verdict, str] = {
    "confirmed": "#1a7f37",
    "refuted": "#bc4c00",
    "not distinguishable": "#6e7781",
    "no verdict": "#8c959f",
}
PLOT_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "directanimator",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": RULE_COLOR,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": BASE_COLOR,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MOST_SHOWN = 6.0
"""Half-width of the forest plot, in smallest differences that count; what lies beyond is an arrow."""
CURVES_A_ROW = 4


def write_page(result: TableResult, plan: Plan, record: RunDirectory) -> None:
    """Nothing; writes the page, its forest plot as SVG, and the contact sheet, each whole or not at all.

    The sheet is made only if it is missing or shows other weights: the models must answer once more for it."""
    sheet, forest = record.media / "clips.png", forest_plot(result)
    _renew_sheet(sheet, plan)
    atomic_write(record.media / "forest.svg", forest.encode())
    atomic_write(record.media / "table.html", render_page(result, forest, sheet.read_bytes()).encode())


def _renew_sheet(sheet: Path, plan: Plan) -> None:
    shown, source = shown_weights(plan), sheet.with_suffix(".json")
    if sheet.exists() and _read_json(source) == shown:
        return
    picture = variant_sheet(plan)
    atomic_write(sheet, lambda draft: Image.fromarray(picture).save(draft))
    write_json(source, shown)  # last: until then the sheet is taken for an old one


def _read_json(file: Path) -> object:
    """What the file says; None if nothing that can be read."""
    try:
        return json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


# ---------------------------------------------------------------- plots


def forest_plot(result: TableResult) -> str:
    """SVG: for every variant the difference on its own metric, in units of the smallest difference that counts.

    Right of 1 is as large as was expected; a line whose left end is right of 0 is sure, but for the correction."""
    names = [name for name in result.plan.table.variants if name in result.judgements]
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(9.2, 0.9 + 0.42 * max(1, len(names))), layout="constrained")
        axes = figure.subplots()
        reach = _reach(result, names)
        axes.axvspan(1, reach, color="#1a7f37", alpha=0.06, linewidth=0)
        for mark, style in ((0, "-"), (1, (0, (4, 3)))):
            axes.axvline(mark, color=INK if not mark else "#1a7f37", linewidth=0.9, linestyle=style, zorder=1)
        for row, name in enumerate(names):
            _forest_row(axes, result, name, len(names) - 1 - row, reach)
        axes.set(xlim=(-reach, reach), ylim=(-0.7, len(names) - 0.3), yticks=range(len(names)))
        axes.set_yticklabels(list(reversed(names)))
        axes.set_xlabel("effect in the expected direction, in units of the smallest difference that counts")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        right = axes.twinx()
        right.set(ylim=axes.get_ylim(), yticks=range(len(names)))
        right.set_yticklabels([_forest_note(result, name) for name in reversed(names)])
        right.tick_params(axis="y", length=0, labelcolor=BASE_COLOR)
        right.spines["left"].set_visible(False)
        return _svg(figure)


def _reach(result: TableResult, names: Sequence[str]) -> float:
    judged = [(result.judgements[name], abs(_scale(name))) for name in names]
    ends = [scale * abs(end) for one, scale in judged for end in (one.low, one.effect.difference, one.high)]
    return min(MOST_SHOWN, max([2.0, *(1.1 * end for end in ends if not math.isnan(end))]))


def _scale(name: str) -> float:
    """What a difference is multiplied with: 1 is then the smallest that counts, in the expected direction."""
    expects = ABLATIONS[name].expects
    assert expects is not None  # it would not have been judged
    return (1 if expects.direction == "higher" else -1) / expects.at_least


def _forest_row(axes: Axes, result: TableResult, name: str, y: int, reach: float) -> None:
    judged, scale = result.judgements[name], _scale(name)
    color, effect = COLORS[judged.verdict], judged.effect
    strictest = interval(effect, 1 - 2 * strictest_error(one.effect for one in result.judgements.values()))
    for ends, width in ((strictest, 0.9), ((judged.low, judged.high), 2.6)):
        low, high = sorted(scale * end for end in ends)
        if not math.isnan(low):
            axes.plot([max(low, -reach), min(high, reach)], [y, y], color=color, linewidth=width, solid_capstyle="butt")
            for end, beyond, marker in ((-reach, low < -reach, "<"), (reach, high > reach, ">")):
                if beyond:
                    axes.plot(end, y, marker, color=color, markersize=2 + 2 * width, clip_on=False)
    if abs(scale * effect.difference) <= reach:
        axes.plot(scale * effect.difference, y, "o", color=color, markersize=6.5, markeredgecolor="white", zorder=3)
    for value in effect.by_seed:
        if abs(scale * value) <= reach:
            axes.plot(scale * value, y + 0.24, "|", color=color, markersize=5, alpha=0.8)


def _forest_note(result: TableResult, name: str) -> str:
    expects = ABLATIONS[name].expects
    assert expects is not None  # it would not have been judged
    return f"{expects.metric}, {expects.at_least:g}: {result.judgements[name].verdict}"


def metric_plots(result: TableResult, subset: str) -> str:
    """SVG: the differences of every metric of a subset, variants in rows, one panel a metric."""
    columns = [column for column in result.columns if column.startswith(f"{subset}/")]
    columns = [column for column in columns if any(_moves(result, name, column) for name in result.effects)]
    if not columns:
        return ""
    names = list(result.plan.table.variants)
    with rc_context(PLOT_STYLE):
        size = (1.7 + 1.5 * len(columns), 0.7 + 0.26 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
            for row, name in enumerate(reversed(names)):
                _metric_row(axes, result, name, column, row)
            axes.set_title(column.partition("/")[2], fontsize=9.5)
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", labelsize=8)
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=2)
        panels[0].set(yticks=range(len(names)), ylim=(-0.6, len(names) - 0.4))
        panels[0].set_yticklabels(list(reversed(names)))
        return _svg(figure)


def _moves(result: TableResult, name: str, column: str) -> bool:
    effect = result.effects[name].get(column)
    return effect is not None and any(effect.by_seed)


def _metric_row(axes: Axes, result: TableResult, name: str, column: str, y: int) -> None:
    effect = result.effects[name].get(column)
    if effect is None:
        return
    low, high = interval(effect)
    sure = low > 0 or high < 0
    color = MARK if sure else FAINT
    if not math.isnan(low):
        axes.plot([low, high], [y, y], color=color, linewidth=1.6)
    axes.plot(effect.difference, y, "o", color=color, markersize=4.5)


def curve_plots(result: TableResult) -> str:
    """SVG: the held-out loss of each variant beside the full method's, one panel a variant; empty if none is known."""
    names = [name for name in result.plan.table.variants if result.curves[name]]
    if not names or not result.curves[BASELINE]:
        return ""
    rows = -(-len(names) // CURVES_A_ROW)
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(9.6, 2.1 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, CURVES_A_ROW, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            _draw_curves(axes, result.curves[BASELINE], FAINT)
            _draw_curves(axes, result.curves[name], MARK)
            axes.set_title(name, fontsize=9.5, color=MARK)
            axes.locator_params(axis="both", nbins=4)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes in grid.flat[max(0, len(names) - CURVES_A_ROW) : len(names)]:
            axes.tick_params(axis="x", labelbottom=True)
        figure.supxlabel("optimizer steps of the cross-ID stage", fontsize=9.5)
        figure.supylabel("held-out loss", fontsize=9.5)
        return _svg(figure)


def _draw_curves(axes: Axes, curves: Mapping[int, Curve], color: str) -> None:
    for curve in curves.values():
        axes.plot(curve.steps, curve.losses, color=color, linewidth=0.7, alpha=0.45)
    first = next(iter(curves.values()))
    means = np.mean([curve.losses for curve in curves.values() if curve.steps == first.steps], axis=0)
    axes.plot(first.steps, means, color=color, linewidth=1.8)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


# ---------------------------------------------------------------- the page


STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{font:15px/1.5 -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;color:#1f2328;background:#fff;
  max-width:1080px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:26px;margin:0 0 2px}h1 code{background:none;padding:0}
h2{font-size:18px;margin:38px 0 8px;padding-top:12px;border-top:1px solid #d0d7de}
p.lead{font-size:17px;color:#57606a;margin:0 0 14px}
ul.facts{color:#57606a;font-size:13.5px;padding-left:18px;margin:8px 0}
code{font:12.5px ui-monospace,Menlo,Consolas,monospace;background:#f6f8fa;padding:1px 4px;border-radius:4px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;margin:6px 0 4px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid #eaeef2;vertical-align:top;white-space:nowrap}
th{color:#57606a;font-weight:600;border-bottom:1px solid #d0d7de}
td.wide{white-space:normal;min-width:220px}
.chip{display:inline-block;padding:0 9px;border-radius:10px;color:#fff;font-size:12.5px;white-space:nowrap}
.summary{display:flex;gap:10px;flex-wrap:wrap;margin:14px 0}
.note{color:#57606a;font-size:13.5px;max-width:860px}
figure{margin:10px 0}figure svg{max-width:100%;height:auto}
img{max-width:100%;image-rendering:auto;border:1px solid #eaeef2}
.published{background:#fff8e6;border:1px solid #e6d5a4;border-radius:6px;padding:4px 16px 12px;margin-top:40px}
.published h2{border:0;margin:8px 0 4px;padding:0;font-size:16px}
details summary{cursor:pointer;color:#0550ae;margin:10px 0}
"""


def render_page(result: TableResult, forest: str, sheet_png: bytes) -> str:
    """The whole page."""
    table = result.plan.table
    title = f"Table {table.name}, {result.plan.preset}"
    parts = [
        f"<h1>Table <code>{_text(table.name)}</code></h1><p class=lead>{_text(table.question)}</p>",
        _summary(result),
        _facts(result),
        "<h2>Verdicts</h2>",
        _verdicts(result),
        _figure(forest, _FOREST_NOTE),
        f"<details><summary>How a verdict comes about</summary><ul class=facts>"
        f"{''.join(f'<li>{_text(line)}</li>' for line in RULE)}</ul></details>",
        *_measurements(result),
        *_curves_and_convergence(result),
        "<h2>The same clips and noise by every variant</h2>",
        f'<p class=note>{_text(_SHEET_NOTE)}</p><img alt="generated clips by variant" src="{_data_uri(sheet_png)}">',
        "<h2>Cost and runs</h2>",
        f"<p class=note>{_text(shared_work(result))}</p>",
        f"<details><summary>Seconds and memory for each variant, and the runs</summary>{_table(cost_grid(result))}"
        f"{_table(run_grid(result))}</details>",
        _published(result),
    ]
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


_FOREST_NOTE = (
    "Every variant on the metric that its question names, beside the full method on the same seeds and clips. Dot: "
    "difference; thick bar: 90 % interval over seeds; thin: the same, corrected for the number of variants that were "
    "tested; ticks: single seeds. Right of the dashed line the effect is as large as what counts; arrows leave the "
    "plot. Colors are verdicts."
)
_SHEET_NOTE = (
    "First seed. Cross-driven where there are such clips. Every variant starts from the same noise, so what differs "
    "is the variant."
)
_CURVE_NOTE = (
    "Denoising loss on held-out clips, noise and timesteps fixed. Blue: the variant; gray: the full method; thin "
    "lines: single seeds."
)


def _summary(result: TableResult) -> str:
    verdicts = [judged.verdict for judged in result.judgements.values()]
    return (
        "<div class=summary>"
        + "".join(_chip(name, f"{verdicts.count(name)} {name}") for name in COLORS if name in verdicts)
        + "</div>"
    )


def _facts(result: TableResult) -> str:
    return f"<ul class=facts>{''.join(f'<li>{_text(line)}</li>' for line in facts(result))}</ul>"


def _verdicts(result: TableResult) -> str:
    grid = verdict_grid(result)
    head = "".join(f"<th>{_text(cell)}</th>" for cell in ("variant and question", *grid.head[1:]))
    rows = []
    for name, *cells, verdict in grid.rows:
        question = f'<td class=wide><code>{_text(name)}</code><br><span class=note>{_text(ABLATIONS[name].question)}'
        middle = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{question}</span></td>{middle}<td>{_chip(verdict, verdict)}</td></tr>")
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _measurements(result: TableResult) -> list[str]:
    parts = ["<h2>All metrics</h2><p class=note>Variant minus full method, 90 % intervals over seeds, blue where zero "
             "is outside. No verdicts and no correction for many: for looking, not for claiming.</p>"]  # fmt: skip
    for difference, mean in zip(difference_grids(result), mean_grids(result), strict=True):
        subset = mean.title.partition(":")[0]
        parts.append(_figure(metric_plots(result, subset), f"{subset}-driven clips"))
        parts.append(f"<details><summary>{subset}: numbers</summary>{_table(mean)}{_table(difference)}</details>")
    return parts


def _curves_and_convergence(result: TableResult) -> list[str]:
    curves, convergence = curve_plots(result), convergence_grid(result)
    if not curves:
        return []
    return [
        "<h2>Held-out loss during cross-ID training</h2>",
        _table(convergence) if convergence else "",
        _figure(curves, _CURVE_NOTE),
    ]


def _published(result: TableResult) -> str:
    grid = published_grid(result)
    return f"<section class=published>{_table(grid)}</section>" if grid else ""


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in grid.head)
    rows = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in grid.rows)
    return f"<h3>{_text(grid.title)}</h3><div class=scroll><table><tr>{head}</tr>{rows}</table></div>"


def _chip(verdict: str, text: str) -> str:
    color = COLORS.get(verdict, FAINT)  # type: ignore[call-overload]  # a variant that is not measured has no verdict
    return f'<span class=chip style="background:{color}">{_text(text)}</span>'


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption class=note>{_text(caption)}</figcaption></figure>" if svg else ""


def _text(text: str) -> str:
    return html.escape(text)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
