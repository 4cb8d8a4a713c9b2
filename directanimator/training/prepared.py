"""Items as the transformer trains on them: latents of the target and of every cue, made once and kept on disk.

One pool serves all ablations of the cues, since whether a cue is enabled is decided when a batch is put together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, UInt8

from directanimator.cues.alignment import align, identity_alignment
from directanimator.cues.spec import CueSpec
from directanimator.cues.triplet import DrivingCues, driving_cues
from directanimator.data.items import AnimationItem
from directanimator.data.pool import Rows
from directanimator.model.codec import GROUP, VideoCodec, to_video
from directanimator.model.cue_streams import MASK_CHANNELS, CueLatents
from directanimator.model.published import TextEncoder

PARTS = 2
"""Parts of a latent cell along each side, for the location masks."""


def grouped_any(present: Bool[np.ndarray, " f"]) -> Bool[np.ndarray, " lf"]:
    """Whether any frame of a latent frame is present: the first frame alone, then groups of four."""
    return np.concatenate([present[:1], present[1:].reshape(-1, GROUP).any(axis=1)])


def grid_mask(mask: UInt8[np.ndarray, "f h w"], cell: int) -> Float[np.ndarray, "lf m lh lw"]:
    """A mask on a latent grid of `cell` pixels, in [0, 1]: each of a latent's frames, averaged over parts of a cell.

    The first latent frame repeats the first frame, as the codec does.
    Deviation: the mask's channels are not stated; one average over a cell is coarser than the softening at 64 pixels,
    and leaves no way to tell where a person stands to a pixel."""
    part = cell // PARTS
    padded = np.concatenate([np.repeat(mask[:1], GROUP - 1, axis=0), mask])
    f, h, w = padded.shape
    parts = padded.reshape(f // GROUP, GROUP, h // cell, PARTS, part, w // cell, PARTS, part)
    means = parts.mean(axis=(4, 7), dtype=np.float32) / 255
    return means.transpose(0, 1, 3, 5, 2, 4).reshape(f // GROUP, MASK_CHANNELS, h // cell, w // cell)


@dataclass(frozen=True, eq=False)
class CueArrays:
    """Driving cues of one clip on the latent grid, as they lie on disk; the fields of `CueLatents` without a batch."""

    pose: Float16[np.ndarray, "lf c lh lw"]
    face: Float16[np.ndarray, "lf c lh lw"]
    masks: Float16[np.ndarray, "lf 2 m lh lw"]
    """Body, then face."""
    present: Bool[np.ndarray, "lf 2"]
    """Pose cue, then face cue."""


@torch.no_grad()
def encode_frames(frames: UInt8[np.ndarray, "f h w 3"], codec: VideoCodec) -> Float16[np.ndarray, "lf c lh lw"]:
    """Latents of one clip."""
    return codec.encode(to_video(frames))[0].half().numpy()


def encode_cues(cues: DrivingCues, codec: VideoCodec) -> CueArrays:
    """The cues' latents, zero where a cue is absent, and their masks on the latent grid."""
    present = np.stack([grouped_any(cues.pose_present), grouped_any(cues.face_present)], axis=1)
    pose, face = encode_frames(cues.pose_in_color, codec), encode_frames(cues.face_cue, codec)
    masks = [grid_mask(mask, codec.cell) for mask in (cues.body_location, cues.face_location)]
    return CueArrays(
        pose=pose * present[:, 0, None, None, None],
        face=face * present[:, 1, None, None, None],
        masks=np.stack(masks, axis=1).astype(np.float16),
        present=present,
    )


def item_cues(item: AnimationItem, size: int, spec: CueSpec) -> tuple[DrivingCues, DrivingCues]:
    """Cues of the same-ID setting (the target drives itself, nothing to align) and of the cross-ID setting."""
    straight, trust = identity_alignment(), item.trust
    own = driving_cues(item.own_frames, item.own_track, straight, size, spec, item.own_skeleton, trust)
    alignment = align(item.survey_track, item.reference_track, spec.location.align_by)
    return own, driving_cues(item.driving, item.driving_track, alignment, size, spec, item.driving_skeleton, trust)


@torch.no_grad()
def encode_reference(image: UInt8[np.ndarray, "1 h w 3"], codec: VideoCodec) -> Float16[np.ndarray, "1 c lh lw"]:
    """Latents of a reference image, as the transformer reads them."""
    return codec.encode_reference(to_video(image))[0].half().numpy()


def prepare(
    item: AnimationItem, codec: VideoCodec, size: int, spec: CueSpec, words: TextEncoder | None = None
) -> dict[str, np.ndarray]:
    """The arrays of one item: latents, reference, the cues of both settings, and with `words` the caption's tokens."""
    arrays = {"latents": encode_frames(item.target, codec), "reference": encode_reference(item.reference, codec)}
    if words is not None:
        arrays["text"] = words.encode([item.caption])[0].half().numpy()
    for setting, cues in zip(("own", "cross"), item_cues(item, size, spec), strict=True):
        encoded = encode_cues(cues, codec)
        arrays |= {f"{setting}_{name}": value for name, value in vars(encoded).items()}
    return arrays


def cue_arrays(pool: Mapping[str, Rows], index: int, setting: str) -> CueArrays:
    """The cues of item `index` of a pool, in the setting `own` or `cross`."""
    return CueArrays(**{name: pool[f"{setting}_{name}"][index] for name in ("pose", "face", "masks", "present")})


def without_disabled(cues: CueArrays, spec: CueSpec) -> CueArrays:
    """The cues with every disabled one replaced by its null."""

    def kept(array: np.ndarray, enabled: bool) -> np.ndarray:
        return array if enabled else np.zeros_like(array)

    return CueArrays(
        pose=kept(cues.pose, spec.pose.enabled),
        face=kept(cues.face, spec.face.enabled),
        masks=kept(cues.masks, spec.location.enabled),
        present=cues.present & np.array([spec.pose.enabled, spec.face.enabled]),
    )


def null_arrays(like: CueArrays) -> CueArrays:
    """Cues that tell nothing."""
    return CueArrays(*(np.zeros_like(value) for value in vars(like).values()))


def cue_latents(cues: list[CueArrays]) -> CueLatents:
    """A batch of cues for the transformer."""
    stacked = {name: torch.from_numpy(np.stack([getattr(c, name) for c in cues])) for name in vars(cues[0])}
    masks, present = stacked["masks"].float(), stacked["present"]
    masked = masks.flatten(3).amax(dim=3) > 0
    return CueLatents(
        pose=stacked["pose"].float(),
        face=stacked["face"].float(),
        body_mask=masks[:, :, 0],
        face_mask=masks[:, :, 1],
        pose_present=present[:, :, 0] | masked[:, :, 0],
        face_present=present[:, :, 1] | masked[:, :, 1],
    )
