"""People through MediaPipe's nets, run by LiteRT on the CPU: fast enough for a laptop, no framework of theirs needed.

A clip of a whole body takes the mask of the body landmark net; a clip of head and shoulders, where that net is weak,
takes the selfie segmenter. The choice is made once per clip, so that the kind of mask cannot flicker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from directanimator.assets import asset
from directanimator.cues.person import PersonTrack, no_landmarks
from directanimator.perception.ssd import AnchorGrid, Detections, decode, sigmoid

_SHORT_RANGE = AnchorGrid(128, ((8, 2), (16, 6)))
_FULL_RANGE = AnchorGrid(192, ((4, 1),))
_POSE = AnchorGrid(224, ((8, 2), (16, 2), (32, 6)))

_HEAD_FACE_THRESHOLD = 0.5
_LONE_FACE_THRESHOLD = 0.65
_POSE_THRESHOLD = 0.5
_BODY_MARGIN = 1.25
_HEAD_SIDE = 0.25
_PORTRAIT_FACE = 0.15
_HEAD_POINTS = slice(0, 11)
_CENTER_POINT, _TOP_POINT = 33, 34
_POINTS_OF_LANDMARK = (_HEAD_POINTS, *(slice(i, i + 1) for i in (*range(11, 17), *range(23, 29))))
"""The net's points behind each of LANDMARKS: the face's mean, then shoulders to wrists, then hips to ankles."""
_VISIBILITY = 3
"""Column of a landmark that tells, as a logit, whether it is seen."""
_SUPERSAMPLING = 4
_SOFT_EDGE = 4

_Point = Float32[np.ndarray, " 2"]


@dataclass(frozen=True)
class Square:
    """A square region of a frame, possibly turned and reaching beyond the frame; in pixels, pixel 0 spans 0..1."""

    center: _Point
    side: float
    up: _Point

    @classmethod
    def upright(cls, center: _Point, side: float) -> "Square":
        """The square whose sides are parallel to the frame's."""
        return cls(center, side, np.array([0, -1], np.float32))

    @classmethod
    def around_frame(cls, frame: UInt8[np.ndarray, "h w 3"]) -> "Square":
        """The smallest square that holds the whole frame, centered."""
        height, width = frame.shape[:2]
        return cls.upright(np.array([width / 2, height / 2], np.float32), float(max(height, width)))

    @classmethod
    def around_body(cls, center: _Point, top: _Point) -> "Square":
        """The square around a body whose circle has this center and this topmost point, turned so that it stands."""
        reach = max(float(np.linalg.norm(top - center)), 1.0)
        return cls(center, 2 * reach * _BODY_MARGIN, ((top - center) / reach).astype(np.float32))

    def to_frame(self, shares: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 2"]:
        """Frame pixels of points that are given as shares 0..1 of the square."""
        return np.asarray(self.center + self.side * (shares - 0.5) @ self._axes().T, np.float32)

    def crop(self, frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
        """The region at `size` pixels a side; black outside the frame. Shrinking averages, so it does not alias."""
        fine = size * int(np.clip(round(self.side / size), 1, _SUPERSAMPLING))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels: np.ndarray = cv2.warpAffine(frame, self._matrix(fine), (fine, fine), flags=flags)
        return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8)

    def paste(self, mask: Float32[np.ndarray, "s s"], height: int, width: int) -> UInt8[np.ndarray, "h w"]:
        """A mask of the region, 0..1, laid into an empty frame as 0..255."""
        whole = cv2.warpAffine(mask, self._matrix(mask.shape[0]), (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray((whole.clip(0, 1) * 255).round(), np.uint8)

    def _axes(self) -> Float32[np.ndarray, "2 2"]:
        """Columns: the directions of the square's rightward and downward sides in the frame."""
        x, y = -self.up
        return np.array([[y, x], [-x, y]], np.float32)

    def _matrix(self, size: int) -> np.ndarray:
        """The affine map from pixel indices of the crop to pixel indices of the frame, as OpenCV wants it."""
        axes = self._axes() * (self.side / size)
        corner = self.center - axes @ np.full(2, size / 2) + axes @ np.full(2, 0.5) - 0.5
        return np.concatenate([axes, corner[:, None]], axis=1)


@dataclass(frozen=True)
class Body:
    """A body found in a frame: its region, 39 landmarks in frame pixels, the region's mask 0..1, presence 0..1."""

    region: Square
    landmarks: Float32[np.ndarray, "39 2"]
    visible: Bool[np.ndarray, " 39"]
    mask: Float32[np.ndarray, "s s"]
    presence: float

    def head(self) -> Square:
        """The region around the head."""
        return Square.upright(self.landmarks[_HEAD_POINTS].mean(axis=0), self.region.side * _HEAD_SIDE)

    def body_landmarks(self) -> Float32[np.ndarray, "1 k 2"]:
        """The landmarks of a track, of this one frame."""
        seen = np.where(self.visible[:, None], self.landmarks, np.nan)
        return np.asarray(np.stack([seen[points].mean(axis=0) for points in _POINTS_OF_LANDMARK])[None], np.float32)

    def next_region(self) -> Square:
        """Where the body is looked for in the next frame."""
        return Square.around_body(self.landmarks[_CENTER_POINT], self.landmarks[_TOP_POINT])


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
    def center(self) -> _Point:
        """The box's center, in pixels."""
        return np.asarray((self.box[:2] + self.box[2:]) / 2, np.float32)

    def overlaps(self, other: "Face") -> bool:
        """Whether the boxes are so near that they show the same face."""
        return float(np.abs(self.center - other.center).max()) < max(self.side, other.side) / 2


class MediapipePerception:
    """One person per clip through MediaPipe's detectors and segmenters. Deterministic; keeps nothing between clips.

    Raises: UserError (on construction) if a weight file has not been fetched.
    Source: MediaPipe 0.10.21, modules face_detection, pose_detection, pose_landmark, selfie_segmentation.
    Deviation: the paper segments with Grounded SAM 2 and finds faces with InsightFace."""

    def __init__(self, num_threads: int = 1) -> None:
        self._short_range = Net(asset("face_detection_short_range"), num_threads)
        self._full_range = Net(asset("face_detection_full_range_sparse"), num_threads)
        self._pose_detection = Net(asset("pose_detection"), num_threads)
        self._pose_landmark = Net(asset("pose_landmark_full"), num_threads)
        self._selfie = Net(asset("selfie_segmentation"), num_threads)

    def track(self, frames: UInt8[np.ndarray, "f h w 3"]) -> PersonTrack:
        """The most prominent person of a clip; an empty mask, score 0 and a NaN box where none is seen."""
        bodies = self._bodies(frames)
        faces = self._tracked_faces(frames, bodies)
        if _is_portrait(bodies, faces, min(frames.shape[1:3])):
            seen = [face is not None or body is not None for face, body in zip(faces, bodies, strict=True)]
            masks = [self._selfie_mask(frame, there) for frame, there in zip(frames, seen, strict=True)]
        else:
            faces = [face if body else None for face, body in zip(faces, bodies, strict=True)]
            masks = [_body_mask(frame, body) for frame, body in zip(frames, bodies, strict=True)]
        boxes = np.array([np.full(4, np.nan) if face is None else face.box for face in faces], np.float32)
        landmarks = np.concatenate([body.body_landmarks() if body else no_landmarks(1) for body in bodies])
        return PersonTrack(np.stack(masks), boxes, _scores(bodies, faces), landmarks)

    def faces(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        """All faces of one picture, largest first, as x0, y0, x1, y1 in pixels."""
        region = Square.around_frame(image)
        candidates = self._near_faces(image, region) + self._far_faces(image, region)
        for square in self._body_regions(image):
            body = self._body(image, square)
            candidates += self._near_faces(image, body.head(), _HEAD_FACE_THRESHOLD) if body else []
        found = _distinct(candidates)
        return np.array([face.box for face in sorted(found, key=lambda face: -face.side)], np.float32).reshape(-1, 4)

    def _bodies(self, frames: UInt8[np.ndarray, "f h w 3"]) -> list[Body | None]:
        """The body of each frame: followed from frame to frame, detected anew where it was lost."""
        bodies: list[Body | None] = []
        last: Body | None = None
        for frame in frames:
            last = (last and self._body(frame, last.next_region())) or self._detected_body(frame)
            bodies.append(last)
        return bodies

    def _detected_body(self, frame: UInt8[np.ndarray, "h w 3"]) -> Body | None:
        """The best body of a frame, looked at twice: the first look's landmarks place the second look's region."""
        regions = self._body_regions(frame)
        first = self._body(frame, regions[0]) if regions else None
        return first and (self._body(frame, first.next_region()) or first)

    def _body_regions(self, frame: UInt8[np.ndarray, "h w 3"]) -> list[Square]:
        """Where bodies seem to be, the surest first."""
        whole = Square.around_frame(frame)
        found = self._pose_detection.detect(whole.crop(frame, _POSE.size), _POSE, _POSE_THRESHOLD)
        return [Square.around_body(*whole.to_frame(points[:2])) for points in found.points]

    def _body(self, frame: UInt8[np.ndarray, "h w 3"], region: Square) -> Body | None:
        points, presence, logits, *_ = self._pose_landmark(_unit(region.crop(frame, 256)))
        if presence.item() < _POSE_THRESHOLD:
            return None
        table = points.reshape(39, 5)
        landmarks, visible = region.to_frame(table[:, :2] / 256), sigmoid(table[:, _VISIBILITY]) > 0.5
        return Body(region, landmarks, visible, sigmoid(logits[0, :, :, 0]), presence.item())

    def _tracked_faces(self, frames: UInt8[np.ndarray, "f h w 3"], bodies: Sequence[Body | None]) -> list[Face | None]:
        faces: list[Face | None] = []
        last: Face | None = None
        for frame, body in zip(frames, bodies, strict=True):
            faces.append(self._face(frame, body, last))
            last = faces[-1] or last
        return faces

    def _face(self, frame: UInt8[np.ndarray, "h w 3"], body: Body | None, last: Face | None) -> Face | None:
        """The face of the followed person: in the whole frame if it is large there, else near the body's head."""
        whole = Square.around_frame(frame)
        large = [face for face in self._near_faces(frame, whole) if face.side > _PORTRAIT_FACE * min(frame.shape[:2])]
        if body is None:
            return _nearest(large or self._far_faces(frame, whole), last)
        head = body.head()
        found = _within(large, head) or self._near_faces(frame, head, _HEAD_FACE_THRESHOLD)
        return _nearest(found or self._far_faces(frame, head, _HEAD_FACE_THRESHOLD), last)

    def _near_faces(
        self, frame: UInt8[np.ndarray, "h w 3"], region: Square, threshold: float = _LONE_FACE_THRESHOLD
    ) -> list[Face]:
        crop = region.crop(frame, _SHORT_RANGE.size)
        return _faces(self._short_range.detect(crop, _SHORT_RANGE, threshold), region)

    def _far_faces(
        self, frame: UInt8[np.ndarray, "h w 3"], region: Square, threshold: float = _LONE_FACE_THRESHOLD
    ) -> list[Face]:
        crop = region.crop(frame, _FULL_RANGE.size)
        return _faces(self._full_range.detect(crop, _FULL_RANGE, threshold), region)

    def _selfie_mask(self, frame: UInt8[np.ndarray, "h w 3"], seen: bool) -> UInt8[np.ndarray, "h w"]:
        height, width = frame.shape[:2]
        if not seen:
            return np.zeros((height, width), np.uint8)
        small = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA)
        (mask,) = self._selfie(_unit(np.asarray(small, np.uint8)))
        whole = cv2.resize(_largest_part(mask[0, :, :, 0]), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray((whole.clip(0, 1) * 255).round(), np.uint8)


class Net:
    """A TFLite file as a function from one input to its outputs."""

    def __init__(self, path: Path, num_threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(path), num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, pixels: Float32[np.ndarray, "s s 3"]) -> list[np.ndarray]:
        """All outputs for one picture, in the file's order."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def detect(self, crop: UInt8[np.ndarray, "s s 3"], grid: AnchorGrid, threshold: float) -> Detections:
        """What a single-shot detector finds in a crop of its input size."""
        raw, logits = self(_unit(crop) * 2 - 1)
        return decode(raw[0], logits[0, :, 0], grid, threshold)


def _unit(pixels: UInt8[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "s s 3"]:
    return pixels.astype(np.float32) / 255


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


def _nearest(faces: Sequence[Face], last: Face | None) -> Face | None:
    """The face nearest to the last one; without a last one, the largest."""
    if last is None:
        return max(faces, key=lambda face: face.side, default=None)
    return min(faces, key=lambda face: float(np.linalg.norm(face.center - last.center)), default=None)


def _is_portrait(bodies: Sequence[Body | None], faces: Sequence[Face | None], short_side: int) -> bool:
    """Whether the clip shows head and shoulders: a large face, or a face and never a body."""
    sides = [face.side for face in faces if face is not None]
    return bool(sides) and (not any(bodies) or float(np.median(sides)) > _PORTRAIT_FACE * short_side)


def _body_mask(frame: UInt8[np.ndarray, "h w 3"], body: Body | None) -> UInt8[np.ndarray, "h w"]:
    height, width = frame.shape[:2]
    return np.zeros((height, width), np.uint8) if body is None else body.region.paste(body.mask, height, width)


def _scores(bodies: Sequence[Body | None], faces: Sequence[Face | None]) -> Float32[np.ndarray, " f"]:
    pairs = zip(bodies, faces, strict=True)
    return np.array(
        [max(body.presence if body else 0.0, face.score if face else 0.0) for body, face in pairs], np.float32
    )
