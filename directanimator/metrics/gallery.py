"""The worst clips of each metric on one self-contained page: videos that play anywhere, nothing to fetch."""

import base64
import html
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from directanimator.atomic import atomic_write
from directanimator.video import write_video

Frames = UInt8[np.ndarray, "f h w 3"]
Panel = UInt8[np.ndarray, "_ _ _ 3"]
"""Frames of any size and number, independent of the others'."""
PANEL = 160
"""Height of a panel in pixels; width follows from the frames."""
GAP = 4
DIFFERENCE_GAIN = 3
"""Differences are shown three times as strong."""
DEFAULT_FPS = 8.0


@dataclass(frozen=True, eq=False)
class GalleryClip:
    """What is shown of a clip; panels without frames are left out."""

    name: str
    generated: Frames
    target: Frames
    reference: Panel | None = None
    """One frame or as many as the clip."""
    driving: Panel | None = None
    cues: Panel | None = None
    fps: float = DEFAULT_FPS
    subset: str = ""

    def panels(self) -> dict[str, Panel]:
        """The panels from left to right, by their captions."""
        difference = np.abs(self.generated.astype(np.int16) - self.target) * DIFFERENCE_GAIN
        shown: dict[str, Panel | None] = {
            "reference": self.reference,
            "driving": self.driving,
            "cues": self.cues,
            "generated": self.generated,
            "target": self.target,
            f"difference x {DIFFERENCE_GAIN}": np.clip(difference, 0, 255).astype(np.uint8),
        }
        return {name: frames for name, frames in shown.items() if frames is not None}


@dataclass(frozen=True)
class Ranking:
    """One metric's values by clip, NaN for a clip without one."""

    metric: str
    meaning: str
    better: Literal["higher", "lower"]
    values: Mapping[str, float]
    decimals: int = 3

    def worst(self, count: int, among: Iterable[str]) -> list[str]:
        """Up to `count` clips of `among`: those without value first, then from the worst on; ties by name."""
        there = [name for name in among if name in self.values]
        return sorted(there, key=lambda name: (self._badness(name), name))[:count]

    def _badness(self, name: str) -> float:
        value = self.values[name]
        if math.isnan(value):
            return -math.inf
        return value if self.better == "higher" else -value


def worst_clips(rankings: Sequence[Ranking], subset_of: Mapping[str, str], count: int) -> set[str]:
    """The clips that a gallery of `count` clips per metric and subset shows: what has to be kept for it."""
    return {
        name
        for ranking in rankings
        for members in _subsets(ranking, subset_of).values()
        for name in ranking.worst(count, members)
    }


def write_gallery(
    path: Path, clips: Sequence[GalleryClip], rankings: Sequence[Ranking], count: int = 3, title: str = "Worst clips"
) -> None:
    """Nothing; afterwards `path` is an HTML page with the `count` worst of `clips` per metric and subset.

    Each clip's video stands on the page once, and each list links to it. A clip's panels play in step.
    Raises: UserError if the page cannot be written. ValueError if a clip's generated and target frames differ in
    shape, or another panel's frames are neither one nor as many."""
    shown = {clip.name: clip for clip in clips}
    subset_of = {clip.name: clip.subset for clip in clips}
    lists: list[str] = []
    order: dict[str, list[str]] = {}
    for ranking in rankings:
        for subset, members in _subsets(ranking, subset_of).items():
            worst = [name for name in ranking.worst(count, members) if name in shown]
            lists.append(_list(ranking, subset, worst))
            for name in worst:
                order.setdefault(name, []).append(ranking.metric)
    figures = [_figure(shown[name], metrics, rankings) for name, metrics in order.items()]
    page = _PAGE.format(title=html.escape(title), lists="\n".join(lists), figures="\n".join(figures))
    atomic_write(path, page.encode())


def side_by_side(clip: GalleryClip) -> Panel:
    """The clip's panels next to each other, frame by frame, RGB 0..255.

    Raises: ValueError if a panel has neither one frame nor as many as the clip."""
    count = len(clip.target)
    columns: list[np.ndarray] = []
    for name, frames in clip.panels().items():
        if len(frames) not in (1, count):
            raise ValueError(f"{clip.name}: {name} has {len(frames)} frames, want 1 or {count}")
        columns.append(np.stack([_panel(frames[index % len(frames)]) for index in range(count)]))
    gap = np.full((count, PANEL, GAP, 3), 255, np.uint8)
    parts = [part for column in columns for part in (column, gap)][:-1]
    return np.concatenate(parts, axis=2)


def _panel(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    method = cv2.INTER_NEAREST if frame.shape[0] < PANEL else cv2.INTER_AREA
    return np.asarray(cv2.resize(frame, (_panel_width(frame[None]), PANEL), interpolation=method), np.uint8)


def _panel_width(frames: Panel) -> int:
    height, width = frames.shape[1:3]
    return max(round(width * PANEL / height), 2)


def _subsets(ranking: Ranking, subset_of: Mapping[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in ranking.values:
        if name in subset_of:
            members.setdefault(subset_of[name], []).append(name)
    return members


def _list(ranking: Ranking, subset: str, worst: Sequence[str]) -> str:
    links = "".join(
        f'<li><a href="#{_anchor(name)}">{html.escape(name)}</a> <b>{_number(ranking, name)}</b></li>' for name in worst
    )
    heading = html.escape(f"{ranking.metric}, {subset}" if subset else ranking.metric)
    note = html.escape(f"{ranking.meaning}; {ranking.better} is better")
    return f"<section><h3>{heading}</h3><p>{note}</p><ol>{links}</ol></section>"


def _figure(clip: GalleryClip, metrics: Sequence[str], rankings: Sequence[Ranking]) -> str:
    captions = "".join(
        f'<span style="flex:{_panel_width(frames)}">{html.escape(name)}</span>'
        for name, frames in clip.panels().items()
    )
    scores = ", ".join(
        f"{'<b>' if ranking.metric in metrics else ''}{ranking.metric} {_number(ranking, clip.name)}"
        f"{'</b>' if ranking.metric in metrics else ''}"
        for ranking in rankings
        if clip.name in ranking.values
    )
    heading = html.escape(f"{clip.name} ({clip.subset})" if clip.subset else clip.name)
    return (
        f'<figure id="{_anchor(clip.name)}"><h3>{heading}</h3><div class="captions">{captions}</div>'
        f'<video loop muted autoplay playsinline src="data:video/mp4;base64,{_encoded(clip)}"></video>'
        f"<figcaption>{scores}</figcaption></figure>"
    )


def _number(ranking: Ranking, name: str) -> str:
    value = ranking.values[name]
    return "no value" if math.isnan(value) else f"{value:.{ranking.decimals}f}"


def _anchor(name: str) -> str:
    return html.escape(f"clip-{name}", quote=True).replace(" ", "_")


def _encoded(clip: GalleryClip) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, side_by_side(clip), clip.fps)
        return base64.b64encode(path.read_bytes()).decode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem;
  color: #191919; }}
h1 {{ font-size: 1.5rem; }} h3 {{ margin: .2rem 0; font-size: 1rem; }}
.lists {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 1rem; }}
.lists p {{ margin: 0; color: #666; font-size: .85rem; }} ol {{ margin: .3rem 0; padding-left: 1.3rem; }}
figure {{ margin: 2rem 0; }} video {{ width: 100%; display: block; }}
.captions {{ display: flex; font-size: .85rem; color: #444; }} .captions span {{ text-align: center; }}
figcaption {{ color: #444; font-size: .85rem; }} figcaption b {{ color: #a30000; }}
figure:target h3 {{ background: #fff3c4; }}
</style></head><body><h1>{title}</h1><p>A click stops a video, another lets it go on.</p>
<div class="lists">
{lists}
</div>
{figures}
<script>
for (const video of document.querySelectorAll("video"))
  video.onclick = () => video.paused ? video.play() : video.pause();
</script>
</body></html>
"""
