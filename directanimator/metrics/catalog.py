"""Every metric that two folders of clips can be measured by: its needs, which way is better, what it claims to see."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Real

from directanimator.errors import UserError, did_you_mean
from directanimator.metrics import face_identity, image, landmarks
from directanimator.metrics.drift import color_drift, identity_drift
from directanimator.metrics.features import EXTRACTORS, Networks, Observed, with_needed
from directanimator.metrics.flicker import flicker
from directanimator.metrics.frechet import frechet_distance
from directanimator.metrics.kernel_distance import kernel_distance
from directanimator.metrics.mask import mask_iou
from directanimator.metrics.networks.alexnet import lpips
from directanimator.metrics.perceptual import lpips_mobilenetv2

Better = Literal["higher", "lower"]
Role = Literal["generated", "target", "reference", "driving"]
ROLES: tuple[Role, ...] = ("generated", "target", "reference", "driving")
Degradation = Literal["noise", "blur", "shift", "identity_swap", "frame_shuffle", "color_slide"]


@dataclass(frozen=True, eq=False)
class ClipEvidence:
    """One clip in all its roles, as far as they are given."""

    generated: Observed
    target: Observed
    reference: Observed | None = None
    driving: Observed | None = None

    @property
    def motion(self) -> Observed:
        """Whose motion is to be followed: the driving video, or the target where there is none."""
        return self.driving or self.target

    @property
    def of_truth(self) -> "ClipEvidence":
        """The evidence that the target itself would be: what a perfect answer gets."""
        return ClipEvidence(self.target, self.target, self.reference, self.driving)


@dataclass(frozen=True)
class Metric:
    """A name on the command line, and all that is said about it beside its value."""

    name: str
    meaning: str
    better: Better
    unit: str = ""
    version: int = 1
    parameters: str = ""
    features: tuple[str, ...] = ()
    """Extractors whose arrays it reads; the first names network and weights in the protocol."""
    network: str = ""
    """Extractor in the protocol of a metric that runs a network of its own."""
    roles: tuple[Role, ...] = ()
    """Folders it needs beside generated and target."""
    sees: frozenset[Degradation] = field(default=frozenset())
    """Degradations in whose strength it is monotone."""
    decimals: int = 3
    follows_driver: bool = False
    """Whether it compares with the driving video where that is given."""
    has_ceiling: bool = False
    """Whether the target itself does not get the best value: then its value is shown beside."""


@dataclass(frozen=True)
class ClipMetric(Metric):
    """One value per clip."""

    compute: Callable[[ClipEvidence, Networks], float] = lambda evidence, networks: float("nan")


Vectors = Real[np.ndarray, "_ d"]
"""Feature vectors of one clip."""


def _frechet(generated: Sequence[Vectors], target: Sequence[Vectors]) -> float:
    return frechet_distance(np.concatenate(generated), np.concatenate(target))


@dataclass(frozen=True)
class SetMetric(Metric):
    """One value per pair of sets."""

    array: str = ""
    """Name of the feature vectors."""
    compute: Callable[[Sequence[Vectors], Sequence[Vectors]], float] = _frechet
    """Of generated and true clips, in one order."""
    biased: bool = True
    """Whether small sets make it larger."""


ClipValue = Callable[[ClipEvidence, Networks], float]


def _plc(array: str, normalizer: landmarks.Normalizer) -> ClipValue:
    def compute(evidence: ClipEvidence, networks: Networks) -> float:
        made, driver = evidence.generated, evidence.motion
        sizes = (made.frames.shape[1:3], driver.frames.shape[1:3])
        return landmarks.plc(made.features[array], driver.features[array], *sizes, normalizer)

    return compute


def _flc(array: str) -> ClipValue:
    return lambda e, n: landmarks.flc(e.generated.features[array], e.motion.features[array])


def _recall(array: str) -> ClipValue:
    return lambda e, n: landmarks.landmark_recall(e.generated.features[array], e.motion.features[array])


@dataclass(frozen=True)
class _Identity:
    """The metrics of face identity on one network's embeddings."""

    array: str

    def target(self, evidence: ClipEvidence, networks: Networks) -> float:
        return face_identity.fis(self._made(evidence), self._true(evidence), self._shown(evidence))

    def reference(self, evidence: ClipEvidence, networks: Networks) -> float:
        if evidence.reference is None:
            raise ValueError("no reference")
        found = evidence.reference.features[self.array]
        seen, made = found[np.isfinite(found).all(axis=1)], self._made(evidence)
        if not len(seen):
            raise ValueError("no face found in the reference")
        return face_identity.fis(made, np.repeat(seen[:1], len(made), axis=0), self._shown(evidence))

    def adjacent(self, evidence: ClipEvidence, networks: Networks) -> float:
        return face_identity.fts(self._made(evidence), self._shown(evidence))

    def recall(self, evidence: ClipEvidence, networks: Networks) -> float:
        return face_identity.face_recall(self._made(evidence), self._shown(evidence))

    def drift(self, evidence: ClipEvidence, networks: Networks) -> float:
        return identity_drift(face_identity.similarity(self._made(evidence), self._true(evidence)))

    def _made(self, evidence: ClipEvidence) -> np.ndarray:
        return evidence.generated.features[self.array]

    def _true(self, evidence: ClipEvidence) -> np.ndarray:
        return evidence.target.features[self.array]

    def _shown(self, evidence: ClipEvidence) -> Bool[np.ndarray, " f"]:
        """Frames in which the truth shows a face."""
        return np.asarray(np.isfinite(self._true(evidence)).all(axis=1))


_PIXELS: frozenset[Degradation] = frozenset({"noise", "blur", "shift", "identity_swap", "frame_shuffle", "color_slide"})
_LOOKS: frozenset[Degradation] = frozenset({"noise", "blur"})
_DLIB = "dlib's network, not ArcFace"


def _identity_metrics(network: str, suffix: str, who: str) -> tuple[ClipMetric, ...]:
    """The metrics of face identity of one network."""
    faces, needs = _Identity(f"{network}.embedding"), (network, "person")
    swap: frozenset[Degradation] = frozenset({"identity_swap"})
    return (
        ClipMetric(
            f"fis_{suffix}", f"face identity similarity with the target's face ({who}); a missing face counts 0",
            "higher", features=needs, sees=swap, compute=faces.target,
        ),
        ClipMetric(
            f"fis_{suffix}_reference", f"face identity similarity with the reference's face ({who})", "higher",
            features=needs, roles=("reference",), sees=swap, has_ceiling=True, compute=faces.reference,
        ),
        ClipMetric(
            f"fts_{suffix}", f"face identity similarity of adjacent frames ({who})", "higher", features=needs,
            has_ceiling=True, sees=swap, compute=faces.adjacent,
        ),
        ClipMetric(
            f"identity_drift_{suffix}", f"similarity with the true face lost from first to last quarter ({who})",
            "lower", features=needs, compute=faces.drift,
        ),
    )  # fmt: skip


METRICS: tuple[ClipMetric | SetMetric, ...] = (
    ClipMetric(
        "l1", "mean absolute difference of pixels", "lower", decimals=4, sees=_PIXELS,
        compute=lambda e, n: image.l1(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "psnr", "peak signal-to-noise ratio, squared error pooled over the clip", "higher", unit="dB", decimals=2,
        sees=_PIXELS, compute=lambda e, n: image.psnr(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "psnr_disco", "PSNR with uint8 wrap-around: WRONG, only to read old tables", "higher", unit="dB", decimals=2,
        compute=lambda e, n: image.psnr_disco(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "ssim", "structural similarity, Gaussian window", "higher", parameters="sigma=1.5 color=mean over RGB",
        sees=_PIXELS - {"color_slide"}, compute=lambda e, n: image.ssim(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "lpips_mobilenetv2", "perceptual distance on MobileNetV2; not comparable with published LPIPS", "lower",
        parameters="maps=1,3,6,13,17 weights=equal", network="mobilenet_v2", sees=_PIXELS,
        compute=lambda e, n: lpips_mobilenetv2(n.mobilenet_v2, e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "lpips", "LPIPS on AlexNet", "lower", parameters="version=0.1 net=alex", network="alexnet", sees=_PIXELS,
        compute=lambda e, n: lpips(n.alexnet, e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "flicker", "difference of frame differences: temporal error", "lower", decimals=4,
        sees=frozenset({"noise", "frame_shuffle"}), compute=lambda e, n: flicker(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "color_drift", "change of the mean color's error, first to last quarter", "lower", decimals=4,
        sees=frozenset({"color_slide"}), compute=lambda e, n: color_drift(e.generated.frames, e.target.frames),
    ),
    ClipMetric(
        "mask_iou_mediapipe", "overlap of the person with the target's, MediaPipe masks", "higher",
        features=("person",), sees=frozenset({"shift", "frame_shuffle"}),
        compute=lambda e, n: mask_iou(e.generated.features["person.mask"], e.target.features["person.mask"]),
    ),
    *_identity_metrics("dlib_face", "dlib", _DLIB),
    ClipMetric(
        "face_recall", "share of the target's faces that are found in the generated frames", "higher",
        features=("dlib_face", "person"), compute=_Identity("dlib_face.embedding").recall,
    ),
    *_identity_metrics("arcface", "arcface", "ArcFace, aligned by MediaPipe"),
    ClipMetric(
        "plc", "distance of body landmarks to the driver's (the target's without driving=)", "lower", decimals=4,
        parameters="normalizer=image", features=("person",), follows_driver=True, has_ceiling=True,
        sees=frozenset({"shift", "frame_shuffle"}), compute=_plc("person.landmarks", "image"),
    ),
    ClipMetric(
        "plc_person", "the same, moved and scaled to the person", "lower", version=2, parameters="normalizer=person",
        features=("person",), follows_driver=True, has_ceiling=True, sees=frozenset({"frame_shuffle"}),
        compute=_plc("person.landmarks", "person"),
    ),
    ClipMetric(
        "joint_recall", "share of the driver's landmarks that are found in the generated frames", "higher",
        features=("person",), follows_driver=True, has_ceiling=True,
        compute=_recall("person.landmarks"),
    ),
    ClipMetric(
        "flc", "distance of face landmarks to the driver's, in shares of the face", "lower", decimals=4,
        parameters="normalizer=face box points=468", features=("person",), follows_driver=True, has_ceiling=True,
        sees=frozenset({"frame_shuffle"}), compute=_flc("person.mesh"),
    ),
    ClipMetric(
        "plc_dwpose", "distance of DWPose's body landmarks to the driver's (the target's without driving=)", "lower",
        decimals=4, parameters="normalizer=image points=17 confident=0.3", features=("dwpose",), follows_driver=True,
        has_ceiling=True, sees=frozenset({"shift", "frame_shuffle"}), compute=_plc("dwpose.body", "image"),
    ),
    ClipMetric(
        "joint_recall_dwpose", "share of the driver's DWPose landmarks that are found in the generated frames",
        "higher", parameters="points=17 confident=0.3", features=("dwpose",), follows_driver=True, has_ceiling=True,
        compute=_recall("dwpose.body"),
    ),
    ClipMetric(
        "flc_dwpose", "distance of DWPose's face landmarks to the driver's, in shares of the face", "lower",
        decimals=4, parameters="normalizer=face box points=68 confident=0.3", features=("dwpose",),
        follows_driver=True, has_ceiling=True, sees=frozenset({"frame_shuffle"}), compute=_flc("dwpose.face"),
    ),
    SetMetric(
        "fvd", "Frechet distance of I3D logits", "lower", features=("i3d",), decimals=1, array="i3d.logits",
        parameters="covariance=n-1 features=logits", sees=_LOOKS | {"frame_shuffle"},
    ),
    SetMetric(
        "kvd_i3d", "unbiased kernel distance of I3D logits", "lower", version=2, features=("i3d",), array="i3d.logits",
        parameters="kernel=(x.y/d+1)^3", compute=kernel_distance, biased=False,
        sees=_LOOKS | {"frame_shuffle"},
    ),
    SetMetric(
        "fid_vid_i3d", "Frechet distance of I3D's pooled features; DisCo's FID-VID has another network", "lower",
        features=("i3d",), array="i3d.pooled", parameters="covariance=n-1 features=pooled",
        sees=_LOOKS | {"frame_shuffle"},
    ),
    SetMetric(
        "fid", "Frechet distance over all frames", "lower", features=("inception",), array="inception.pooled",
        parameters="covariance=n-1 frames=pooled", sees=_LOOKS | {"identity_swap"}, decimals=2,
    ),
    SetMetric(
        "kid", "unbiased kernel distance over all frames", "lower", version=2, features=("inception",),
        array="inception.pooled", parameters="kernel=(x.y/d+1)^3", compute=kernel_distance, biased=False, sees=_LOOKS,
        decimals=4,
    ),
    SetMetric(
        "fid_mobilenetv2", "Frechet distance over all frames; not comparable with published FID", "lower",
        features=("mobilenet_v2",), array="mobilenet_v2.pooled", parameters="covariance=n-1 frames=pooled",
        sees=_LOOKS | {"identity_swap"}, decimals=2,
    ),
    SetMetric(
        "kid_mobilenetv2", "unbiased kernel distance over all frames; not comparable with published KID", "lower",
        version=2, features=("mobilenet_v2",), array="mobilenet_v2.pooled", parameters="kernel=(x.y/d+1)^3",
        compute=kernel_distance, biased=False, sees=_LOOKS, decimals=4,
    ),
)  # fmt: skip

BY_NAME: Mapping[str, ClipMetric | SetMetric] = {metric.name: metric for metric in METRICS}


def chosen(names: str) -> list[ClipMetric | SetMetric]:
    """The metrics of a comma-separated list, or all of `all`, in the catalog's order.

    `all` leaves out those whose weights people have to put there themselves, until they have.
    Raises: UserError for an unknown name."""
    if names == "all":
        return [metric for metric in METRICS if not missing_files(metric)]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in BY_NAME:
            raise UserError(f"metrics={name}: want all or of {', '.join(BY_NAME)}{did_you_mean(name, BY_NAME)}")
    return [metric for metric in METRICS if metric.name in wanted]


def networks_of(metric: Metric) -> list[str]:
    """The extractors that run for a metric, its own network included."""
    return with_needed([*metric.features, *([metric.network] if metric.network else [])])


def missing_files(metric: Metric) -> list[str]:
    """What is missing of the files that people have to put into the directory of weights for a metric."""
    files = [file for name in networks_of(metric) for file in EXTRACTORS[name].files]
    return [" or ".join(file.names) for file in files if not file.is_there]


def extractors_of(metrics: Iterable[Metric]) -> list[str]:
    """The extractors whose arrays the metrics read."""
    return sorted({name for metric in metrics for name in metric.features})


def network_of(metric: Metric) -> str:
    """The extractor that a metric's protocol names; empty for plain pixels."""
    return metric.network or (metric.features[0] if metric.features else "")


def vectors_of(metric: SetMetric, clips: Sequence[Observed]) -> list[Vectors]:
    """The feature vectors of every clip."""
    return [clip.features[metric.array] for clip in clips]
