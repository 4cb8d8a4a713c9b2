"""Generated clips for the eye: a contact sheet of many, and a side-by-side video of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from directanimator.cues.preview import location_in_color
from directanimator.cues.triplet import DrivingCues

Picture = UInt8[np.ndarray, "h w 3"]
Clip = UInt8[np.ndarray, "f h w 3"]

PAPER, INK, FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
GROUP_GAP, FRAME_GAP, ROW_GAP, MARGIN = 12, 2, 6, 14
HEADER, CAPTION = 34, 24
"""Heights of the text above a sheet's columns and a video's panels, in pixels."""
LABEL_WIDTH = 132
MIN_PANEL = 128
"""Smallest side of a panel in a comparison video, in pixels."""


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One clip: what the model was given, what it made of it, and the truth; all at canvas resolution."""

    reference: UInt8[np.ndarray, "1 h w 3"]
    driving: Clip
    cues: DrivingCues
    generated: Clip
    target: Clip
    label: str = ""
    """Kind of motion, index, scores: short; line breaks are kept."""

    def __post_init__(self) -> None:
        if not self.driving.shape == self.generated.shape == self.target.shape == self.cues.face_cue.shape:
            shapes = f"{self.driving.shape}, {self.generated.shape}, {self.target.shape}, {self.cues.face_cue.shape}"
            raise ValueError(f"driving, generated, target and cues must agree in frames and size, got {shapes}")
        if self.reference.shape != (1, *self.target.shape[1:]):
            raise ValueError(f"reference must be one frame of the target's size, got {self.reference.shape}")


def contact_sheet(rows: Sequence[SheetRow], num_times: int = 4, scale: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """One row per clip: reference | driving | pose cue | face cue | location cue | generated | target, RGB 0..255.

    `num_times` frames, evenly spread, stand for a clip (two for face and location cue), `scale` times enlarged.
    Raises: ValueError if there is no row, the rows differ in size, or num_times or scale is below 1."""
    _check_sheet(rows, num_times, scale)
    labels = LABEL_WIDTH if any(row.label for row in rows) else 0
    strips = [_row_strip(row, num_times, scale) for row in rows]
    height, width = strips[0].shape[:2]
    body = np.full((height * len(rows) + ROW_GAP * (len(rows) - 1), width, 3), PAPER, np.uint8)
    for index, strip in enumerate(strips):
        body[index * (height + ROW_GAP) :][:height] = strip
    page = Image.new("RGB", (labels + width + 2 * MARGIN, HEADER + body.shape[0] + 2 * MARGIN), PAPER)
    page.paste(Image.fromarray(body), (labels + MARGIN, HEADER + MARGIN))
    _write_headers(page, rows[0], num_times, scale, labels + MARGIN)
    for index, row in enumerate(rows):
        middle = HEADER + MARGIN + index * (height + ROW_GAP) + height // 2
        ImageDraw.Draw(page).multiline_text((MARGIN, middle), row.label, INK, _font(16), anchor="lm", spacing=6)
    return np.asarray(page)


def comparison_video(row: SheetRow) -> UInt8[np.ndarray, "f h w 3"]:
    """The clip frame by frame: reference | driving | pose cue | generated | target, captioned, RGB 0..255.

    Panels are enlarged to at least 128 pixels; height and width are even, as video codecs ask."""
    num_frames, *size = row.target.shape[:3]
    scale = math.ceil(MIN_PANEL / min(size))
    clips = {
        "reference": np.repeat(row.reference, num_frames, axis=0),
        "driving": row.driving,
        "pose cue": row.cues.pose_in_color,
        "generated": row.generated,
        "target": row.target,
    }
    bodies = np.stack([_side_by_side([clip[frame : frame + 1] for clip in clips.values()], scale)
                       for frame in range(num_frames)])  # fmt: skip
    caption = _caption_bar(list(clips), scale * size[1], bodies.shape[2])
    frames = np.concatenate([np.broadcast_to(caption, (num_frames, *caption.shape)), bodies], axis=1)
    odd_height, odd_width = frames.shape[1] % 2, frames.shape[2] % 2
    return np.pad(frames, ((0, 0), (0, odd_height), (0, odd_width), (0, 0)), constant_values=255)


def answers_sheet(
    answers: Mapping[str, Sequence[Clip]], num_times: int = 4, scale: int = 2
) -> UInt8[np.ndarray, "h w 3"]:
    """One row per answer, named on its left, and one group of `num_times` frames per clip, RGB 0..255.

    Raises: ValueError if there is no answer or no clip, or the answers differ in the number or shape of clips."""
    shapes = {tuple(clip.shape for clip in clips) for clips in answers.values()}
    if len(shapes) != 1 or not all(answers.values()):
        raise ValueError(f"answers must hold the same clips, at least one, got shapes {sorted(shapes) or 'none'}")
    strips = [
        _side_by_side([clip[_spread(len(clip), num_times)] for clip in clips], scale) for clips in answers.values()
    ]
    height, width = strips[0].shape[:2]
    labels = max(int(_font(16).getbbox(name)[2]) for name in answers) + GROUP_GAP
    page = Image.new("RGB", (labels + width + 2 * MARGIN, (height + ROW_GAP) * len(strips) + 2 * MARGIN), PAPER)
    for index, (name, strip) in enumerate(zip(answers, strips, strict=True)):
        top = MARGIN + index * (height + ROW_GAP)
        page.paste(Image.fromarray(strip), (labels + MARGIN, top))
        ImageDraw.Draw(page).text((MARGIN, top + height // 2), name, INK, _font(16), anchor="lm")
    return np.asarray(page)


def _check_sheet(rows: Sequence[SheetRow], num_times: int, scale: int) -> None:
    if num_times < 1 or scale < 1:
        raise ValueError(f"num_times and scale must be at least 1, got {num_times} and {scale}")
    shapes = {row.target.shape for row in rows}
    if len(shapes) != 1:
        raise ValueError(f"a sheet needs rows of one size, got {sorted(shapes) or 'none'}")


def _row_strip(row: SheetRow, num_times: int, scale: int) -> Picture:
    return _side_by_side(list(_groups(row, num_times).values()), scale)


def _groups(row: SheetRow, num_times: int) -> dict[str, Clip]:
    """The frames to show, by the title above them."""
    many, few = _spread(len(row.target), num_times), _spread(len(row.target), min(num_times, 2))
    return {
        "reference": row.reference,
        "driving": row.driving[many],
        "pose cue": row.cues.pose_in_color[many],
        "face cue": row.cues.face_cue[few],
        "location cue": location_in_color(row.cues)[few],
        "generated": row.generated[many],
        "target": row.target[many],
    }


def _spread(num_frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers from the first to the last; the middle one when there is one."""
    if count == 1:
        return [num_frames // 2]
    return sorted({round(time) for time in np.linspace(0, num_frames - 1, count)})


def _side_by_side(groups: Sequence[Clip], scale: int) -> Picture:
    panels: list[Picture] = []
    for index, group in enumerate(groups):
        panels += [_gap(GROUP_GAP, group, scale)] if index else []
        for position, frame in enumerate(group):
            panels += [_gap(FRAME_GAP, group, scale)] if position else []
            panels.append(_enlarged(frame, scale))
    return np.concatenate(panels, axis=1)


def _gap(width: int, like: Clip, scale: int) -> Picture:
    return np.full((like.shape[1] * scale, width, 3), PAPER, np.uint8)


def _enlarged(frame: Picture, scale: int) -> Picture:
    size = (frame.shape[1] * scale, frame.shape[0] * scale)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LANCZOS4), np.uint8)


def _write_headers(page: Image.Image, row: SheetRow, num_times: int, scale: int, left: int) -> None:
    draw = ImageDraw.Draw(page)
    for title, group in _groups(row, num_times).items():
        width = len(group) * group.shape[2] * scale + (len(group) - 1) * FRAME_GAP
        baseline = MARGIN + HEADER - 12
        draw.text((left + width / 2, baseline), title, INK, _fitting_font(title, width), anchor="ms")
        draw.line((left, baseline + 6, left + width - 1, baseline + 6), FAINT)
        left += width + GROUP_GAP


def _caption_bar(titles: Sequence[str], panel_width: int, total_width: int) -> Picture:
    bar = Image.new("RGB", (total_width, CAPTION), PAPER)
    for index, title in enumerate(titles):
        center = index * (panel_width + GROUP_GAP) + panel_width / 2
        ImageDraw.Draw(bar).text((center, 17), title, INK, _fitting_font(title, panel_width, 15), anchor="ms")
    return np.asarray(bar)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting_font(text: str, width: int, largest: int = 19) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The default font, smaller where the text would be wider than `width`."""
    needed = _font(largest).getbbox(text)[2]
    return _font(max(min(largest, largest * width / needed), 1))
