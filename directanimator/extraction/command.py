"""`python -m directanimator.cues folder=DIR output=DIR`: the driving cues of every video of a folder.

The cues themselves lie in the cache, by content; the output folder holds `manifest.json`, which says where, what the
gate rejected and why, and which videos could not be used; and previews if they are asked for."""

import functools
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from directanimator.atomic import write_json
from directanimator.cluster import Failed, Share, cluster, engine_keys, read_engine
from directanimator.command import DEBUG, run_command
from directanimator.errors import UserError
from directanimator.extraction.backends import watch_of
from directanimator.extraction.extract import Extracted, extract, watched_reference
from directanimator.extraction.preview import sheet_row, write_preview, write_sheet
from directanimator.extraction.sightings import Watch
from directanimator.extraction.spec import ExtractionSpec
from directanimator.extraction.store import DEFAULT_LIMIT_GB, Store
from directanimator.extraction.stream import SPOOLED_BYTES
from directanimator.places import as_variables, cues_root
from directanimator.progress import progress
from directanimator.video import VIDEO_SUFFIXES, videos_in
from directanimator.words import check_options, read_words, real

USAGE = "python -m directanimator.cues folder=DIR output=DIR"
HELP = f"""{USAGE} [key=value ...]
python -m directanimator.cues driving=FILE output=DIR [key=value ...]

  folder=DIR       extract the cues of every video in it; one that fails is listed, not fatal
                   ({", ".join(VIDEO_SUFFIXES)})
  driving=FILE     extract the cues of one video, and write its preview
  output=DIR       gets manifest.json: frames, gate verdicts and reasons, and where in the cache the cues lie
  preview=true     also DIR/NAME_cues.mp4: frame, mask, pose cue, face cue, location cue
  sheet=true       also DIR/sheet.png: one such row of every video
  reference=FILE   picture of the person that drivers are laid over; default: drivers stay where they are
  cache=DIR        where cues are kept; default: $DIRECTANIMATOR_CUES, else .cache/cues
  cache_gb={DEFAULT_LIMIT_GB:g}     size of the cache; what was used least recently is evicted beyond it
                   frames wait in $TMPDIR while their video is worked on: {SPOOLED_BYTES} x size^2 bytes each
  mask_weights=DIR, face_weights=DIR   weights of perception.masks and perception.faces; else .cache/weights/BACKEND
  size=512 fps=8 crop=center|person perception.masks=... perception.faces=... perception.person=0.1,0.2,0.4,0.9
  trust.min_score=... cues.pose.cutoff=... cues.gate.min_area_ratio=...   and every other field of the spec
  engine=ray       on the Ray cluster of $RAY_ADDRESS, else on one of this machine alone; machines must share the files
  cpus_per_video=1 what each video takes there; the nets run on processors
  --verify         remove damaged entries of the cache, and end
  --debug          show the traceback of an error"""
PLACES = ("folder", "driving", "output", "reference", "cache", "mask_weights", "face_weights")
WORDS = (*PLACES, "preview", "sheet", "cache_gb")
OPTIONS = (DEBUG, "--help", "--verify")
UNIT = "video"
SOME_FAILED = 1


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    folder: Path | None
    driving: Path | None
    output: Path | None
    reference: Path | None
    preview: bool
    sheet: bool
    store: Store
    mask_weights: Path | None
    face_weights: Path | None
    spec: ExtractionSpec
    share: Share | None
    """What of a machine of a cluster each video takes; None: they are worked on here, in a row."""


def parse(tokens: Sequence[str]) -> Request:
    """The request of the `key=value` words.

    Raises: UserError for an unknown, repeated or missing key, or an illegal value."""
    share, rest = read_engine(tokens, UNIT)
    legal = [*WORDS, *engine_keys(UNIT), *_paths(ExtractionSpec, "")]
    shown = [*WORDS, *engine_keys(UNIT), "size", "fps", "crop", "perception.*", "trust.*", "cues.*"]
    words = read_words(rest, legal, shown)
    paths = {name: Path(words[name]) for name in PLACES if name in words}
    return Request(
        folder=paths.get("folder"),
        driving=paths.get("driving"),
        output=paths.get("output"),
        reference=paths.get("reference"),
        preview=_yes(words, "preview", default="driving" in words),
        sheet=_yes(words, "sheet", default=False),
        store=Store(
            paths.get("cache") or cues_root(), int(real(words, "cache_gb", DEFAULT_LIMIT_GB, 0.001, 1e6) * 1e9)
        ),
        mask_weights=paths.get("mask_weights"),
        face_weights=paths.get("face_weights"),
        spec=_spec({key: text for key, text in words.items() if key not in WORDS}),
        share=share,
    )


def _paths(spec: type[BaseModel], prefix: str) -> list[str]:
    """Dotted names of all leaves of a spec."""
    found: list[str] = []
    for name, field in spec.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _paths(inner, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _spec(edits: Mapping[str, str]) -> ExtractionSpec:
    tree: dict[str, object] = {}
    for path, text in edits.items():
        *groups, leaf = path.split(".")
        node = tree
        for group in groups:
            inner = node.setdefault(group, {})
            assert isinstance(inner, dict)
            node = inner
        node[leaf] = _value(text)
    try:
        return ExtractionSpec.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        if not path:
            raise UserError(str(first["ctx"]["error"])) from error
        raise UserError(f"{path}={edits.get(path, '')}: {first['msg']}") from error


def _value(text: str) -> object:
    """The JSON value that the text spells, a list of them if it has commas; else the text."""
    if "," in text:
        return [_value(part) for part in text.split(",")]
    try:
        return json.loads(text, parse_constant=str)
    except json.JSONDecodeError:
        return text


def _yes(words: Mapping[str, str], key: str, *, default: bool) -> bool:
    text = words.get(key, str(default).lower())
    if text not in ("true", "false"):
        raise UserError(f"{key}={text}: want true or false")
    return text == "true"


# ---------------------------------------------------------------- the work


@dataclass(frozen=True)
class Source:
    """A video and the name that its outputs bear."""

    path: Path
    name: str


def sources_of(request: Request) -> list[Source]:
    """The videos that are asked for, by name; of two that differ in their suffix alone, names keep it.

    Raises: UserError if none or both kinds of input are given, or there is no video."""
    if (request.folder is None) == (request.driving is None) or request.output is None:
        raise UserError(f"want output=DIR, and either folder=DIR or driving=FILE; usage: {USAGE}")
    if request.driving is not None:
        if not request.driving.is_file():
            raise UserError(f"driving={request.driving}: no such file")
        return [Source(request.driving, request.driving.stem)]
    folder = request.folder
    if folder is None or not folder.is_dir():
        raise UserError(f"folder={folder}: is not a directory")
    paths = videos_in(folder)
    if not paths:
        raise UserError(f"folder={folder}: holds no video ({', '.join(VIDEO_SUFFIXES)})")
    stems = [path.stem for path in paths]
    return [Source(path, path.name if stems.count(path.stem) > 1 else path.stem) for path in paths]


@dataclass
class Tally:
    """What became of the videos."""

    extracted: dict[str, Extracted]
    failed: dict[str, str]


MakeWatch = Callable[[Request], Watch]


def extractor(request: Request, make_watch: MakeWatch) -> Callable[[Source], Extracted]:
    """The function from a video to what there is of it, in the store afterwards.

    Raises: UserError if the reference cannot be used."""
    watch = make_watch(request)
    path, spec, store = request.reference, request.spec, request.store
    reference = None if path is None else watched_reference(path, spec, _of_pictures(request, make_watch).make(path))
    return lambda source: extract(source.path, spec, store, watch, reference)


def _of_pictures(request: Request, make_watch: MakeWatch) -> Watch:
    """Who looks at the reference, where the wanted person of the videos need not stand in the same place."""
    anybody = request.spec.perception.model_copy(update={"person": None})
    return make_watch(replace(request, spec=request.spec.model_copy(update={"perception": anybody})))


def _preview_path(output: Path, source: Source) -> Path:
    return output / f"{source.name}_cues.mp4"


def show(request: Request, source: Source, done: Extracted) -> None:
    """Nothing; writes the video's preview, if that is asked for."""
    if request.preview and request.output:
        request.output.mkdir(parents=True, exist_ok=True)
        target = _preview_path(request.output, source)
        write_preview(source.path, done, request.store, request.spec.fps, target)


def run(request: Request, sources: Sequence[Source], make_watch: MakeWatch) -> Tally:
    """What became of each video, in order; a failed one is no reason to end."""
    outcomes: dict[str, Extracted | Failed] = {}
    if request.share is None:
        ended = _in_a_row(request, sources, make_watch)
    else:
        ended = _side_by_side(request, request.share, sources, make_watch)
    with closing(ended):
        for name, outcome in progress(ended, "extracting", total=len(sources)):
            outcomes[name] = outcome
            request.store.evict()
    return Tally(
        {source.name: done for source in sources if isinstance(done := outcomes[source.name], Extracted)},
        {source.name: lost.reason for source in sources if isinstance(lost := outcomes[source.name], Failed)},
    )


def _in_a_row(
    request: Request, sources: Sequence[Source], make_watch: MakeWatch
) -> Generator[tuple[str, Extracted | Failed], None, None]:
    extracted = extractor(request, make_watch)
    for source in sources:
        try:
            done = extracted(source)
            show(request, source, done)
        except UserError as error:
            yield source.name, Failed(str(error))
            continue
        yield source.name, done


def _side_by_side(
    request: Request, share: Share, sources: Sequence[Source], make_watch: MakeWatch
) -> Generator[tuple[str, Extracted | Failed], None, None]:
    """Workers load their nets once. The store is thinned out by the caller alone."""
    gpus = share.gpus or 0.0  # a GPU that is taken by default would be idle: the nets run on processors
    with cluster(replace(share, gpus=gpus), as_variables()) as machines:
        print(f"Ray cluster of {machines}", flush=True)
        make = functools.partial(_extractor_that_shows, request, make_watch)
        with closing(machines.spread(make, [(source.name, source) for source in sources])) as ended:
            for job, outcome in ended:
                yield job.name, outcome if isinstance(outcome, Failed) else outcome.value


def _extractor_that_shows(request: Request, make_watch: MakeWatch) -> Callable[[Source], Extracted]:
    extracted = extractor(request, make_watch)

    def extracted_and_shown(source: Source) -> Extracted:
        done = extracted(source)
        show(request, source, done)
        return done

    return extracted_and_shown


def manifest(request: Request, tally: Tally) -> dict[str, object]:
    """What `manifest.json` says."""
    return {
        "spec": request.spec.model_dump(mode="json"),
        "videos": {name: asdict(done) for name, done in tally.extracted.items()},
        "failed": tally.failed,
    }


def _report(tally: Tally) -> list[str]:
    lines = []
    for name, done in tally.extracted.items():
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(done.reasons.items()))
        source = "cached" if not done.made else f"{done.looked_at} frames looked at" if done.looked_at else "recomposed"
        usable = f"{done.num_accepted} of {done.num_frames} frames usable" + (f" ({why})" if why else "")
        lines.append(f"{name}: {usable}, {done.num_faces} with a face, {done.fps:g} fps, {source}")
    return lines + [f"failed: {why}" for why in tally.failed.values()]


def _check_no_source_is_overwritten(request: Request, output: Path, sources: Sequence[Source]) -> None:
    there = {source.path.resolve() for source in sources}
    targets = [_preview_path(output, source) for source in sources] if request.preview else []
    lost = next((target for target in targets if target.resolve() in there), None)
    if lost:
        raise UserError(f"output={output}: the preview {lost} would replace a video; give another directory")


def _command(request: Request, make_watch: MakeWatch) -> int:
    sources = sources_of(request)
    assert request.output is not None
    _check_no_source_is_overwritten(request, request.output, sources)
    tally = run(request, sources, make_watch)
    if not tally.extracted:
        raise UserError(" | ".join([f"none of {len(sources)} videos could be used", *tally.failed.values()]))
    write_json(request.output / "manifest.json", manifest(request, tally))
    if request.sheet:
        paths = {source.name: source.path for source in sources}
        rows = {
            name: sheet_row(paths[name], done, request.store, request.spec.fps)
            for name, done in tally.extracted.items()
        }
        write_sheet(list(rows.values()), list(rows), request.output / "sheet.png")
    print("\n".join(_report(tally)))
    return SOME_FAILED if tally.failed else 0


def _verify(store: Store) -> int:
    damaged = store.verify()
    print("\n".join([f"removed {path}" for path in damaged] + [f"{store.root}: {store.count()} whole entries"]))
    return 0


def default_watch(request: Request) -> Watch:
    """The nets that the spec names."""
    return watch_of(request.spec.perception, request.mask_weights, request.face_weights)


def main(arguments: Sequence[str] | None = None, make_watch: MakeWatch = default_watch) -> int:
    """The exit status: 0; 1 if some videos could not be used; 2 after bad input; 130 after Ctrl-C, 75 after SIGTERM."""

    def command(tokens: list[str]) -> int:
        if not tokens or "--help" in tokens:
            print(HELP)
            return 0
        check_options(tokens, OPTIONS)
        request = parse([token for token in tokens if token not in OPTIONS])
        return _verify(request.store) if "--verify" in tokens else _command(request, make_watch)

    left = "interrupted; what is whole stays in the cache, so the same command goes on"
    return run_command(command, arguments, left)
