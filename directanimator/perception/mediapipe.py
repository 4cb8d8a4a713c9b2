"""People through MediaPipe's nets, run by LiteRT on the CPU: fast enough for a laptop, no framework of theirs needed.

A clip of a whole body takes the mask of the body landmark net; a clip of head and shoulders, where that net is weak,
takes the selfie segmenter. The choice is made once per clip, so that the kind of mask cannot flicker.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from directanimator.ahead import ahead
from directanimator.assets import asset
from directanimator.cues.person import LANDMARKS, PersonTrack, no_landmarks
from directanimator.perception.following import Body, Box, Follower, distinct, look_of
from directanimator.perception.person import Seen, Sighting, no_face, tracked
from directanimator.perception.region import Patch, Point, Square, View
from directanimator.perception.ssd import AnchorGrid, Detections, decode, sigmoid

NETS = (
    "face_detection_short_range",
    "face_detection_full_range_sparse",
    "pose_detection",
    "pose_landmark_full",
    "selfie_segmentation",
)
"""The assets that are needed."""
DECIDING = 12
"""Frames, from the first one with somebody in it, by which the kind of mask is chosen."""

_SHORT_RANGE = AnchorGrid(128, ((8, 2), (16, 6)))
_FULL_RANGE = AnchorGrid(192, ((4, 1),))
_POSE = AnchorGrid(224, ((8, 2), (16, 2), (32, 6)))

_HEAD_FACE_THRESHOLD = 0.5
_LONE_FACE_THRESHOLD = 0.65
_POSE_THRESHOLD = 0.5
_BODY_MARGIN = 1.25
_HEAD_SIDE = 0.25
_OFF_CENTER = 0.6
"""Farthest that a face lies from the mean of the head's landmarks, in sides of the face."""
_PORTRAIT_FACE = 0.15
_LARGE_HEAD = 2 * _PORTRAIT_FACE
"""Head region, in short sides of the frame, from which its face may be that of a portrait."""
_HEAD_POINTS = slice(0, 11)
_HEAD = LANDMARKS.index("head")
_CENTER_POINT, _TOP_POINT = 33, 34
_POINTS_OF_LANDMARK = (_HEAD_POINTS, *(slice(i, i + 1) for i in (*range(11, 17), *range(23, 29))))
"""The net's points behind each of LANDMARKS: the face's mean, then shoulders to wrists, then hips to ankles."""
_VISIBILITY = 3
"""Column of a landmark that tells, as a logit, whether it is seen."""
_SOFT_EDGE = 4
_TILE = 0.5
"""Side of the tiles that are searched for small people, in short sides of the frame."""
_TILES_ALONG = 8
"""Tiles side by side, at most, along the longer side of a frame."""
_SMALL = 1.6
"""Side of a small person's region in tiles, at most: what is larger would have been seen in the whole frame."""


@dataclass(frozen=True)
class Face:
    """A face found in a frame: its box in frame pixels and its score 0..1."""

    box: Float32[np.ndarray, " 4"]
    score: float

    @property
    def side(self) -> float:
        """The box's longer side, in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def center(self) -> Point:
        """The box's center, in pixels."""
        return np.asarray((self.box[:2] + self.box[2:]) / 2, np.float32)

    def overlaps(self, other: "Face") -> bool:
        """Whether the boxes are so near that they show the same face."""
        return float(np.abs(self.center - other.center).max()) < max(self.side, other.side) / 2


class MediapipeBodies:
    """Bodies through the nets pose_detection and pose_landmark_full.

    Raises: UserError (on construction) if a weight file has not been fetched."""

    def __init__(self, num_threads: int = 1) -> None:
        self._pose_detection = Net(asset("pose_detection"), num_threads)
        self._pose_landmark = Net(asset("pose_landmark_full"), num_threads)

    def find(self, frame: UInt8[np.ndarray, "h w 3"], small: bool) -> list[Body]:
        """All bodies of a frame, the surest first; each is looked at twice: the first look's landmarks place the
        second look's region. With `small`, tiles of the frame are searched where the whole frame shows nobody."""
        found = self._looked_twice(frame, self._regions(frame, Square.around_frame(frame)))
        if found or not small:
            return found
        tiles = _tiles(*frame.shape[:2])
        bodies = self._looked_twice(frame, [region for tile in tiles for region in self._regions(frame, tile)])
        return [body for body in bodies if body.region.side < _SMALL * tiles[0].side]

    def look(self, frame: UInt8[np.ndarray, "h w 3"], region: Square) -> Body | None:
        """The body of a region, if there is one."""
        crop = region.crop(frame, 256)
        points, presence, logits, *_ = self._pose_landmark(_unit(crop))
        if presence.item() < _POSE_THRESHOLD:
            return None
        table = points.reshape(39, 5)
        places, seen = region.to_frame(table[:, :2] / 256), table[:, _VISIBILITY] > 0
        shown = np.where(seen[:, None], places, np.nan)
        inside = np.asarray(logits[0, :, :, 0])
        return Body(
            region=region,
            next_region=Square.around_body(places[_CENTER_POINT], places[_TOP_POINT], _BODY_MARGIN),
            head=Square.upright(places[_HEAD_POINTS].mean(axis=0), region.side * _HEAD_SIDE),
            landmarks=np.stack([shown[points].mean(axis=0) for points in _POINTS_OF_LANDMARK]).astype(np.float32),
            mask=sigmoid(inside),
            presence=presence.item(),
            look=look_of(crop, inside > 0),
        )

    def _looked_twice(self, frame: UInt8[np.ndarray, "h w 3"], regions: Sequence[Square]) -> list[Body]:
        first = [body for region in regions if (body := self.look(frame, region))]
        return distinct(self.look(frame, body.next_region) or body for body in distinct(first))

    def _regions(self, frame: UInt8[np.ndarray, "h w 3"], where: Square) -> list[Square]:
        """Where bodies seem to be in a part of the frame, the surest first."""
        found = self._pose_detection.detect(where.crop(frame, _POSE.size), _POSE, _POSE_THRESHOLD)
        circles = [where.to_frame(points[:2]) for points in found.points]
        return [Square.around_body(center, top, _BODY_MARGIN) for center, top in circles]


class MediapipeFaces:
    """Faces through both of BlazeFace's nets.

    Raises: UserError (on construction) if a weight file has not been fetched."""

    def __init__(self, num_threads: int = 1) -> None:
        self._short_range = Net(asset("face_detection_short_range"), num_threads)
        self._full_range = Net(asset("face_detection_full_range_sparse"), num_threads)

    def face(self, frame: UInt8[np.ndarray, "h w 3"], body: Body | None, last: Face | None) -> Face | None:
        """The face of the followed person: in the whole frame if it is large there, else near the body's head."""
        whole, short = Square.around_frame(frame), min(frame.shape[:2])
        if body is None:
            return _nearest(_large(self.near(frame, whole), short) or self.far(frame, whole), last)
        if body.head.side > _LARGE_HEAD * short:
            found = _within(_large(self.near(frame, whole), short), body.head)
            if found:
                return _nearest(found, last)
        found = _centered(self.near(frame, body.head, _HEAD_FACE_THRESHOLD), body.head)
        if not found and np.isfinite(body.landmarks[_HEAD]).all():  # or the head is turned away
            found = _centered(self.far(frame, body.head, _HEAD_FACE_THRESHOLD), body.head)
        return _nearest(found, last)

    def near(
        self, frame: UInt8[np.ndarray, "h w 3"], region: Square, threshold: float = _LONE_FACE_THRESHOLD
    ) -> list[Face]:
        """The faces that fill a good part of a region."""
        crop = region.crop(frame, _SHORT_RANGE.size)
        return _faces(self._short_range.detect(crop, _SHORT_RANGE, threshold), region)

    def far(
        self, frame: UInt8[np.ndarray, "h w 3"], region: Square, threshold: float = _LONE_FACE_THRESHOLD
    ) -> list[Face]:
        """The faces that are small in a region."""
        crop = region.crop(frame, _FULL_RANGE.size)
        return _faces(self._full_range.detect(crop, _FULL_RANGE, threshold), region)


class _Look(NamedTuple):
    """What the nets say of one frame, before the kind of mask is chosen."""

    frame: UInt8[np.ndarray, "h w 3"]
    body: Body | None
    face: Face | None


class MediapipePerception:
    """One person per clip through MediaPipe's detectors and segmenters. Deterministic; keeps nothing between clips.

    Raises: UserError (on construction) if a weight file has not been fetched.
    Source: MediaPipe 0.10.21, modules face_detection, pose_detection, pose_landmark, selfie_segmentation.
    Deviation: the paper segments with Grounded SAM 2 and finds faces with InsightFace."""

    def __init__(self, box: Box | None = None) -> None:
        self._bodies = MediapipeBodies()
        self._face_nets = MediapipeFaces()
        self._selfie = Net(asset("selfie_segmentation"), 1)
        self._box = box

    def watch(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        """Every frame of a clip with the one person that is followed.

        Reads ahead: the body nets run in a thread of their own, and the kind of mask is chosen from the first
        `DECIDING` frames with somebody in them."""
        for look, portrait in _decided(self._looks(frames)):
            yield Seen(look.frame, self._sighting(look, portrait))

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> PersonTrack:
        """The followed person of a clip; an empty mask, score 0 and a NaN box where nobody is seen."""
        height, width = frames.shape[1:3]
        return tracked((seen.sighting for seen in self.watch(frames)), View.whole(height, width))

    def faces(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        """All faces of one picture, largest first, as x0, y0, x1, y1 in pixels."""
        region = Square.around_frame(image)
        candidates = self._face_nets.near(image, region) + self._face_nets.far(image, region)
        for body in self._bodies.find(image, small=True):
            candidates += self._face_nets.near(image, body.head, _HEAD_FACE_THRESHOLD)
        found = _distinct(candidates)
        return np.array([face.box for face in sorted(found, key=lambda face: -face.side)], np.float32).reshape(-1, 4)

    def _looks(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[_Look]:
        follower, last = Follower(self._bodies, self._box), None
        for frame, body in ahead(_with_frame(frames, follower)):
            face = self._face_nets.face(frame, body, last)
            last = face or last
            yield _Look(frame, body, face)

    def _sighting(self, look: _Look, portrait: bool) -> Sighting:
        body, face = look.body, look.face
        if body is None and (face is None or not portrait):
            return Sighting(None)
        return Sighting(
            mask=body.region.patch(_levels(body.mask)) if body and not portrait else self._selfie_patch(look.frame),
            face_box=face.box if face else no_face(),
            score=max(body.presence if body else 0.0, face.score if face else 0.0),
            landmarks=body.landmarks if body else no_landmarks(1)[0],
        )

    def _selfie_patch(self, frame: UInt8[np.ndarray, "h w 3"]) -> Patch:
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA)
        (mask,) = self._selfie(_unit(np.asarray(small, np.uint8)))
        return Patch.of_frame(_levels(_largest_part(mask[0, :, :, 0])), height, width)


class Net:
    """A TFLite file as a function from one input to its outputs."""

    def __init__(self, path: Path, num_threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(path), num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, pixels: Float32[np.ndarray, "s s 3"]) -> list[np.ndarray]:
        """The outputs of one picture, each with its batch axis."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def detect(self, crop: UInt8[np.ndarray, "s s 3"], grid: AnchorGrid, threshold: float) -> Detections:
        """What a detector with these anchors finds in a crop."""
        raw, logits = self(_unit(crop) * 2 - 1)
        return decode(raw[0], logits[0, :, 0], grid, threshold)


def _unit(pixels: UInt8[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "s s 3"]:
    return pixels.astype(np.float32) / 255


def _levels(mask: Float32[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s"]:
    return np.asarray((mask.clip(0, 1) * 255).round(), np.uint8)


def _tiles(height: int, width: int) -> list[Square]:
    """Overlapping upright squares that cover the frame, each of a part of its shorter side; larger in a long frame,
    or they would be many."""
    side = max(_TILE * min(height, width), max(height, width) / _TILES_ALONG)
    rows, columns = (_tile_centers(length, side) for length in (height, width))
    return [Square.upright(np.array([x, y], np.float32), float(side)) for y in rows for x in columns]


def _tile_centers(length: int, side: float) -> Float64[np.ndarray, " n"]:
    if length <= side:
        return np.array([length / 2])
    return np.linspace(side / 2, length - side / 2, 1 + math.ceil(1.5 * (length / side - 1)))


def _large(faces: Sequence[Face], short_side: int) -> list[Face]:
    return [face for face in faces if face.side > _PORTRAIT_FACE * short_side]


def _largest_part(mask: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s"]:
    """The mask, 0..1, without what hangs together neither with its largest part nor with that part's soft edge."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
    if len(stats) < 2:
        return mask
    largest = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    near = cv2.dilate(largest, np.ones((2 * _SOFT_EDGE + 1,) * 2, np.uint8))
    return np.asarray(mask * near, np.float32)


def _faces(found: Detections, region: Square) -> list[Face]:
    return [
        Face(region.to_frame(box.reshape(2, 2)).reshape(4), float(score))
        for box, score in zip(found.boxes, found.scores, strict=True)
    ]


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """The faces without repetitions: of boxes that show the same face, the first stays."""
    kept: list[Face] = []
    for face in faces:
        if not any(face.overlaps(other) for other in kept):
            kept.append(face)
    return kept


def _within(faces: Sequence[Face], region: Square) -> list[Face]:
    return [face for face in faces if np.abs(face.center - region.center).max() < region.side / 2]


def _centered(faces: Sequence[Face], head: Square) -> list[Face]:
    """The faces in the middle of a head's region; beside it may be somebody who stands behind."""
    return [face for face in faces if np.linalg.norm(face.center - head.center) < _OFF_CENTER * face.side]


def _nearest(faces: Sequence[Face], last: Face | None) -> Face | None:
    """The face nearest to the last one; without a last one, the largest."""
    if last is None:
        return max(faces, key=lambda face: face.side, default=None)
    return min(faces, key=lambda face: float(np.linalg.norm(face.center - last.center)), default=None)


def _with_frame(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], follower: Follower
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], Body | None]]:
    """Each frame with the body that is followed."""
    waiting: deque[UInt8[np.ndarray, "h w 3"]] = deque()

    def remembered() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    for body in follower.follow(remembered()):
        yield waiting.popleft(), body


def _decided(looks: Iterator[_Look]) -> Iterator[tuple[_Look, bool]]:
    """Each look, and whether the clip is a portrait; a frame in which nobody is seen is the same in both kinds."""
    deciding: list[_Look] = []
    portrait = False
    for look in looks:
        if deciding or look.body or look.face:
            deciding.append(look)
            if len(deciding) == DECIDING:
                portrait = _is_portrait(deciding)
                break
        else:
            yield look, portrait
    else:
        portrait = _is_portrait(deciding)
    for look in itertools.chain(deciding, looks):
        yield look, portrait


def _is_portrait(looks: Sequence[_Look]) -> bool:
    """Whether the clip shows head and shoulders: a large face, or a face and never a body."""
    sides = [look.face.side / min(look.frame.shape[:2]) for look in looks if look.face]
    return bool(sides) and (not any(look.body for look in looks) or float(np.median(sides)) > _PORTRAIT_FACE)
