"""The prepared pools of an experiment: made once per data, cue and codec, and shared by every variant and seed."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from directanimator.cues.spec import CueSpec
from directanimator.data.folder_items import folder_item
from directanimator.data.items import AnimationItem
from directanimator.data.pool import build_pool, open_pool
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import SYNTH_VERSION, Split
from directanimator.data.synthetic_items import synthetic_item
from directanimator.model.codec import PatchCodec
from directanimator.model.embedded import EMBEDDED_DIRECTORY, load_codec
from directanimator.places import mlruns_root
from directanimator.training.prepared import prepare
from experiments.spec import ExperimentSpec, data_fingerprint

HELD_OUT_CLIPS = 8
"""Test clips whose loss is followed during training: a few, since it is their noise and timesteps that are fixed."""
POOL_VERSION = 3
"""Bump it when the same spec must give other arrays."""


def item_maker(split: Split, spec: DataSpec) -> Callable[[int], AnimationItem]:
    """The function from an index to the item of a split."""
    if spec.source == "folder":
        return functools.partial(folder_item, split, spec=spec)
    return functools.partial(synthetic_item, split, spec=spec)


@functools.cache
def _codec_of_worker() -> PatchCodec:
    torch.set_num_threads(1)  # there is a worker for every core
    return load_codec()


def _prepared(index: int, split: Split, spec: DataSpec, cues: CueSpec) -> dict[str, np.ndarray]:
    return prepare(item_maker(split, spec)(index), _codec_of_worker(), spec.size, cues)


def codec_digest() -> str:
    """12 hex digits that change with the codec's weights."""
    weights = EMBEDDED_DIRECTORY / "codec/diffusion_pytorch_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


def pool_directory(spec: ExperimentSpec, split: Split) -> Path:
    """Where the pool of a split lies; another place whenever anything that shapes it changes."""
    key = f"{split}-{data_fingerprint(spec)}-{codec_digest()}-{SYNTH_VERSION}.{POOL_VERSION}"
    return mlruns_root() / "cache" / key


def held_out_pool(spec: ExperimentSpec) -> dict[str, np.ndarray]:
    """The first test clips as they would be trained on, for the held-out loss; made on the first call."""
    directory = pool_directory(spec, "test")
    make = functools.partial(_prepared, split="test", spec=spec.data, cues=spec.cues)
    build_pool(directory, min(HELD_OUT_CLIPS, spec.data.num_test_clips), make, "preparing held-out clips")
    return open_pool(directory)


def train_pool(spec: ExperimentSpec) -> dict[str, np.ndarray]:
    """The training pool, made on the first call."""
    directory = pool_directory(spec, "train")
    make = functools.partial(_prepared, split="train", spec=spec.data, cues=spec.cues)
    build_pool(directory, spec.data.num_train_clips, make, "preparing training clips")
    return open_pool(directory)
