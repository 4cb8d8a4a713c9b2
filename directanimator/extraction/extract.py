"""The cues of one video, each taken from the store where it lies there, and made where it does not."""

import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import UInt8

from directanimator.ahead import ahead
from directanimator.cues import alignment as aligning
from directanimator.cues import canvas, face, framing, gate, location, low_pass, person, pose
from directanimator.cues.alignment import Alignment, align, identity_alignment
from directanimator.cues.framing import Crop, center_crop, person_box, plan_crop
from directanimator.cues.gate import FOREGROUND, GateReport, judged
from directanimator.cues.person import PersonTrack
from directanimator.digests import digest_of_file
from directanimator.errors import UserError
from directanimator.extraction import stream
from directanimator.extraction.recorded import FRAME_ARRAYS, SIGHTINGS
from directanimator.extraction.sightings import Sightings, Watch, looked, sightings_key, sightings_of, version_of
from directanimator.extraction.spec import ExtractionSpec
from directanimator.extraction.store import Entry, EntryWriter, Step, Store, key_of
from directanimator.extraction.stream import (
    FrameFacts,
    Judged,
    Sink,
    Spool,
    brightness_of,
    canvas_frames,
    drained,
    location_frames,
    pose_frames,
    trimmed,
)
from directanimator.frozen import FrozenSpec
from directanimator.perception import person as watching
from directanimator.perception import region
from directanimator.perception.person import PersonWatch, Seen, Sighting, tracked
from directanimator.perception.region import View
from directanimator.video import open_video, read_image

STEPS: tuple[Step, ...] = ("sightings", "gate", "pose", "face", "location")
_SHOWN = (sys.modules[__name__], stream, framing, gate, canvas, region, person, watching)
"""Whatever brings a person to the canvas: every step begins with it."""
CODE: Mapping[Step, tuple[ModuleType, ...]] = {
    "gate": _SHOWN,
    "pose": (*_SHOWN, pose, low_pass, aligning),
    "face": (*_SHOWN, face, pose),
    "location": (*_SHOWN, location, aligning),
}
"""The modules whose text is a step's code version: whatever changes in them, no stale entry is taken. Of the sightings,
which every key names, `sightings.CODE` says it."""
_SURVEY_FRAMES = 256
"""Frames of a driving video, at most, among which the likest pose is looked for."""
_SURVEY_SIDE = 64


@dataclass(frozen=True)
class Extracted:
    """What there is of one video."""

    video: str
    """sha256 of its bytes."""
    num_frames: int
    fps: float
    frame_size: tuple[int, int]
    """Height and width."""
    keys: Mapping[Step, str]
    reasons: Mapping[str, int]
    """How often the gate gave each reason."""
    num_accepted: int
    num_faces: int
    looked_at: int
    """Frames that nets have looked at in this call."""
    made: tuple[Step, ...]
    """Steps that were not in the store."""


def keys_of(video: str, spec: ExtractionSpec, nets: Mapping[str, str], reference: str | None) -> dict[Step, str]:
    """The keys of a video's steps. Each names the bytes it comes from, every parameter that shapes it, and its code.

    `reference` is the digest of the picture that the driver is laid over; none: the driver stays where it is."""
    code: dict[Step, str] = {step: version_of(modules) for step, modules in CODE.items()}
    cues = spec.cues
    sightings = sightings_key(video, spec.fps, spec.perception, nets)
    frame = {"sightings": sightings, "size": spec.size, "crop": spec.crop}
    verdicts = {"gate": cues.gate.model_dump(), "trust": spec.trust.model_dump(), "gate_code": code["gate"]}
    laid = {"reference": reference, "by": cues.location.align_by} if reference else None
    pose = {**cues.pose.model_dump(exclude={"enabled"}), "laid": laid if cues.pose.aligned else None}
    face = cues.face.model_dump(exclude={"enabled"})
    location = cues.location.model_dump(exclude={"enabled", "align_by"})
    location |= {"laid": laid if cues.location.aligned else None}
    return {
        "sightings": sightings,
        "gate": key_of({**frame, **verdicts}),
        "pose": key_of({**frame, **verdicts, **pose, "code": code["pose"]}),
        "face": key_of({**frame, **face, "code": code["face"]}),
        "location": key_of({**frame, **verdicts, **location, "code": code["location"]}),
    }


# ---------------------------------------------------------------- one video


@dataclass(frozen=True, eq=False)
class Reference:
    """The picture that drivers are laid over."""

    digest: str
    track: PersonTrack


def watched_reference(path: Path, spec: ExtractionSpec, watch: PersonWatch) -> Reference:
    """The one person of a picture, on the canvas.

    Raises: UserError if the picture cannot be read, or shows nobody in the square that the spec chooses."""
    image = read_image(path)
    sighting = next(iter(watch.watch([image]))).sighting
    nobody = UserError(f"no person found in {path}: want one person, well visible")
    if sighting.mask is None or not _is_clear(sighting.mask.levels):
        raise nobody
    crop = _crop([sighting], (image.shape[0], image.shape[1]), spec)
    track = tracked([sighting], _view(crop, spec.size))
    if not _is_clear(track.mask):
        raise nobody
    return Reference(digest_of_file(path), track)


def _is_clear(levels: UInt8[np.ndarray, "*shape"]) -> bool:
    """Whether masks, 0..255, have a pixel that counts as person, and not a soft edge alone."""
    return bool((levels >= FOREGROUND).any())


def extract(
    path: Path, spec: ExtractionSpec, store: Store, watch: Watch, reference: Reference | None = None
) -> Extracted:
    """The cues of a video, in the store afterwards.

    Raises: UserError if the video cannot be read to its end, or shows nobody. Then it leaves no cue behind."""
    video = digest_of_file(path)
    keys = keys_of(video, spec, watch.identity(path), reference.digest if reference else None)
    missing = tuple(step for step in STEPS if store.entry(step, keys[step]) is None)
    maker = _Maker(path, spec, store, watch, reference, keys, missing)
    if missing:
        maker.make()
    entries = {step: store.entry(step, keys[step]) for step in STEPS}
    whole = {step: entry for step, entry in entries.items() if entry is not None}
    if len(whole) < len(STEPS):
        raise UserError(f"{store.root}: cues of {path} were removed while they were made; give the cache more room")
    for entry in whole.values():
        store.touch(entry)
    seen, verdicts = Sightings.model_validate(whole["sightings"].notes), Verdicts.model_validate(whole["gate"].notes)
    reasons = Counter(reason for reason in verdicts.reasons if reason)
    return Extracted(
        video=video,
        num_frames=whole["sightings"].num_frames,
        fps=seen.fps,
        frame_size=(seen.height, seen.width),
        keys=keys,
        reasons=dict(reasons),
        num_accepted=len(verdicts.reasons) - sum(reasons.values()),
        num_faces=verdicts.num_faces,
        looked_at=maker.looked_at,
        made=missing,
    )


class Verdicts(FrozenSpec):
    """What is noted of the gate, and of the square that it saw."""

    reasons: list[str | None]
    num_faces: int
    left: int
    top: int
    side: int


class _Maker:
    """Makes what is missing of one video. The nets are asked only if the sightings are."""

    def __init__(
        self,
        path: Path,
        spec: ExtractionSpec,
        store: Store,
        watch: Watch,
        reference: Reference | None,
        keys: Mapping[Step, str],
        missing: Sequence[Step],
    ) -> None:
        self._path, self._spec, self._store, self._watch = path, spec, store, watch
        self._reference, self._keys, self._missing = reference, keys, missing
        self._shown = Crop(0, 0, 1)
        self.looked_at = 0

    def make(self) -> None:
        """Nothing; afterwards every step is in the store.

        Raises: UserError if the video cannot be read to its end, or shows nobody."""
        if self._sightings() is None and (self._spec.crop == "person" or self._reference):
            # What the person does over all of the clip decides how its first frame is shown.
            seen = sightings_of(self._path, self._spec.fps, self._spec.perception, self._store, self._watch)
            self.looked_at += seen.num_frames
        if self._missing == ("sightings",) and self._sightings():
            return
        self._require_somebody()
        with ExitStack() as stack:
            spool = stack.enter_context(Spool(self._spec.size))
            face = stack.enter_context(self._writer("face")) if "face" in self._missing else None
            frames = list(self._first_pass(spool, face))
            self._require_somebody()  # only now is that known if the nets had to look
            verdicts = judged([frame.figures for frame in frames], self._spec.cues.gate, self._spec.trust)
            self._second_pass(spool, frames, verdicts, stack)

    def _sightings(self) -> Entry | None:
        return self._store.entry("sightings", self._keys["sightings"])

    def _writer(self, step: Step) -> AbstractContextManager[EntryWriter[dict[str, np.ndarray]]]:
        return self._store.writer(step, self._keys[step], FRAME_ARRAYS)

    def _require_somebody(self) -> None:
        known = self._sightings()
        if known and not Sightings.model_validate(known.notes).num_seen:
            raise self._nobody()

    def _nobody(self) -> UserError:
        return UserError(f"no person found in {self._path}: want one person, well visible, in most frames")

    def _looked(self, frames: Iterator[UInt8[np.ndarray, "h w 3"]], fps: float) -> Iterator[Seen]:
        """What the nets see, counted."""
        for seen in looked(frames, fps, self._watch.make(self._path), self._store, self._keys["sightings"]):
            self.looked_at += 1
            yield seen

    def _first_pass(self, spool: Spool, face: EntryWriter[dict[str, np.ndarray]] | None) -> Iterator[FrameFacts]:
        known = self._sightings()
        with open_video(self._path, self._spec.fps) as video:
            frames = ahead(video.frames)
            seen = _replayed(frames, known) if known else self._looked(frames, video.fps)
            self._shown, seen = self._crop_of(known, seen)
            for frame in canvas_frames(seen, self._shown, self._spec.size, self._spec.cues.face):
                if {"pose", "location"} & set(self._missing):
                    spool.append(frame)
                if face:
                    face.append({"face_cue": frame.face, "face_present": np.array(frame.face_present)})
                yield FrameFacts(frame.figures, frame.face_box, frame.face_present, frame.moments)

    def _crop_of(self, known: Entry | None, seen: Iterator[Seen]) -> tuple[Crop, Iterator[Seen]]:
        first = next(seen)
        size = (first.frame.shape[0], first.frame.shape[1])
        return _crop(_survey(known) if known else [], size, self._spec), itertools.chain([first], seen)

    def _second_pass(self, spool: Spool, frames: Sequence[FrameFacts], verdicts: GateReport, stack: ExitStack) -> None:
        spec, known = self._spec, self._sightings()
        gate_writer = stack.enter_context(self._writer("gate"))
        num_faces = sum(frame.face_present for frame in frames)
        crop = self._shown
        square = {"left": crop.left, "top": crop.top, "side": crop.side}
        gate_writer.notes.update(reasons=list(verdicts.reasons), num_faces=num_faces, **square)
        accepted = [bool(verdict) for verdict in verdicts.accepted]
        of_accepted = [frame.moments for frame, good in zip(frames, accepted, strict=True) if good]
        boxes = [frame.face_box for frame in frames]
        clip = Judged(accepted, boxes, brightness_of(of_accepted), self._alignment(known))
        ways: list[tuple[Iterator[dict[str, np.ndarray]], Sink]] = []
        if "pose" in self._missing:
            ways.append((pose_frames(spool, clip, spec.cues.pose), stack.enter_context(self._writer("pose"))))
        if "location" in self._missing:
            cues = location_frames(spool, clip, spec.size, spec.cues.location)
            ways.append((cues, stack.enter_context(self._writer("location"))))
        drained(*ways)

    def _alignment(self, known: Entry | None) -> Alignment:
        if self._reference is None or known is None:
            return identity_alignment()
        survey, notes = _survey(known), Sightings.model_validate(known.notes)
        crop = trimmed(_crop(survey, (notes.height, notes.width), self._spec), self._spec.size)
        driving = tracked(survey, _view(crop, _SURVEY_SIDE))
        if not _is_clear(driving.mask):
            raise self._nobody()
        return align(driving, self._reference.track, self._spec.cues.location.align_by)


def _replayed(frames: Iterator[UInt8[np.ndarray, "h w 3"]], known: Entry) -> Iterator[Seen]:
    for frame, sighting in zip(frames, known.items(SIGHTINGS), strict=True):
        yield Seen(frame, sighting)


def _survey(known: Entry) -> list[Sighting]:
    """Sightings evenly over the clip, as many as a long one may have."""
    return list(itertools.islice(known.items(SIGHTINGS), 0, None, -(-known.num_frames // _SURVEY_FRAMES)))


def _crop(sightings: Sequence[Sighting], frame_size: tuple[int, int], spec: ExtractionSpec) -> Crop:
    """The square of the frames that is shown; for a person, around all that is seen of them in these sightings."""
    height, width = frame_size
    if spec.crop == "center":
        return trimmed(center_crop(height, width), spec.size)
    coarse = min(1.0, _SURVEY_SIDE * 4 / max(height, width))
    out_h, out_w = max(1, round(height * coarse)), max(1, round(width * coarse))
    x0, y0, x1, y1 = person_box(tracked(sightings, View(0.0, 0.0, float(width), float(height), out_h, out_w)))
    across, down = width / out_w, height / out_h
    box = (int(x0 * across), int(y0 * down), math.ceil(x1 * across), math.ceil(y1 * down))
    return trimmed(plan_crop(box, height, width), spec.size)


def _view(crop: Crop, size: int) -> View:
    return View(float(crop.left), float(crop.top), float(crop.side), float(crop.side), size, size)
