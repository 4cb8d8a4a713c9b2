"""`python -m directanimator.cue_accuracy [clips=16] [pairs=64] [people=64]`: how near cues of synthetic people come to
the truth.

Masks: rendered clips are exported as video with their truth beside it, read back and looked at by the nets; the mean
intersection over union with the true mask. Alignment: of test pairs, the driver's true mask laid over the reference,
beside the true mask of the reference's person doing the same; and the same without alignment. Faces: of test people
to the hips, from the front and from behind, in how many pictures the detector finds a face."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from directanimator.command import run_command
from directanimator.cues.alignment import Alignment, align, identity_alignment, warped
from directanimator.cues.gate import FOREGROUND
from directanimator.cues.spec import AlignBy
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import (
    DURATION,
    NUM_IDENTITIES,
    NUM_MOTIONS,
    RenderedClip,
    View,
    identity_at,
    motion_at,
    pair_at,
    render_clip,
    scene_at,
)
from directanimator.data.synthetic.motion import facing
from directanimator.data.synthetic_items import synthetic_item, track_of
from directanimator.extraction.truth import read_truth, write_truth
from directanimator.metrics.mask import mask_iou
from directanimator.perception.mediapipe import MediapipeFaces, MediapipePerception
from directanimator.perception.person import PersonPerception
from directanimator.video import read_video, write_video
from directanimator.words import read_words, whole

CLIP_FRAMES, CLIP_FPS, CLIP_SIDE = 16, 8.0, 512
VIEWS: tuple[View, ...] = ("full", "half", "bust")
PORTRAIT_SIDE, TAKES = 256, 4
_MOST_TURN = 0.3
"""Radians by which a portrait may be turned from its heading."""


def export_clip(index: int, view: View, video: Path) -> None:
    """Nothing; `video` shows the person of a test pair in a view, and its truth lies beside it."""
    pair = pair_at("test", index, CLIP_FRAMES, CLIP_FPS)
    clip = render_clip(pair.identity, pair.motion, pair.scene, pair.times, CLIP_SIDE, view, supersample=2)
    write_video(video, clip.frames, CLIP_FPS)
    write_truth(video, track_of(clip))


def mask_overlaps(video: Path, perception: PersonPerception) -> list[float]:
    """Of each frame of an exported clip in which the person is in view, the overlap of the found and the true mask."""
    found, truth = perception.track(read_video(video).frames).mask, read_truth(video).mask
    pairs = zip(found, truth >= FOREGROUND, strict=True)
    return [mask_iou(one[None], other[None]) for one, other in pairs if other.any()]


def alignment_overlaps(index: int, by: AlignBy | None) -> float:
    """Mean over the frames of a test pair: the driver's mask, aligned, on the true target mask; None: not aligned."""
    item = synthetic_item("test", index, DataSpec())
    alignment = identity_alignment() if by is None else align(item.survey_track, item.reference_track, by)
    return float(
        np.mean(_laid(item.driving_track.resized(item.target_track.size).mask, alignment, item.target_track.mask))
    )


def _laid(
    driving: UInt8[np.ndarray, "f h w"], alignment: Alignment, target: UInt8[np.ndarray, "f h w"]
) -> Float64[np.ndarray, " f"]:
    laid = [warped(mask, alignment) for mask in driving]
    return np.array([mask_iou(one[None], other[None]) for one, other in zip(laid, target, strict=True)])


def portrait(index: int, take: int, heading: float) -> RenderedClip:
    """One frame of a test person to the hips, somewhere in a motion, turned by at most 17 degrees from a heading in
    radians; another one for every take."""
    rng = np.random.default_rng([index, take])
    motion = facing(
        motion_at("test", int(rng.integers(NUM_MOTIONS["test"]))), heading + rng.uniform(-_MOST_TURN, _MOST_TURN)
    )
    time = np.array([rng.uniform(0, DURATION)])
    return render_clip(identity_at("test", index), motion, scene_at("test", index), time, PORTRAIT_SIDE, "half")


def _lines(num_clips: int, num_pairs: int, num_people: int) -> Iterator[str]:
    perception = MediapipePerception()
    with tempfile.TemporaryDirectory() as folder:
        for view in VIEWS:
            overlaps: list[float] = []
            for index in range(num_clips):
                video = Path(folder) / f"{view}{index}.mp4"
                export_clip(index, view, video)
                overlaps += mask_overlaps(video, perception)
            missed = np.mean(np.array(overlaps) == 0)
            mean, median = np.mean(overlaps), np.median(overlaps)
            yield f"mask IoU, {view:4}  mean {mean:.3f}  median {median:.3f}  nobody found in {missed:.1%}"
    ways: tuple[AlignBy | None, ...] = (None, "landmarks", "masks")
    for by in ways:
        mean = np.mean([alignment_overlaps(index, by) for index in range(num_pairs)])
        yield f"alignment IoU, {by or 'none':9}  mean {mean:.3f} over {num_pairs} pairs"
    faces = MediapipeFaces()
    for name, heading in (("front", 0.0), ("back", np.pi)):
        portraits = [portrait(index, take, heading) for index in range(num_people) for take in range(TAKES)]
        found = sum(faces.face(clip.frames[0], None, None) is not None for clip in portraits)
        yield f"face found, {name:5}  {found} of {len(portraits)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 after one line on stderr."""
    return run_command(_command, arguments)


def _command(tokens: list[str]) -> int:
    if "--help" in tokens:
        print(__doc__)
        return 0
    words = read_words(tokens, ("clips", "pairs", "people"))
    counts = whole(words, "clips", 16, 1, 10_000), whole(words, "pairs", 64, 1, 10_000)
    for line in _lines(*counts, whole(words, "people", 64, 1, NUM_IDENTITIES["test"])):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
