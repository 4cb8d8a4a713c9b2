"""Where every random draw of the synthetic humans comes from: one stream per (version, domain, split, index)."""

from typing import Literal, get_args

import numpy as np

from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError, did_you_mean

Split = Literal["train", "val", "test", "test_ood"]
Domain = Literal["identity", "motion", "scene", "pair", "occluder", "candidate", "face", "detector", "degradation"]

NUM_IDENTITIES: dict[Split, int] = {"train": 512, "val": 32, "test": 64, "test_ood": 32}
NUM_MOTIONS: dict[Split, int] = {"train": 2**31, "val": 64, "test": 96, "test_ood": 64}

_SPLIT_CODES: dict[Split, int] = {"train": 0, "val": 1, "test": 2, "test_ood": 3}
_DOMAIN_CODES: dict[Domain, int] = {domain: code for code, domain in enumerate(get_args(Domain))}


def random_stream(domain: Domain, split: Split, index: int) -> np.random.Generator:
    """A generator seeded by (SYNTH_VERSION, domain, split, index); no two of these share a stream.

    Raises: UserError for an unknown split or a negative index."""
    if split not in _SPLIT_CODES:
        legal = get_args(Split)
        raise UserError(f"synthetic split {split!r}: legal are {', '.join(legal)}{did_you_mean(split, legal)}")
    if index < 0:
        raise UserError(f"synthetic {domain} index {index}: must be 0 or more")
    seed = np.random.SeedSequence([SYNTH_VERSION, _DOMAIN_CODES[domain], _SPLIT_CODES[split], index])
    return np.random.default_rng(seed)


def check_index(domain: Domain, split: Split, index: int, count: int) -> None:
    """Nothing, when index lies in [0, count).

    Raises: UserError otherwise."""
    if not 0 <= index < count:
        raise UserError(f"synthetic {domain} index {index} of split {split}: legal are 0 to {count - 1}")
