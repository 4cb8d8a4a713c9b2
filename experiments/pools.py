"""The prepared pools of an experiment: made once per data, cue and codec, and shared by every variant and seed."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from directanimator.atomic import atomic_write
from directanimator.cues.spec import CueSpec, PosePicture
from directanimator.data.folder_items import folder_item
from directanimator.data.items import AnimationItem
from directanimator.data.pool import Rows, build_pool, open_pool
from directanimator.data.pseudo_pairs import PAIRS_FILE, pairs_by_video, pairs_digest
from directanimator.data.spec import DataSpec, Subset
from directanimator.data.synthetic import Split
from directanimator.data.synthetic.skeleton import Honesty
from directanimator.data.synthetic_items import subset_item, synthetic_item
from directanimator.errors import UserError
from directanimator.extraction.store import Store
from directanimator.model.codec import VideoCodec
from directanimator.model.embedded import EMBEDDED_DIRECTORY, make_codec
from directanimator.model.published import TextEncoder, load_text_encoder, part_of
from directanimator.model.spec import ModelSpec
from directanimator.places import cues_root, mlruns_root
from directanimator.training.prepared import prepare
from directanimator.training.stages import no_text
from experiments.spec import ExperimentSpec, data_fingerprint

HELD_OUT_CLIPS = 8
"""Test clips whose loss is followed during training: a few, since it is their noise and timesteps that are fixed."""
POOL_VERSION = 4
"""Bump it when the same spec must give other arrays."""
PAIRS_TAG = "pairs"

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
    torch.set_num_threads(1)  # there is a worker for every core
    return make_codec(model), make_text_encoder(model)


def make_text_encoder(model: ModelSpec) -> TextEncoder | None:
    """What turns captions into text tokens; None for a model that is told no words."""
    if model.text_encoder == "none":
        return None
    return load_text_encoder(model.base, model.text_encoder, model.text_embed_dim, model.max_text_tokens)


def _prepared(index: int, split: Split, spec: DataSpec, cues: CueSpec, model: ModelSpec) -> dict[str, np.ndarray]:
    codec, words = _encoders_of_worker(model)
    return prepare(item_maker(split, spec, cues.pose.picture)(index), codec, spec.size, cues, words)


def codec_digest(model: ModelSpec) -> str:
    """12 hex digits that change with the weights that make latents and text tokens."""
    if model.codec == "embedded":
        files = [EMBEDDED_DIRECTORY / "codec/diffusion_pytorch_model.safetensors"]
    else:
        files = sorted(part_of(model.base, "vae").glob("*.safetensors"))
    if model.text_encoder != "none":
        files += [*sorted(part_of(model.base, "text_encoder").glob("*.safetensors"))]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while part := file.read(1 << 24):
                digest.update(part)
    return digest.hexdigest()[:12]


def empty_text(model: ModelSpec) -> Float[Tensor, "1 m t"]:
    """The text tokens of an empty caption, made once and kept."""
    if model.text_encoder == "none":
        return no_text(model)
    path = mlruns_root() / "cache" / f"empty_text-{codec_digest(model)}-{model.max_text_tokens}.safetensors"
    if not path.exists():
        words = make_text_encoder(model)
        assert words is not None
        tokens = words.encode([""])
        atomic_write(path, lambda draft: save_file({"text": tokens}, draft))
    return load_file(path)["text"]


def pool_directory(spec: ExperimentSpec, split: Split) -> Path:
    """Where the pool of a split lies; another place whenever anything that shapes it changes.

    Raises: UserError if the folder's pairs cannot be believed."""
    key = f"{split}-{data_fingerprint(spec)}-{codec_digest(spec.model)}-{POOL_VERSION}"
    pairs = pairs_digest(Path(spec.data.folder)) if spec.data.folder else None
    return mlruns_root() / "cache" / (key if pairs is None else f"{key}-{pairs}")


def check_pairs(spec: ExperimentSpec) -> None:
    """Nothing, unless cross-ID pairs are wanted of a folder that holds none.

    Raises: UserError, which says how they are made."""
    folder = spec.data.folder
    if folder is None or spec.cross_id.same_id_share == 1 or pairs_by_video(Path(folder)):
        return
    raise UserError(
        f"cross_id.same_id_share={spec.cross_id.same_id_share}: must be 1 with data.folder={folder}, which holds no "
        f"pairs in {PAIRS_FILE}; make them with: python -m directanimator.pseudo videos={folder} ..."
    )


def pairs_tag(spec: ExperimentSpec) -> dict[str, str]:
    """A run's tag that names the pairs its cross-ID stage draws from; none where it draws none."""
    folder = spec.data.folder
    digest = pairs_digest(Path(folder)) if folder is not None and spec.cross_id.same_id_share < 1 else None
    return {} if digest is None else {PAIRS_TAG: digest}


def held_out_pool(spec: ExperimentSpec) -> dict[str, Rows]:
    """The first test clips as they would be trained on, for the held-out loss; made on the first call."""
    return _pool(spec, "test", min(HELD_OUT_CLIPS, spec.data.num_test_clips), "preparing held-out clips")


def train_pool(spec: ExperimentSpec) -> dict[str, Rows]:
    """The training pool, made on the first call."""
    return _pool(spec, "train", spec.data.num_train_clips, "preparing training clips")


def _pool(spec: ExperimentSpec, split: Split, count: int, label: str) -> dict[str, Rows]:
    directory = pool_directory(spec, split)
    make = functools.partial(_prepared, split=split, spec=spec.data, cues=spec.cues, model=spec.model)
    build_pool(directory, count, make, label)
    if spec.data.source == "folder":
        Store(cues_root()).evict()  # not before: the clips of a video are made from what was seen of it once
    return open_pool(directory)
