"""Extracted cues for the eye: a strip of five panels as video, and one sheet of many videos."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from directanimator.ahead import ahead
from directanimator.atomic import atomic_write
from directanimator.cues.canvas import resize
from directanimator.cues.framing import Crop
from directanimator.cues.preview import cue_strip
from directanimator.cues.triplet import DrivingCues
from directanimator.errors import UserError
from directanimator.extraction.extract import Extracted, Verdicts
from directanimator.extraction.recorded import FRAME_ARRAYS, SIGHTINGS
from directanimator.extraction.store import Entry, Step, Store
from directanimator.perception.person import Seen
from directanimator.perception.region import View
from directanimator.video import open_video, write_frames

PANEL_SIDE = 256
"""Largest side of a panel, in pixels."""
PANELS = ("frame", "mask", "pose cue", "face cue", "location cue")
SHEET_COLORS = 128
_REJECTED = (230, 60, 50)
_LABEL_HEIGHT = 14


def strips(path: Path, extracted: Extracted, store: Store, fps: float | None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frame, mask, pose cue, face cue and location cue side by side, with the gate's verdict where it rejects.

    Raises: UserError if the video cannot be read, or an entry was evicted meanwhile."""
    entries: dict[Step, Entry] = {step: _entry(store, step, key) for step, key in extracted.keys.items()}
    verdicts = Verdicts.model_validate(entries["gate"].notes)
    crop = Crop(verdicts.left, verdicts.top, verdicts.side)
    cues = (entries[step].items(FRAME_ARRAYS) for step in ("pose", "face", "location"))
    with open_video(path, fps) as video:
        frames = ahead(video.frames)
        for frame, sighting, reason, *fields in zip(
            frames, entries["sightings"].items(SIGHTINGS), verdicts.reasons, *cues, strict=True
        ):
            arrays = {name: value[None] for field in fields for name, value in field.items()}
            yield _strip(Seen(frame, sighting), crop, DrivingCues(**arrays), reason)


def _entry(store: Store, step: Step, key: str) -> Entry:
    entry = store.entry(step, key)
    if entry is None:
        raise UserError(f"{store.root}: the {step} of a preview is gone; give the cache more room with cache_gb=...")
    return entry


def _strip(seen: Seen, crop: Crop, cues: DrivingCues, reason: str | None) -> UInt8[np.ndarray, "h w 3"]:
    side = min(PANEL_SIDE, cues.size[0])
    view = View(float(crop.left), float(crop.top), float(crop.side), float(crop.side), side, side)
    small = DrivingCues(
        pose_cue=resize(cues.pose_cue, side),
        face_cue=resize(cues.face_cue, side),
        body_location=resize(cues.body_location, side),
        face_location=resize(cues.face_location, side),
        pose_present=cues.pose_present,
        face_present=cues.face_present,
    )
    square = crop.cut(seen.frame[None], empty_outside=False)
    strip = cue_strip(resize(square, side), seen.sighting.mask_in(view)[None], small)[0]
    if reason:
        cv2.putText(strip, reason, (side + 6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _REJECTED, 1, cv2.LINE_AA)
        cv2.rectangle(strip, (side, 0), (2 * side - 1, side - 1), _REJECTED, 2)
    return strip


def write_preview(path: Path, extracted: Extracted, store: Store, fps: float | None, target: Path) -> None:
    """Nothing; `target` holds the strips as a video at the clip's rate.

    Raises: UserError if the video cannot be read or the target not be written."""
    write_frames(target, strips(path, extracted, store, fps), min(max(extracted.fps, 0.01), 1000.0))


def sheet_row(path: Path, extracted: Extracted, store: Store, fps: float | None) -> UInt8[np.ndarray, "h w 3"]:
    """The strip of the accepted frame that is nearest to the middle of the clip."""
    reasons = Verdicts.model_validate(_entry(store, "gate", extracted.keys["gate"]).notes).reasons
    middle = len(reasons) // 2
    chosen = min(range(len(reasons)), key=lambda i: (reasons[i] is not None, abs(i - middle)))
    for number, strip in enumerate(strips(path, extracted, store, fps)):
        if number == chosen:
            return strip
    raise UserError(f"{path}: shorter than it was")


def write_sheet(rows: Sequence[UInt8[np.ndarray, "h w 3"]], names: Sequence[str], target: Path) -> None:
    """Nothing; `target` holds a palette PNG of all rows, each under its name.

    Raises: UserError if the target cannot be written."""
    height, width = rows[0].shape[:2]
    sheet = Image.new("RGB", (width, len(rows) * (height + _LABEL_HEIGHT)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = number * (height + _LABEL_HEIGHT)
        sheet.paste(Image.fromarray(row), (0, top + _LABEL_HEIGHT))
        for panel, label in enumerate(PANELS):
            draw.text((panel * width // len(PANELS) + 3, top + 1), f"{name}: {label}" if panel == 0 else label, "black")
    colored = sheet.quantize(SHEET_COLORS, dither=Image.Dither.NONE)
    atomic_write(target, lambda draft: colored.save(draft, optimize=True))
