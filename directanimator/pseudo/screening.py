"""Whether a pseudo clip is good enough: it must show the reference's person, doing what the driving video shows.

Measured once and kept; a verdict is a function of the measures and the thresholds, so other thresholds need no net."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field

from directanimator.frozen import FrozenSpec
from directanimator.metrics.clip_folder import digest_of_pixels
from directanimator.metrics.face_identity import face_recall, fis
from directanimator.metrics.feature_cache import FeatureCache
from directanimator.metrics.features import EXTRACTORS, Frames, Networks, Observed, observe, with_needed
from directanimator.metrics.identity import person_colors
from directanimator.metrics.landmarks import flc, landmark_recall, plc
from directanimator.places import features_root
from directanimator.pseudo.drivers import Beat
from directanimator.video import read_image, read_video

IdentityNet = Literal["dlib_face", "arcface"]
MOST_FPS, MOST_FRAMES = 8.0, 128
"""A clip is looked at at this rate or its own, and more sparsely if it is long."""
_WINDOW = 16
MEASURING = 1
"""Bump it when the same clips must get other measures."""

Cosine = Annotated[float, Field(ge=-1, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Verdict = Literal[
    "kept", "kept_faceless", "body_unseen", "motion", "clothes", "face_unseen", "identity", "leak", "expression"
]


class ScreeningSpec(FrozenSpec):
    """From where on a pseudo clip is kept.

    Deviation: the paper screens strictly and does not state how; measures and thresholds are ours."""

    min_identity: Cosine = 0.9
    """Least mean cosine of the face with the reference's. By dlib's network, where it is about the usual limit, a
    distance of 0.6; by ArcFace 0.5 is usual."""
    min_margin: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """How much nearer the face must be to the reference's than to that of the driving video."""
    min_clothes: Cosine = 0.0
    """How much nearer the person's colors must be to the reference's than to the driver's: -1 are the driver's own."""
    min_faces: Share = 0.5
    """Least share of the frames whose driver shows a face in which one is seen."""
    max_expression: Annotated[float, Field(ge=0)] = 0.1
    """Largest mean distance of face landmarks to the driver's, in sides of the face."""
    min_joints: Share = 0.7
    """Least share of the driver's body landmarks that are seen."""
    max_motion: Annotated[float, Field(ge=0)] = 0.3
    """Largest mean distance of body landmarks to the driver's, in spreads of the body."""


class Measures(FrozenSpec):
    """What is measured of a pseudo clip; None where there is nothing to measure."""

    identity: float | None
    """Mean cosine with the reference's face, over the frames in which both the clip and its driver show a face."""
    leak: float | None
    """The same with the driver's face."""
    clothes: float | None
    """How much nearer the person's colors are to the reference's than to the driver's, in shares of both distances."""
    faces: float | None
    """Share of the frames whose driver shows a face in which one is seen."""
    expression: float | None
    """Mean distance of face landmarks (FLC)."""
    joints: float | None
    """Share of the driver's body landmarks that are seen."""
    motion: float | None
    """Mean distance of body landmarks (PLC), place and build forgiven."""


def verdict(found: Measures, spec: ScreeningSpec) -> Verdict:
    """What becomes of a clip: kept, or the first reason against it.

    `kept_faceless`: nobody could tell the identity, since the reference or the driver shows no face."""
    if found.joints is None or found.motion is None or found.joints < spec.min_joints:
        return "body_unseen"
    if found.motion > spec.max_motion:
        return "motion"
    if found.clothes is not None and found.clothes < spec.min_clothes:
        return "clothes"
    if found.faces is not None and found.faces < spec.min_faces:
        return "face_unseen"
    if found.identity is not None and found.identity < spec.min_identity:
        return "identity"
    if found.identity is not None and found.leak is not None and found.identity - found.leak < spec.min_margin:
        return "leak"
    if found.expression is not None and found.expression > spec.max_expression:
        return "expression"
    return "kept_faceless" if found.identity is None else "kept"


def measures_of(made: Observed, driving: Observed, reference: Observed, net: IdentityNet) -> Measures:
    """The measures of a clip from what the nets see in it, in its driver and in the picture of its person."""
    embedding = f"{net}.embedding"
    face, true, wanted = made.features[embedding], driving.features[embedding], reference.features[embedding]
    driver_shown, known = _finite(true), wanted[_finite(wanted)]
    both = driver_shown & _finite(face)
    right = np.repeat(known[:1], len(face), axis=0) if len(known) else np.full_like(face, np.nan)
    mesh, joints = ((made.features[name], driving.features[name]) for name in ("person.mesh", "person.landmarks"))
    return Measures(
        identity=_number(fis(face, right, both)),
        leak=_number(fis(face, true, both)),
        clothes=_number(_nearness(*(_colors(seen) for seen in (made, reference, driving)))),
        faces=_number(face_recall(face, driver_shown)),
        expression=_number(flc(*mesh)),
        joints=_number(landmark_recall(*joints)),
        motion=_number(plc(*joints, made.frames.shape[1:3], driving.frames.shape[1:3], "person")),
    )


def _colors(seen: Observed) -> Float64[np.ndarray, "3 3"]:
    return person_colors(seen.frames, seen.features["person.mask"])


def _nearness(
    made: Float64[np.ndarray, "3 3"], reference: Float64[np.ndarray, "3 3"], driver: Float64[np.ndarray, "3 3"]
) -> float:
    """1 at the reference, 0 halfway, -1 at the driver; NaN if one is NaN or all are the same."""
    to_reference, to_driver = float(np.linalg.norm(made - reference)), float(np.linalg.norm(made - driver))
    both = to_reference + to_driver
    return (to_driver - to_reference) / both if both else math.nan


def _first(seen: Observed, count: int) -> Observed:
    return Observed(seen.frames[:count], {name: values[:count] for name, values in seen.features.items()})


def _finite(rows: np.ndarray) -> Bool[np.ndarray, " f"]:
    return np.asarray(np.isfinite(rows).all(axis=1))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


@runtime_checkable
class Judge(Protocol):
    """Measures pseudo clips."""

    @property
    def looks_with(self) -> Mapping[str, str]:
        """All that shapes its measures beside the clips, by name."""
        ...

    def measure(self, clip: Path, driving: Path, reference: Path, beat: Beat) -> Measures:
        """The measures of a pseudo clip, its driving video and the picture of its person.

        Raises: UserError if one of them cannot be read."""
        ...


@dataclass(frozen=True, eq=False)
class NetJudge:
    """Measures by MediaPipe's landmarks and a network of face identity. What it sees of drivers is kept.

    Raises: UserError (on construction) if weights are missing."""

    net: IdentityNet
    networks: Networks = field(default_factory=Networks)

    def __post_init__(self) -> None:
        for name in with_needed([self.net]):
            EXTRACTORS[name].load(self.networks)

    @property
    def looks_with(self) -> Mapping[str, str]:
        """The networks, their weights, and the version of the measures."""
        nets = {name: f"{EXTRACTORS[name].version} {EXTRACTORS[name].weights}" for name in with_needed([self.net])}
        return {**nets, "measuring": str(MEASURING)}

    def measure(self, clip: Path, driving: Path, reference: Path, beat: Beat) -> Measures:
        """The measures, from frames that are spread evenly over the clip.

        Raises: UserError if a file cannot be read."""
        rate = min(beat.fps, MOST_FPS, MOST_FRAMES * beat.fps / beat.num_frames)
        cache = FeatureCache(features_root())
        driver = self._seen(read_video(driving, fps=rate).frames, cache)
        person = self._seen(read_image(reference)[None], cache)
        made = self._seen(read_video(clip, fps=rate).frames)
        count = min(len(made.frames), len(driver.frames))  # time stamps are rounded
        return measures_of(_first(made, count), _first(driver, count), person, self.net)

    def _seen(self, frames: Frames, cache: FeatureCache | None = None) -> Observed:
        """What the nets see; kept by the pixels, since reading a file may change with whatever reads it."""
        key = digest_of_pixels(frames) if cache else ""
        return observe(self.networks, frames, [self.net], _WINDOW, cache, key)
