"""Person masks through the promptable segmenters of the literature, from a local directory of weights.

MediaPipe's body nets find and follow the person, whose box is the prompt; `grounded_sam` finds the box by text, as the
paper does. Nothing is ever downloaded."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from safetensors import SafetensorError

from directanimator.errors import UserError
from directanimator.perception.person import PersonWatch, Seen, Sighting
from directanimator.perception.region import Patch
from directanimator.weight_files import reason, stored_tensors

STORED_SIDE = 512
"""Longest side at which a mask of a whole frame is kept."""
SESSION_FRAMES = 64
"""Frames after which a video session is begun anew with a fresh prompt: its memory grows with every frame."""
TEXT = "person."
"""What grounded_sam is asked for."""
BOX_THRESHOLD = 0.3
"""Least confidence of a box that was found by text."""
_GRID = 64
"""Tokens along each side of SAM's picture."""

BoxPixels = Float32[np.ndarray, " 4"]


MaskOf = Callable[[UInt8[np.ndarray, "h w 3"], BoxPixels], Bool[np.ndarray, "h w"]]
"""The person of a box in the next frame of a clip."""


@runtime_checkable
class Segmenter(Protocol):
    """Masks of a prompted person."""

    def begin(self) -> MaskOf:
        """What is asked for the masks of one clip, frame by frame."""
        ...


class SegmentedPerception:
    """Follows a person as another watch does, with the masks of a segmenter."""

    def __init__(self, guide: PersonWatch, segmenter: Segmenter) -> None:
        self._guide = guide
        self._segmenter = segmenter

    def watch(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        """Every frame with the guide's person; where the guide sees nobody, nobody is segmented."""
        mask_of, last = self._segmenter.begin(), None
        for seen in self._guide.watch(frames):
            if last is None or seen.frame is not last.frame:
                last = Seen(seen.frame, self._segmented(seen, mask_of))
            yield last

    def _segmented(self, seen: Seen, mask_of: MaskOf) -> Sighting:
        guide = seen.sighting
        box = None if guide.mask is None else box_of(guide.mask, seen.frame.shape[0], seen.frame.shape[1])
        if box is None:
            return Sighting(None)
        return Sighting(patch_of(mask_of(seen.frame, box)), guide.face_box, guide.score, guide.landmarks)


def box_of(mask: Patch, height: int, width: int) -> BoxPixels | None:
    """The box around what a mask shows inside the frame; None if it shows nothing."""
    rows, columns = np.nonzero(mask.levels >= 128)
    if not len(rows):
        return None
    places = np.stack([columns, rows, np.ones(len(rows))]).astype(np.float64)
    x, y = mask.to_frame @ places
    edges = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    box = np.clip(edges, 0, [width, height, width, height]).astype(np.float32)
    return box if box[0] < box[2] and box[1] < box[3] else None


def patch_of(mask: Bool[np.ndarray, "h w"]) -> Patch:
    """The mask of a whole frame, no larger than `STORED_SIDE`."""
    height, width = mask.shape
    share = min(1.0, STORED_SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    levels = cv2.resize(mask.view(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    return Patch.of_frame(np.asarray(levels, np.uint8), height, width)


def weights_directory(backend: str, directory: Path, needed: tuple[str, ...], page: str) -> Path:
    """The directory, if it holds the needed files (glob patterns).

    Raises: UserError that names the file, where it was looked for, and what gives it."""
    for pattern in needed:
        if not list(directory.glob(pattern)):
            raise UserError(f"{backend}: no {pattern} in {directory}; get it from {page}")
    return directory


class Sam2Segmenter:
    """SAM 2's video predictor of transformers: a box begins a session, which follows the person from there.

    Raises: UserError (on construction) if the directory lacks a file or holds another model."""

    PAGE = "https://huggingface.co/facebook/sam2.1-hiera-large"

    def __init__(self, directory: Path) -> None:
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        needed = ("config.json", "*.safetensors", "*processor_config.json")
        place = weights_directory("perception.masks=sam2", directory, needed, self.PAGE)
        self._model: Any = _loaded(Sam2VideoModel, place).eval()
        self._processor: Any = _loaded(Sam2VideoProcessor, place)

    def begin(self) -> MaskOf:
        """A new session."""
        return _Sam2Session(self._model, self._processor).mask


class _Sam2Session:
    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        self._session: Any = None
        self._frames = 0

    def mask(self, frame: UInt8[np.ndarray, "h w 3"], box: BoxPixels) -> Bool[np.ndarray, "h w"]:
        """The person of the box in the next frame of the clip."""
        import torch

        inputs = self._processor(images=frame, return_tensors="pt")
        if self._session is None or self._frames == SESSION_FRAMES:
            self._session, self._frames = self._processor.init_video_session(), 0
            self._processor.add_inputs_to_inference_session(
                inference_session=self._session,
                frame_idx=0,
                obj_ids=1,
                input_boxes=[[box.tolist()]],
                original_size=inputs.original_sizes[0],
            )
        self._frames += 1
        with torch.no_grad():
            found = self._model(inference_session=self._session, frame=inputs.pixel_values[0])
        masks = self._processor.post_process_masks([found.pred_masks], original_sizes=inputs.original_sizes)
        return np.asarray(masks[0][0, 0].numpy(), np.bool_)


class GroundedSamSegmenter:
    """The paper's: Grounding DINO finds people by text, SAM segments the one that the guide follows.

    Source: Beyond Skeletons, Driving Cue Triplet (Grounded SAM).
    Raises: UserError (on construction) if one of `grounding_dino/` and `sam/` lacks a file or holds another model."""

    PAGE = "https://huggingface.co/IDEA-Research/grounding-dino-base and https://huggingface.co/facebook/sam-vit-huge"

    def __init__(self, directory: Path) -> None:
        from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor, SamModel, SamProcessor

        files = ("config.json", "*.safetensors", "*processor_config.json")
        needed = tuple(f"{part}/{file}" for part in ("grounding_dino", "sam") for file in files)
        place = weights_directory("perception.masks=grounded_sam", directory, needed, self.PAGE)
        self._finder: Any = _loaded(GroundingDinoForObjectDetection, place / "grounding_dino").eval()
        self._finder_processor: Any = _loaded(GroundingDinoProcessor, place / "grounding_dino")
        self._sam: Any = _loaded(SamModel, place / "sam").eval()
        self._sam_processor: Any = _loaded(SamProcessor, place / "sam")

    def begin(self) -> MaskOf:
        """Every frame by itself."""
        return self.mask

    def mask(self, frame: UInt8[np.ndarray, "h w 3"], box: BoxPixels) -> Bool[np.ndarray, "h w"]:
        """The person whose box, found by text, overlaps the guide's most; the guide's box if none does."""
        import torch

        with torch.no_grad():
            prompt = nearest_box(self._boxes(frame), box)
            inputs = self._sam_processor(images=frame, input_boxes=[[prompt.tolist()]], return_tensors="pt")
            found = self._sam(**inputs, multimask_output=False)
        masks = self._sam_processor.image_processor.post_process_masks(
            found.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        return np.asarray(masks[0][0, 0].numpy(), np.bool_)

    def _boxes(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "n 4"]:
        inputs = self._finder_processor(images=frame, text=TEXT, return_tensors="pt")
        found = self._finder_processor.post_process_grounded_object_detection(
            self._finder(**inputs), inputs["input_ids"], threshold=BOX_THRESHOLD, target_sizes=[frame.shape[:2]]
        )
        return np.asarray(found[0]["boxes"].numpy(), np.float32).reshape(-1, 4)


class SegmentAnythingSegmenter:
    """SAM through its original package; one .pth of any of its sizes.

    Raises: UserError (on construction) if there is no such file, it is no SAM, or the package is not installed."""

    PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"

    def __init__(self, directory: Path) -> None:
        place = weights_directory("perception.masks=segment_anything", directory, ("*.pth",), self.PAGE)
        try:
            from segment_anything import SamPredictor
        except ImportError as error:
            raise UserError("perception.masks=segment_anything: needs pip install segment-anything") from error
        self._predictor: Any = SamPredictor(_original_sam(sorted(place.glob("*.pth"))[0]))

    def begin(self) -> MaskOf:
        """Every frame by itself."""
        return self.mask

    def mask(self, frame: UInt8[np.ndarray, "h w 3"], box: BoxPixels) -> Bool[np.ndarray, "h w"]:
        """The person of the box."""
        self._predictor.set_image(frame)
        masks, _, _ = self._predictor.predict(box=box, multimask_output=False)
        return np.asarray(masks[0], np.bool_)


def _original_sam(path: Path) -> Any:
    """SAM with the file's weights; its sizes are read from their shapes, so any of its variants is taken."""
    from segment_anything.build_sam import _build_sam

    weights = stored_tensors(path)
    try:
        width = weights["image_encoder.pos_embed"].shape[-1]
        spans = {int(name.split(".")[2]): value for name, value in weights.items() if name.endswith("attn.rel_pos_h")}
        whole = [block for block, span in spans.items() if len(span) == 2 * _GRID - 1]
        sam = _build_sam(width, len(spans), width // spans[0].shape[-1], whole)
        sam.load_state_dict(weights)
    except (RuntimeError, KeyError, ValueError) as problem:
        raise UserError(f"{path}: not a SAM checkpoint: {reason(problem)}") from problem
    return sam.eval()


def nearest_box(found: Float32[np.ndarray, "n 4"], guide: BoxPixels) -> BoxPixels:
    """Of the found boxes the one that overlaps the guide's most; the guide's if none overlaps it."""
    sides = np.minimum(found[:, 2:], guide[2:]) - np.maximum(found[:, :2], guide[:2])
    shared = sides.clip(0).prod(axis=1)
    areas = (found[:, 2:] - found[:, :2]).clip(0).prod(axis=1)
    union = areas + (guide[2:] - guide[:2]).prod() - shared
    overlap = shared / np.maximum(union, 1e-6)
    return guide if not len(found) or overlap.max() <= 0 else np.asarray(found[int(overlap.argmax())], np.float32)


def _loaded(kind: Any, directory: Path) -> Any:
    """The model or processor of a local directory.

    Raises: UserError if it is another one."""
    try:
        return kind.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{directory}: not what {kind.__name__} reads: {reason}") from error
