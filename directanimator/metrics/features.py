"""What networks say about a clip: the features from which several metrics are computed, each made once."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from directanimator.assets import MANIFEST
from directanimator.digests import digest
from directanimator.metrics.feature_cache import Arrays, FeatureCache
from directanimator.metrics.local_weights import (
    ALEXNET,
    ARCFACE,
    DWPOSE_DETECTOR,
    DWPOSE_POSE,
    INCEPTION,
    LPIPS_WEIGHTS,
    LocalFile,
)
from directanimator.metrics.networks.alexnet import LpipsAlexNet
from directanimator.metrics.networks.arcface import ArcFace, arcface_embeddings
from directanimator.metrics.networks.dlib_face import DlibFace, face_embeddings
from directanimator.metrics.networks.dwpose import BODY, FACE, DwPose
from directanimator.metrics.networks.i3d import I3d, i3d_features
from directanimator.metrics.networks.inception import FidInception, inception_features
from directanimator.metrics.networks.mobilenet_v2 import MobileNetV2Features, pooled_features
from directanimator.perception.face_mesh import FaceMesh
from directanimator.perception.mediapipe import MediapipePerception


class Networks:
    """The networks, each loaded when it is first asked for.

    Raises: UserError, when asked, for one whose weights are not there."""

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

    @cached_property
    def inception(self) -> FidInception:
        """Of FID."""
        return FidInception.local()

    @cached_property
    def alexnet(self) -> LpipsAlexNet:
        """Of LPIPS."""
        return LpipsAlexNet.local()

    @cached_property
    def arcface(self) -> ArcFace:
        """Of face identity, as papers measure it."""
        return ArcFace.local()

    @cached_property
    def dwpose(self) -> DwPose:
        """Of landmarks, as papers measure them."""
        return DwPose.local()


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
    files: tuple[LocalFile, ...] = ()
    """Files of weights that people put into the directory of weights."""

    @property
    def weights(self) -> str:
        """The first 12 hexadecimal digits of the sha256 of the sha256 of all weight files.

        Raises: UserError if a local file is missing."""
        known = {item.name: item.sha256 for item in MANIFEST}
        digests = [*(known[name] for name in self.assets), *(file.sha256 for file in self.files)]
        return digest(" ".join(digests))


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


def _arcface(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    return {"arcface.embedding": arcface_embeddings(networks.arcface, frames, known["person.mesh"])}


def _inception(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    return {"inception.pooled": inception_features(networks.inception, frames)}


def _dwpose(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    points = networks.dwpose.track(frames)
    return {"dwpose.body": points[:, BODY], "dwpose.face": points[:, FACE]}


def _nothing(networks: Networks, frames: Frames, known: Arrays, window: int) -> Arrays:
    """A network that compares two clips has no features of one."""
    return {}


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
        Extractor(
            "inception", 1, (), _inception, lambda nets: nets.inception, resize="whole frame to 299x299, bilinear",
            files=(INCEPTION,),
        ),
        Extractor("alexnet", 1, (), _nothing, lambda nets: nets.alexnet, files=(ALEXNET, LPIPS_WEIGHTS)),
        Extractor(
            "arcface", 1, (), _arcface, lambda nets: nets.arcface, after=("person",),
            resize="face turned and scaled to 112x112, bilinear", files=(ARCFACE,),
        ),
        Extractor(
            "dwpose", 1, (), _dwpose, lambda nets: nets.dwpose, resize="DWPose's crops",
            files=(DWPOSE_DETECTOR, DWPOSE_POSE),
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
