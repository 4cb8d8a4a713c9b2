"""From the names in a spec to nets that look."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from directanimator.assets import MANIFEST
from directanimator.digests import digest_of_file
from directanimator.extraction.sightings import Watch
from directanimator.extraction.spec import MaskBackend, PerceptionSpec
from directanimator.extraction.truth import TrueWatch, read_truth, truth_path
from directanimator.perception.insight import InsightFaces
from directanimator.perception.mediapipe import NETS, MediapipePerception
from directanimator.perception.person import PersonWatch
from directanimator.perception.segmenters import (
    GroundedSamSegmenter,
    Sam2Segmenter,
    SegmentAnythingSegmenter,
    SegmentedPerception,
    Segmenter,
)
from directanimator.places import weights_root

SEGMENTERS: Mapping[MaskBackend, Callable[[Path], Segmenter]] = {
    "sam2": Sam2Segmenter,
    "grounded_sam": GroundedSamSegmenter,
    "segment_anything": SegmentAnythingSegmenter,
}


def watch_of(spec: PerceptionSpec, mask_weights: Path | None, face_weights: Path | None) -> Watch:
    """Who looks, as the spec says. Nets are loaded when there is something to look at, and once.

    Without directories their weights are looked for among those that people put there, under the backend's name."""
    masks_from, faces_from = mask_weights or weights_root() / spec.masks, face_weights or weights_root() / spec.faces
    if spec.masks == "truth":
        return Watch(
            make=lambda video: TrueWatch(read_truth(video)),
            identity=lambda video: {"truth": digest_of_file(truth_path(video))},
        )

    @functools.cache
    def nets() -> PersonWatch:
        watch: PersonWatch = MediapipePerception(spec.person)
        if spec.masks in SEGMENTERS:
            watch = SegmentedPerception(watch, SEGMENTERS[spec.masks](masks_from))
        return InsightFaces(watch, faces_from) if spec.faces == "insightface" else watch

    @functools.cache
    def identity() -> Mapping[str, str]:
        fetched = {asset.name: asset.sha256 for asset in MANIFEST if asset.name in NETS}
        if spec.masks in SEGMENTERS:
            fetched["masks"] = digest_of_directory(masks_from)
        if spec.faces == "insightface":
            fetched["faces"] = digest_of_directory(faces_from)
        return fetched

    return Watch(make=lambda _: nets(), identity=lambda _: identity())


def digest_of_directory(directory: Path) -> str:
    """The sha256 of all files below a directory, with their names; of none if there is no such directory."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(directory)} {digest_of_file(path)}\n".encode())
    return digest.hexdigest()
