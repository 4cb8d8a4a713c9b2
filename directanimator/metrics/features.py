"""What networks say about a clip: the features from which several metrics are computed, each made once."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from directanimator.assets import MANIFEST
from directanimator.metrics.feature_cache import Arrays, FeatureCache
from directanimator.metrics.networks.dlib_face import DlibFace, face_embeddings
from directanimator.metrics.networks.i3d import I3d, i3d_features
from directanimator.metrics.networks.mobilenet_v2 import MobileNetV2Features, pooled_features
from directanimator.perception.face_mesh import FaceMesh
from directanimator.perception.mediapipe import MediapipePerception


class Networks:
    """The networks, each loaded when it is first asked for.

    Raises: UserError, when asked, for one whose weights have not been fetched."""

    @cached_property
    def i3d(self) -> I3d:
        """Of FVD."""
        return I3d.fetched()

    @cached_property
    def mobilenet_v2(self) -> MobileNetV2Features:
        """Of the distances over frames."""
        return MobileNetV2Features.fetched()

    @cached_property
    def dlib_face(self) -> DlibFace:
        """Of face identity."""
        return DlibFace.fetched()

    @cached_property
    def perception(self) -> MediapipePerception:
        """Of bodies, masks and face boxes."""
        return MediapipePerception()

    @cached_property
    def face_mesh(self) -> FaceMesh:
        """Of face landmarks."""
        return FaceMesh()


Frames = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True)
class Extractor:
    """One network, or several that belong together: frames and earlier features in, named arrays out."""

    name: str
    version: int
    """Bump it when the arrays change their meaning."""
    assets: tuple[str, ...]
    """Files of weights, by their names in the manifest."""
    make: Callable[[Networks, Frames, Arrays, int], Arrays]
    load: Callable[[Networks], object]
    """Touches the networks, so that missing weights are known before the work begins."""
    after: tuple[str, ...] = ()
    """Extractors whose arrays are needed first."""
    resize: str = "none"
    windowed: bool = False

    @property
    def weights(self) -> str:
        """The first 12 hexadecimal digits of the sha256 of the sha256 of all weight files."""
        known = {item.name: item.sha256 for item in MANIFEST}
        return hashlib.sha256(" ".join(known[name] for name in self.assets).encode()).hexdigest()[:12]


def _i3d(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    logits, pooled = i3d_features(networks.i3d, frames, window)
    return {"i3d.logits": logits, "i3d.pooled": pooled}


def _mobilenet(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    return {"mobilenet_v2.pooled": pooled_features(networks.mobilenet_v2, frames)}


def _person(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    track = networks.perception.track(frames)
    mesh = networks.face_mesh.track(frames, track.face_box)
    return {"person.landmarks": track.landmarks, "person.mask": track.mask, "person.mesh": mesh}


def _dlib(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    return {"dlib_face.embedding": face_embeddings(networks.dlib_face, frames, known["person.mesh"])}


_WHOLE = "whole frame to 224x224, bilinear"
EXTRACTORS: Mapping[str, Extractor] = {
    extractor.name: extractor
    for extractor in (
        Extractor("i3d", 1, ("i3d",), _i3d, lambda nets: nets.i3d, resize=_WHOLE, windowed=True),
        Extractor(
            "mobilenet_v2", 1, ("mobilenet_v2",), _mobilenet, lambda nets: nets.mobilenet_v2,
            resize=f"{_WHOLE}, antialiased",
        ),
        Extractor(
            "person",
            1,
            (
                "pose_detection", "pose_landmark_full", "selfie_segmentation", "face_detection_short_range",
                "face_detection_full_range_sparse", "face_landmark",
            ),
            _person,
            lambda nets: (nets.perception, nets.face_mesh),
            resize="MediaPipe's crops",
        ),
        Extractor(
            "dlib_face", 1, ("dlib_face", "dlib_face_layout"), _dlib, lambda nets: nets.dlib_face, after=("person",),
            resize="face turned and scaled to 150x150, bilinear",
        ),
    )
}  # fmt: skip


def with_needed(names: Sequence[str]) -> list[str]:
    """The extractors and those they need, in an order in which they can run."""
    wanted = {*names, *(earlier for name in names for earlier in EXTRACTORS[name].after)}
    return [name for name in EXTRACTORS if name in wanted]


@dataclass(frozen=True, eq=False)
class Observed:
    """A clip and what the networks say about it."""

    frames: Frames
    features: Arrays = field(default_factory=dict)


def observe(
    networks: Networks,
    frames: Frames,
    names: Sequence[str],
    window: int,
    cache: FeatureCache | None = None,
    sha256: str = "",
) -> Observed:
    """The clip with the features of the named extractors; looked up in the cache by the pixels' `sha256` if given.

    Raises: UserError if weights are missing or the cache cannot be written."""
    found: dict[str, np.ndarray] = {}
    for name in with_needed(names):
        make = functools.partial(EXTRACTORS[name].make, networks, frames, dict(found), window)
        found |= make() if cache is None else cache.get(_source(EXTRACTORS[name], sha256, window), make)
    return Observed(frames, found)


def _source(extractor: Extractor, sha256: str, window: int) -> dict[str, str]:
    """All that the arrays depend on, the networks that ran before included."""
    chain = [EXTRACTORS[name] for name in (*extractor.after, extractor.name)]
    described = {
        "pixels": sha256,
        "networks": json.dumps([[link.name, link.version] for link in chain]),
        "weights": " ".join(link.weights for link in chain),
    }
    return described | ({"window": str(window)} if extractor.windowed else {})
