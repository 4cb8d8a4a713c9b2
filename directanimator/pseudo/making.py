"""Makes pseudo clips one by one and keeps book: what was made, what was wrong with the rest, and `pairs.json`.

    OUTPUT/pairs.json                        the pairs that training draws from
    OUTPUT/pseudo/VIDEO/REFERENCE.mp4        a pseudo clip, kept or not; beside it a .json with its measures
    OUTPUT/pseudo/references/REFERENCE.png   the picture by which a program is told whom to show

Each file appears whole or not at all, so a killed call is gone on with by the same one, to the same end."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import ValidationError

from directanimator.atomic import atomic_write, write_json
from directanimator.data.pseudo_pairs import PAIRS_FILE, PseudoPair, PseudoPairs
from directanimator.digests import digest_of_file
from directanimator.errors import UserError
from directanimator.extraction.recorded import SIGHTINGS
from directanimator.extraction.sightings import Watch, sightings_of
from directanimator.extraction.spec import PerceptionSpec
from directanimator.extraction.store import Store, key_of
from directanimator.frozen import FrozenSpec
from directanimator.perception.person import Sighting
from directanimator.places import cues_root
from directanimator.pseudo.drivers import Beat, FailedDriverError, Failure, PseudoDriver, take
from directanimator.pseudo.plan import Pairing
from directanimator.pseudo.screening import Judge, Measures, ScreeningSpec, Verdict, verdict
from directanimator.video import open_video, png_of

CLIPS = "pseudo"
REPORT = "report.json"
REFERENCE_FPS = 2.0
"""How often a video is looked at in search of the picture that shows its person best."""
TAKING = 1
"""Bump it when the same driver must give other clips."""

OtherFailure = Literal["no_reference", "no_driving", "not_measured"]
Outcome = Verdict | Failure | OtherFailure
KEPT: tuple[Verdict, ...] = ("kept", "kept_faceless")
MEANING: Mapping[Outcome, str] = {
    "kept": "drives its video",
    "kept_faceless": "drives its video; the reference or the driver shows no face, so the identity is not known",
    "body_unseen": "too few of the driver's body landmarks are seen",
    "motion": "the body does something else than the driver",
    "clothes": "the person wears rather the driver's colors than the reference's",
    "face_unseen": "the driver shows a face, and the clip shows none too often",
    "identity": "the face is not the reference's",
    "leak": "the face is rather the driver's",
    "expression": "the face does something else than the driver's",
    "not_started": "the program could not be started",
    "exit_status": "the program failed",
    "timeout": "the program took too long",
    "refused": "the model cannot use this reference or this driver",
    "no_output": "the program left no file",
    "unreadable": "what was made is no readable video",
    "count": "it has other frames than the driver",
    "size": "its frames are too small or too large",
    "no_reference": "the other video shows nobody, or cannot be read",
    "no_driving": "the video itself cannot be read",
    "not_measured": "the nets could not look at the clip or its driver",
}


class Attempt(FrozenSpec):
    """What became of a pairing when its clip was made; its verdict is not in it, since thresholds may change."""

    pairing: Pairing
    made_by: str
    """Names the driver and the bytes of both videos."""
    failure: Failure | OtherFailure | None = None
    detail: str = ""
    sha256: str = ""
    """Of the clip's bytes."""
    judged_by: str = ""
    """Names the nets behind the measures."""
    measures: Measures | None = None


def outcome_of(attempt: Attempt, spec: ScreeningSpec) -> Outcome:
    """The one word for an attempt."""
    if attempt.failure is not None:
        return attempt.failure
    assert attempt.measures is not None
    return verdict(attempt.measures, spec)


def clip_path(pairing: Pairing) -> str:
    """Where a pairing's clip lies below the output folder."""
    return f"{CLIPS}/{pairing.video}/{pairing.reference}.mp4"


@dataclass(frozen=True, eq=False)
class Workshop:
    """All that clips are made with."""

    videos: Path
    output: Path
    driver: PseudoDriver
    judge: Judge
    watch: Watch
    """Looks for the picture that shows a video's person best."""
    digests: Mapping[str, str]
    """Of the videos' bytes, by name."""
    retry: bool = False
    """Whether what failed is tried again."""
    _beats: dict[str, Beat] = field(default_factory=dict)
    _pictures: dict[str, Path] = field(default_factory=dict)

    def attempts(self, pairings: Iterable[Pairing]) -> Iterator[Attempt]:
        """What became of each pairing; what is on record is not done again.

        Raises: UserError if the output folder cannot be written."""
        for pairing in pairings:
            found = self.recorded(pairing)
            if found is None or (self.retry and found.failure is not None):
                found = self._made(pairing)
                self._write(found)
            elif found.failure is None and found.judged_by != self._judged_by:
                found = self._judged(found)
                self._write(found)
            yield found

    def recorded(self, pairing: Pairing) -> Attempt | None:
        """The record of a pairing; None if there is none by this driver of these videos, or its clip is another."""
        try:
            found = Attempt.model_validate_json(self._record(pairing).read_bytes())
        except (OSError, ValidationError):
            return None
        if found.pairing != pairing or found.made_by != self._made_by(pairing):
            return None
        if found.failure is not None:
            return found
        clip = self.output / clip_path(pairing)
        whole = found.measures is not None and clip.is_file() and digest_of_file(clip) == found.sha256
        return found if whole else None

    def _record(self, pairing: Pairing) -> Path:
        return (self.output / clip_path(pairing)).with_suffix(".json")

    def _write(self, attempt: Attempt) -> None:
        write_json(self._record(attempt.pairing), attempt.model_dump(mode="json"))

    @functools.cached_property
    def _made_with(self) -> Mapping[str, str]:
        return dict(self.driver.made_with)

    @functools.cached_property
    def _judged_by(self) -> str:
        return key_of(dict(self.judge.looks_with))

    def _made_by(self, pairing: Pairing) -> str:
        digests = [self.digests[pairing.video], self.digests[pairing.reference]]
        return key_of({"driver": self._made_with, "videos": digests, "taking": TAKING})

    def _made(self, pairing: Pairing) -> Attempt:
        """A new attempt."""
        driving, clip = self.videos / pairing.video, self.output / clip_path(pairing)
        attempt = functools.partial(Attempt, pairing=pairing, made_by=self._made_by(pairing))
        try:
            reference = self._reference(pairing.reference)
        except UserError as error:
            return attempt(failure="no_reference", detail=str(error))
        try:
            beat = self._beat(driving)
        except UserError as error:
            return attempt(failure="no_driving", detail=str(error))

        def fill(draft: Path) -> None:
            made = draft.with_name(f"made_{draft.name}")
            self.driver.generate(reference, driving, made)
            take(made, draft, beat)

        try:
            atomic_write(clip, fill)
        except FailedDriverError as error:
            clip.unlink(missing_ok=True)  # another driver's, that there is no record of any more
            return attempt(failure=error.reason, detail=error.detail)
        return self._judged(attempt(sha256=digest_of_file(clip)))

    def _judged(self, attempt: Attempt) -> Attempt:
        """The attempt with measures."""
        pairing = attempt.pairing
        driving, clip = self.videos / pairing.video, self.output / clip_path(pairing)
        try:
            found = self.judge.measure(clip, driving, self._reference(pairing.reference), self._beat(driving))
        except UserError as error:
            return attempt.model_copy(update={"failure": "not_measured", "detail": str(error)})
        return attempt.model_copy(update={"judged_by": self._judged_by, "measures": found})

    def _beat(self, driving: Path) -> Beat:
        if driving.name not in self._beats:
            self._beats.clear()  # pairings come by video
            self._beats[driving.name] = Beat.of(driving)
        return self._beats[driving.name]

    def _reference(self, video: str) -> Path:
        """The picture that shows a video's person best.

        Raises: UserError if the video cannot be read or shows nobody."""
        if video not in self._pictures:
            target = self.output / CLIPS / "references" / f"{video}.png"
            atomic_write(target, png_of(best_picture(self.videos / video, self.watch)))
            self._pictures[video] = target
        return self._pictures[video]


def best_picture(video: Path, watch: Watch) -> UInt8[np.ndarray, "h w 3"]:
    """The frame of a video that shows the largest face, or where none is seen, the surest person.

    Raises: UserError if the video cannot be read, or shows nobody."""
    entry = sightings_of(video, REFERENCE_FPS, PerceptionSpec(), Store(cues_root()), watch)
    ranks = [_rank(sighting) for sighting in entry.items(SIGHTINGS)]
    best = max(range(len(ranks)), key=lambda k: ranks[k])
    if ranks[best] <= (0.0, 0.0):
        raise UserError(f"no person found in {video}: want one person, well visible")
    with open_video(video, REFERENCE_FPS) as stream:
        return next(islice(stream.frames, best, None))


def _rank(sighting: Sighting) -> tuple[float, float]:
    """Area of the face, then score of the person."""
    if sighting.mask is None:
        return 0.0, 0.0
    x0, y0, x1, y1 = sighting.face_box.tolist()
    area = (x1 - x0) * (y1 - y0)
    return (area if area > 0 else 0.0), max(sighting.score, 1e-9)


# ---------------------------------------------------------------- what comes of it


def counts_of(attempts: Iterable[Attempt], spec: ScreeningSpec) -> dict[Outcome, int]:
    """How often each outcome came, in the order of `MEANING`; all together are the attempts."""
    found = Counter(outcome_of(attempt, spec) for attempt in attempts)
    return {outcome: found[outcome] for outcome in MEANING if found[outcome]}


def pairs_of(attempts: Iterable[Attempt], spec: ScreeningSpec) -> PseudoPairs:
    """The pairs of the clips that are kept."""
    kept = [attempt for attempt in attempts if outcome_of(attempt, spec) in KEPT]
    return PseudoPairs(
        pairs=tuple(
            PseudoPair(**attempt.pairing.model_dump(), clip=clip_path(attempt.pairing), sha256=attempt.sha256)
            for attempt in kept
        )
    )


def write_pairs(output: Path, attempts: Sequence[Attempt], spec: ScreeningSpec) -> None:
    """Nothing; writes `pairs.json`, and beside the clips a report: thresholds, counts, and every attempt's outcome.

    Raises: UserError if they cannot be written."""
    outcomes = [
        {**a.pairing.model_dump(), "outcome": outcome_of(a, spec), "detail": a.detail}
        | ({} if a.measures is None else a.measures.model_dump())
        for a in attempts
    ]
    counts = counts_of(attempts, spec)
    report = {"screening": spec.model_dump(), "tried": len(attempts), "counts": counts, "attempts": outcomes}
    write_json(output / CLIPS / REPORT, report)
    write_json(output / PAIRS_FILE, pairs_of(attempts, spec).model_dump(mode="json"))


def table(attempts: Sequence[Attempt], spec: ScreeningSpec) -> list[str]:
    """Counts by outcome, in lines for people; of a failure with what one of them said."""
    counts = counts_of(attempts, spec)
    said: dict[Outcome, str] = {a.failure: a.detail for a in reversed(attempts) if a.failure}
    lines = [f"{len(attempts):6} tried"]
    for outcome, count in counts.items():
        example = f"; for example: {said[outcome]}" if outcome in said else ""
        lines.append(f"{count:6} {outcome:14} {MEANING[outcome]}{example}")
    return lines
