"""The prepared pools of an experiment: made once per data, cue and codec, and shared by every variant and seed."""

import functools
import multiprocessing
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from directanimator.atomic import atomic_write
from directanimator.cues.spec import CueSpec, PosePicture
from directanimator.data.folder_items import caption_of, check_splits, folder_item, videos_digest, videos_of_split
from directanimator.data.items import AnimationItem
from directanimator.data.pool import Rows, build_pool, cores, open_pool
from directanimator.data.pseudo_pairs import PAIRS_FILE, pairs_by_video, pairs_digest
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.synthetic import Split
from directanimator.data.synthetic.skeleton import Honesty
from directanimator.data.synthetic_items import subset_item, synthetic_item
from directanimator.digests import SHORT, known_digest
from directanimator.errors import UserError
from directanimator.extraction.store import Store, key_of
from directanimator.model.codec import VideoCodec
from directanimator.model.embedded import EMBEDDED_DIRECTORY, make_codec, make_text_encoder
from directanimator.model.precision import device_kind
from directanimator.model.published import TextEncoder, part_of
from directanimator.model.spec import OUR_BASES, ModelSpec
from directanimator.places import cues_root, mlruns_root
from directanimator.training.prepared import prepare
from directanimator.training.stages import no_text
from experiments.spec import ExperimentSpec, Stage, data_fingerprint

HELD_OUT_CLIPS = 8
"""Test clips whose loss is followed during training: a few, since it is their noise and timesteps that are fixed."""
POOL_VERSION = 5
"""Bump it when the same spec must give other arrays."""
VIDEOS_TAG, PAIRS_TAG = "videos", "pairs"
BASE_TAG = "base"
ORIGIN_TAGS = (VIDEOS_TAG, PAIRS_TAG, BASE_TAG)

SKELETONS: dict[PosePicture, Honesty | None] = {
    "gray": None,
    "rgb": None,
    "skeleton_exact": "exact",
    "skeleton_detected": "detected",
    "skeleton_unlabelled": "unlabelled",
}
"""How honest a skeleton each kind of pose cue needs."""


def item_maker(split: Split, spec: DataSpec, picture: PosePicture) -> Callable[[int], AnimationItem]:
    """The function from an index to the item of a split, with all that such a pose cue is made from.

    Drivers are degraded for training alone: whatever it was trained on, a model is tested on the same clips."""
    if spec.source == "folder":
        return functools.partial(folder_item, split, spec=spec)
    shown = spec if split == "train" else spec.undegraded
    return functools.partial(synthetic_item, split, spec=shown, skeletons=SKELETONS[picture])


def subset_item_maker(subset: Subset, spec: DataSpec, picture: PosePicture) -> Callable[[int], AnimationItem]:
    """The function from an index to the item of an evaluation subset of the synthetic test split, never degraded."""
    return functools.partial(subset_item, subset, spec=spec.undegraded, skeletons=SKELETONS[picture])


@functools.lru_cache(maxsize=1)
def _encoders_of_worker(model: ModelSpec) -> tuple[VideoCodec, TextEncoder | None]:
    torch.set_num_threads(max(1, cores() // (_num_workers(model) or cores())))  # workers share the cores
    device = _device_of_worker()
    return make_codec(model, device=device), make_text_encoder(model, device)


def _device_of_worker() -> str:
    """One GPU after another, where there are any."""
    number = re.split("[-:]", multiprocessing.current_process().name)[-1]  # the workers' names end in their number
    gpus = torch.cuda.device_count()
    return f"cuda:{int(number) % gpus}" if gpus and number.isdigit() else device_kind()


def _num_workers(model: ModelSpec) -> int | None:
    """A worker for every GPU that a published codec can run on, since a text encoder may fill it; else None, which is
    one for every core."""
    return None if model.codec == "embedded" else torch.cuda.device_count() or None


def _prepared(index: int, split: Split, spec: DataSpec, cues: CueSpec, model: ModelSpec) -> dict[str, np.ndarray]:
    codec, words = _encoders_of_worker(model)
    return prepare(item_maker(split, spec, cues.pose.picture)(index), codec, spec.size, cues, words)


def encoders_digest(model: ModelSpec) -> str:
    """12 hex digits that change with all that makes latents and text tokens: weights, settings and vocabulary."""
    parts = [EMBEDDED_DIRECTORY / "codec"] if model.codec == "embedded" else [part_of(model.base, "vae")]
    told = model.text_encoder != "none"
    if told:
        parts += [part_of(model.base, name) for name in ("text_encoder", "tokenizer")]
    return key_of({"files": _files(parts), "max_text_tokens": model.max_text_tokens if told else None})[:SHORT]


def _files(parts: Sequence[Path]) -> dict[str, str]:
    """The digests of all files of some parts of a model, by part and name."""
    files = {f"{part.name}/{path.name}": path for part in parts for path in part.iterdir() if path.is_file()}
    return {name: known_digest(path) for name, path in files.items()}


def text_tokens(model: ModelSpec, captions: Sequence[str]) -> Float[Tensor, "b m t"]:
    """The text tokens of captions, each made once and kept."""
    if model.text_encoder == "none":
        return no_text(model).expand(len(captions), -1, -1)
    made_by = encoders_digest(model)
    paths = {
        caption: mlruns_root() / "cache" / f"text-{key_of({'caption': caption, 'made_by': made_by})}.safetensors"
        for caption in captions
    }
    missing = {caption: path for caption, path in paths.items() if not path.exists()}
    words = make_text_encoder(model, device_kind()) if missing else None
    for caption, path in missing.items():
        tokens = cast(TextEncoder, words).encode([caption])
        atomic_write(path, functools.partial(save_file, {"text": tokens}))
    return torch.cat([load_file(paths[caption])["text"] for caption in captions])


def captions_of(spec: ExperimentSpec) -> list[str]:
    """What the evaluated clips may be told, each once; none for a model that is told no words."""
    if spec.data.folder is None or spec.model.text_encoder == "none":
        return []
    return sorted({caption_of(video) for video in videos_of_split(spec.data.folder, spec.evaluation.split)})


def pool_directory(spec: ExperimentSpec, split: Split) -> Path:
    """Where the pool of a split lies; another place whenever anything that shapes it changes.

    Raises: UserError if the folder's videos or pairs cannot be read or believed."""
    parts = [split, data_fingerprint(spec), encoders_digest(spec.model), str(POOL_VERSION)]
    if spec.data.folder is not None:
        parts += [videos_digest(spec.data.folder), pairs_digest(Path(spec.data.folder)) or "unpaired"]
    return mlruns_root() / "cache" / "-".join(parts)


def check_pairs(spec: ExperimentSpec) -> None:
    """Nothing, unless cross-ID pairs are wanted of a folder that holds none, or some that join two splits.

    Raises: UserError, which says how they are made."""
    folder = spec.data.folder
    if folder is None or spec.cross_id.same_id_share == 1:
        return
    if pairs_by_video(Path(folder)):
        check_splits(folder)
        return
    raise UserError(
        f"cross_id.same_id_share={spec.cross_id.same_id_share}: must be 1 with data.folder={folder}, which holds no "
        f"pairs in {PAIRS_FILE}; make them with: python -m directanimator.pseudo videos={folder} ..."
    )


def origin_tags(spec: ExperimentSpec, stage: Stage) -> dict[str, str]:
    """A run's tags that name the bytes of what the spec names by a path alone: the videos, the pairs where its stage
    draws from them, and the base that a person brought.

    Raises: UserError if any of it cannot be read or believed."""
    return _folder_tags(spec, stage) | _base_tags(spec.model)


def _folder_tags(spec: ExperimentSpec, stage: Stage) -> dict[str, str]:
    if spec.data.folder is None:
        return {}
    draws = stage == "cross_id" and spec.cross_id.same_id_share < 1
    pairs = pairs_digest(Path(spec.data.folder)) if draws else None
    return {VIDEOS_TAG: videos_digest(spec.data.folder)} | ({} if pairs is None else {PAIRS_TAG: pairs})


def _base_tags(model: ModelSpec) -> dict[str, str]:
    if model.base in OUR_BASES:
        return {}
    return {BASE_TAG: key_of({"files": _files([part_of(model.base, "transformer")])})[:SHORT]}


def held_out_pool(spec: ExperimentSpec) -> dict[str, Rows]:
    """The first test clips as they would be trained on, for the held-out loss; made on the first call."""
    return _pool(spec, "test", min(HELD_OUT_CLIPS, spec.data.num_test_clips), "preparing held-out clips")


def train_pool(spec: ExperimentSpec) -> dict[str, Rows]:
    """The training pool, made on the first call."""
    return _pool(spec, "train", spec.data.num_train_clips, "preparing training clips")


def _pool(spec: ExperimentSpec, split: Split, count: int, label: str) -> dict[str, Rows]:
    directory = pool_directory(spec, split)
    make = functools.partial(_prepared, split=split, spec=spec.data, cues=spec.cues, model=spec.model)
    folder = spec.data.folder
    videos = 1 if folder is None else len(videos_of_split(folder, split))  # which the items take in turns
    build_pool(directory, count, make, label, _num_workers(spec.model), stride=videos)
    if folder is not None:
        Store(cues_root()).evict()  # not before: the clips of a video are made from what was seen of it once
    return open_pool(directory)
