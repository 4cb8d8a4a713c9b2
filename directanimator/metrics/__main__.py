"""`python -m directanimator.metrics generated=DIR target=DIR`: measures any two folders of clips."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from directanimator.command import DEBUG, run_command
from directanimator.errors import UserError, did_you_mean
from directanimator.metrics.catalog import METRICS, ROLES, ClipMetric, Role, SetMetric, chosen, missing_files
from directanimator.metrics.clip_folder import clips_of, read_clip
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.folders import Folders, Match, measure
from directanimator.metrics.gallery import DEFAULT_FPS, GalleryClip, worst_clips, write_gallery
from directanimator.metrics.measurement import DEFAULT_WINDOW, Measurement
from directanimator.metrics.networks.i3d import MIN_FRAMES
from directanimator.metrics.report import differences_to, rankings, text, write_report
from directanimator.places import WEIGHTS_VARIABLE, features_root
from directanimator.words import check_options, read_words, whole

USAGE = "python -m directanimator.metrics generated=DIR target=DIR [reference=DIR driving=DIR] [metrics=all]"
HELP = f"""{USAGE} [key=value ...]

  generated=DIR    clips to judge: videos, or one folder of frames per clip; a clip's name is its file's
  target=DIR       the true clips, by the same names
  reference=DIR    reference images or clips (their first face), by the same names
  driving=DIR      driving clips, by the same names; landmarks are compared with these instead of the target's
  metrics=all      or names with commas between; --list prints them
  match=all        refuse folders that differ in names, sizes, lengths or rates; match=common takes what agrees
  window={DEFAULT_WINDOW}        frames per I3D feature, at least {MIN_FRAMES}
  output=DIR       where report.json, report.html, clips.csv and gallery.html go;
                   default: outputs/metrics/NAME of the generated folder
  worst=3          clips per metric in the gallery; 0 for none
  against=FILE     an earlier report.json: differences on the same clips, where the protocols are equal
  --list           what the metrics are
  --debug          show the traceback of an error

Standard FID, LPIPS, ArcFace and DWPose need files that cannot be shipped: put them into ${WEIGHTS_VARIABLE}
(default: .cache/weights); --list names them. metrics=all takes them once they are there.

Exit status: 0; 1 when a clip could not be read or a metric not be measured (they are listed); 2 for bad input."""
OTHER_KEYS = ("metrics", "match", "window", "output", "worst", "against")
KEYS = (*ROLES, *OTHER_KEYS)
OPTIONS = ("--list", DEBUG, "--help")
INCOMPLETE = 1
MAX_WINDOW, MAX_WORST = 512, 100


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    folders: Folders
    metrics: list[ClipMetric | SetMetric]
    match: Match
    window: int
    output: Path
    worst: int
    against: Path | None


def parse(tokens: Sequence[str]) -> Request:
    """The request of the `key=value` words.

    Raises: UserError for an unknown, repeated or missing key, or an illegal value."""
    words = read_words(tokens, KEYS)
    missing = [key for key in ("generated", "target") if key not in words]
    if missing:
        raise UserError(f"missing {', '.join(f'{key}=DIR' for key in missing)}; usage: {USAGE}")
    paths: dict[Role, Path] = {role: Path(words[role]) for role in ROLES if role in words}
    return Request(
        folders=Folders(paths),
        metrics=chosen(words.get("metrics", "all")),
        match=_match(words.get("match", "all")),
        window=whole(words, "window", DEFAULT_WINDOW, MIN_FRAMES, MAX_WINDOW),
        output=Path(words.get("output", Path("outputs", "metrics", paths["generated"].resolve().name))),
        worst=whole(words, "worst", 3, 0, MAX_WORST),
        against=Path(words["against"]) if "against" in words else None,
    )


def _match(word: str) -> Match:
    if word == "all":
        return "all"
    if word == "common":
        return "common"
    raise UserError(f"match={word}: want all or common{did_you_mean(word, ('all', 'common'))}")


def run(request: Request, show: Callable[[str], None] = print) -> Measurement:
    """What was measured; it is shown, and the report is written.

    Raises: UserError for bad input."""
    if request.against is not None and not request.against.is_file():
        raise UserError(f"against={request.against}: no such file")
    notes: list[str] = []
    cache = FeatureCache(features_root(), notes.append)
    measurement = measure(request.folders, request.metrics, request.match, request.window, cache)
    measurement.notes.extend(notes)
    differences = differences_to(measurement, request.against) if request.against else []
    show(text(measurement, max(shutil.get_terminal_size((120, 24)).columns, 80)))
    if differences:
        show(f"\nminus {request.against}:")
        show("\n".join(differences))
    gallery = _write_gallery(request, measurement) if request.worst else None
    write_report(request.output, measurement, differences, gallery)
    show(f"report: {request.output / 'report.html'}")
    return measurement


def _write_gallery(request: Request, measurement: Measurement) -> str | None:
    ranked = rankings(measurement)
    worst = worst_clips(ranked, dict.fromkeys(measurement.clips, ""), request.worst)
    clips = [clip for name in sorted(worst) if (clip := _gallery_clip(request.folders, name)) is not None]
    if not clips:
        return None
    write_gallery(request.output / "gallery.html", clips, ranked, request.worst)
    return "gallery.html"


def _gallery_clip(folders: Folders, name: str) -> GalleryClip | None:
    """The clip in all its roles, cut to the common length as it was measured."""
    read = {role: read_clip(clips_of(path, role)[name]) for role, path in folders.paths.items()}
    length = min(len(clip.frames) for role, clip in read.items() if role != "reference")
    part = {role: clip.frames[: 1 if role == "reference" else length] for role, clip in read.items()}
    fps = read["target"].fps or read["generated"].fps or DEFAULT_FPS
    return GalleryClip(name, part["generated"], part["target"], part.get("reference"), part.get("driving"), fps=fps)


def _listing() -> str:
    lines = []
    for metric in METRICS:
        needs = f" (needs {', '.join(found)})" if (found := [*metric.roles, *missing_files(metric)]) else ""
        lines.append(f"{metric.name:22} {metric.better:6} is better  {metric.meaning}{needs}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    return run_command(_command, arguments)


def _command(tokens: list[str]) -> int:
    check_options(tokens, OPTIONS)
    if "--help" in tokens or "--list" in tokens:
        print(HELP if "--help" in tokens else _listing())
        return 0
    measurement = run(parse(tokens))
    return INCOMPLETE if measurement.failures or measurement.unavailable else 0


if __name__ == "__main__":
    sys.exit(main())
