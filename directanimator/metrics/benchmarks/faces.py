"""How well a face network tells the synthetic people apart: faces that differ too little make identity metrics idle."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import mannwhitneyu

from directanimator.data.synthetic import SYNTH_VERSION, identity_at, motion_at, render_clip, scene_at
from directanimator.markdown import table_lines
from directanimator.metrics.features import Frames, Networks, observe
from directanimator.progress import progress

PEOPLE, POSES, SIZE = 64, 4, 256
MOTIONS = SCENES = 60
LATEST = 5.0
"""Seconds into a motion."""
MAX_TRIES = 60
"""Frames that are looked at for a person's faces."""
TARGET = 0.97


@dataclass(frozen=True)
class Separation:
    """Distances between embeddings of one person's faces, and of two people's."""

    same: float
    different: float
    auc: float
    """The share of pairs of distances, one of each kind, of which the same person's is the smaller."""


def separation(embeddings: Float[np.ndarray, "n d"], people: Int[np.ndarray, " n"]) -> Separation:
    """Over all pairs of faces.

    Raises: ValueError unless somebody has two faces, and there are two people."""
    first, second = np.triu_indices(len(people), 1)
    distances = np.linalg.norm(embeddings[first].astype(np.float64) - embeddings[second], axis=1)
    is_same = people[first] == people[second]
    same, different = distances[is_same], distances[~is_same]
    if not (len(same) and len(different)):
        raise ValueError("want two faces of one person, and two people")
    wins = float(mannwhitneyu(different, same).statistic)
    return Separation(float(same.mean()), float(different.mean()), wins / (len(same) * len(different)))


def frames_of(index: int) -> Iterator[Frames]:
    """Single frames of a test person, head and shoulders, each of another motion and scene; endless."""
    rng, person = np.random.default_rng([SYNTH_VERSION, index]), identity_at("test", index)
    while True:
        motion, scene = motion_at("test", int(rng.integers(MOTIONS))), scene_at("test", int(rng.integers(SCENES)))
        yield render_clip(person, motion, scene, np.array([rng.uniform(0, LATEST)]), SIZE, "bust", layers=()).frames


def found_faces(networks: Networks, index: int) -> tuple[list[np.ndarray], int]:
    """Embeddings of the first faces that are found on a test person, and how many frames were looked at."""
    found: list[np.ndarray] = []
    for tried, frames in enumerate(frames_of(index), 1):
        embedding = observe(networks, frames, ["dlib_face"], window=1).features["dlib_face.embedding"][0]
        if np.isfinite(embedding).all():
            found.append(embedding)
        if len(found) == POSES or tried == MAX_TRIES:
            return found, tried
    raise AssertionError("endless")


def faces_report(found: Separation, people: int, faces: int, frames: int) -> str:
    """The separation as Markdown."""
    row = [str(people), str(faces), f"{found.auc:.3f}", f"{found.same:.2f}", f"{found.different:.2f}"]
    lines = [
        "# How well a face network tells synthetic people apart",
        "",
        f"`python -m directanimator.metrics.benchmark faces`: test people, head and shoulders at {SIZE} px, up to "
        f"{POSES} frames each of other motions and scenes, in which the detector finds a face ({frames} frames looked "
        f"at); dlib's network, data version {SYNTH_VERSION}.",
        "",
        *table_lines(["people", "faces", "AUC", "distance, same person", "distance, two people"], [row]),
        "",
        f"Aim: AUC of {TARGET}. dlib calls real faces nearer than 0.6 one person's.",
    ]
    return "\n".join(lines) + "\n"


def measure_faces() -> str:
    """The report over all test people."""
    networks, embeddings, people, frames = Networks(), [], [], 0
    for index in progress(range(PEOPLE), "people", total=PEOPLE):
        found, tried = found_faces(networks, index)
        embeddings += found
        people += [index] * len(found)
        frames += tried
    told = separation(np.stack(embeddings), np.array(people))
    return faces_report(told, len(set(people)), len(people), frames)
