"""What the items of a split are made of, whatever a variant is trained on."""

import numpy as np
import pytest

from directanimator.data.items import AnimationItem
from directanimator.data.spec import DataSpec
from directanimator.data.synthetic import Split
from experiments.pools import item_maker

TRUE = DataSpec(size=32, latent_frames=1)
PSEUDO = TRUE.model_copy(update={"cue_quality": "pseudo", "cue_strength": 0.8})


def drivers(split: Split) -> tuple[AnimationItem, AnimationItem]:
    true, pseudo = (item_maker(split, spec, "gray")(2) for spec in (TRUE, PSEUDO))
    return true, pseudo


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_variant_is_tested_on_the_same_drivers(split: Split) -> None:
    true, pseudo = drivers(split)
    np.testing.assert_array_equal(true.driving, pseudo.driving)
    np.testing.assert_array_equal(true.driving_track.mask, pseudo.driving_track.mask)


def test_only_training_sees_degraded_drivers() -> None:
    true, pseudo = drivers("train")
    assert not np.array_equal(true.driving, pseudo.driving)
    np.testing.assert_array_equal(true.target, pseudo.target)
