"""Synthetic humans as files, in the layout that folders of real videos are read from, with the truth beside them.

    DIR/NAME.mp4            the driver; what `data.source=folder data.folder=DIR` reads
    DIR/targets/NAME.mp4    the person of the reference, doing the same
    DIR/references/NAME.png that person at another moment
    DIR/truth/NAME.npz      mask, boxes, points and weights of the driver
    DIR/export.json         what was asked for

DIR appears when all of it is there. Until then the work lies in a hidden folder beside it, and the same command goes on
with it."""

import dataclasses
import io
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from directanimator.atomic import atomic_write, explained, write_json
from directanimator.data.spec import Subset
from directanimator.data.synthetic.clip import RenderedClip, render_clip
from directanimator.data.synthetic.ground_truth import GroundTruth
from directanimator.data.synthetic.pair import SyntheticPair, pair_at
from directanimator.data.synthetic.scene import View
from directanimator.data.synthetic.splits import Split
from directanimator.data.synthetic.subsets import SUBSET_CLIPS, check_subset, subset_pair
from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError
from directanimator.progress import progress
from directanimator.video import png_of, write_video

REQUEST_FILE = "export.json"


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """Which clips to write, and how."""

    split: Split = "test"
    subset: Subset | None = None
    """A subset of the test split; None for the pairs of the split in order."""
    clips: int = 8
    frames: int = 33
    fps: float = 8.0
    size: int = 256
    view: View | None = None
    """None for the view that each pair has."""

    def pair(self, index: int) -> SyntheticPair:
        """The pair of a clip.

        Raises: UserError for an unknown split or subset, or a window that leaves no room for a reference."""
        if self.subset is None:
            pair = pair_at(self.split, index, self.frames, self.fps)
        else:
            pair = subset_pair(self.subset, index, self.frames, self.fps)
        return pair if self.view is None else dataclasses.replace(pair, view=self.view)

    def name(self, index: int) -> str:
        """The file name of a clip, without suffix."""
        return f"{self.subset or self.split}_{index:05}"

    def check(self) -> None:
        """Nothing, when all can be written.

        Raises: UserError otherwise."""
        if self.subset is not None:
            check_subset(self.subset)
            if self.split != "test":
                raise UserError(f"split={self.split} subset={self.subset}: subsets are of split=test")
            if self.clips > SUBSET_CLIPS:
                raise UserError(f"clips={self.clips}: subset {self.subset} has {SUBSET_CLIPS}")
        if self.size % 2:
            raise UserError(f"size={self.size}: must be even, as H.264 wants")
        self.pair(0)


def _truth_arrays(clip: RenderedClip, truth: GroundTruth) -> dict[str, np.ndarray]:
    arrays = {
        "mask": clip.mask,
        "face_box": clip.face_box,
        "person_box": truth.person_box,
        "background": clip.background,
    }
    for name in ("coco", "openpose", "landmarks"):
        points = getattr(truth, name)
        arrays |= {f"{name}_xy": points.xy, f"{name}_position": points.position, f"{name}_visible": points.visible}
    weights = {"expression": truth.expression, "accent": truth.accent, "gaze": truth.gaze}
    return arrays | weights | {"facing": truth.facing, "head_yaw": truth.head_yaw, "occluder": truth.occluder}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # the stub takes any mapping for a flag
    return content.getvalue()


def _driver(pair: SyntheticPair, size: int) -> tuple[RenderedClip, GroundTruth]:
    clip = render_clip(
        pair.driver,
        pair.motion,
        pair.driver_scene,
        pair.times,
        size,
        pair.view,
        layers=(),
        occluders=pair.driver_occluders,
        projection=pair.projection,
    )
    if clip.truth is None:
        raise AssertionError("rendered with layers, a clip has its truth")
    return clip, clip.truth


def write_clip(request: ExportRequest, folder: Path, index: int) -> None:
    """Nothing; afterwards all files of a clip are in the folder, the truth last.

    Raises: UserError in one line if the disk is full or the folder cannot be written."""
    pair, name = request.pair(index), request.name(index)
    driver, truth = _driver(pair, request.size)
    times = np.concatenate([pair.times, [pair.reference_time]])
    own = render_clip(
        pair.identity,
        pair.motion,
        pair.scene,
        times,
        request.size,
        pair.view,
        occluders=pair.occluders,
        projection=pair.projection,
    ).frames
    with explained(folder):
        write_video(folder / f"{name}.mp4", driver.frames, request.fps)
        write_video(folder / "targets" / f"{name}.mp4", own[:-1], request.fps)
    atomic_write(folder / "references" / f"{name}.png", png_of(own[-1]))
    atomic_write(folder / "truth" / f"{name}.npz", _npz(_truth_arrays(driver, truth)))


def _begun(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.export")


def _open_draft(draft: Path, folder: Path, request: ExportRequest) -> None:
    """Make the hidden folder, or check that it was begun by the same request."""
    asked = dataclasses.asdict(request) | {"version": SYNTH_VERSION}
    begun = draft / REQUEST_FILE
    if begun.is_file():
        before = json.loads(begun.read_text())
        other = [f"{key}={before.get(key)}" for key, value in asked.items() if before.get(key) != value]
        if other:
            raise UserError(
                f"{folder} was begun with {', '.join(other)}: give the same to go on, another folder, or remove {draft}"
            )
    with explained(folder):
        for part in ("targets", "references", "truth"):
            (draft / part).mkdir(parents=True, exist_ok=True)
    write_json(begun, asked)


def _workers(wanted: int | None) -> int:
    return wanted or max(1, len(os.sched_getaffinity(0)))


def export(request: ExportRequest, folder: Path, workers: int | None = None) -> int:
    """The number of clips written by this call; afterwards `folder` holds all of the request.

    What an earlier call of the same request wrote is kept. `workers` processes write, by default one per core.

    Raises: UserError if the folder exists, was begun by another request, cannot be written, or a worker dies."""
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} exists: an export goes into a new folder")
    request.check()
    draft = _begun(folder)
    _open_draft(draft, folder, request)
    left = [i for i in range(request.clips) if not (draft / "truth" / f"{request.name(i)}.npz").is_file()]
    _write_all(request, draft, left, _workers(workers))
    for leftover in list(draft.rglob(".*.tmp-*")):
        shutil.rmtree(leftover)  # of a writer killed between its file and its end
    with explained(folder):
        os.rename(draft, folder)
    return len(left)


def _write_all(request: ExportRequest, draft: Path, left: list[int], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(1, len(left))), mp_context=context) as executor:
        futures = [executor.submit(write_clip, request, draft, index) for index in left]
        try:
            for future in progress(futures, "exporting clips", total=request.clips, done=request.clips - len(left)):
                future.result()
        except BrokenProcessPool as problem:
            raise UserError("a worker was killed; give the same command again to go on") from problem
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)  # or the error would be told after all the rest
            raise
