"""Our own model as the maker of pseudo clips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from directanimator.animator import DirectAnimatorPipeline
from directanimator.model.codec import PatchCodec
from directanimator.pseudo.drivers import Beat, FailedDriverError, take
from directanimator.pseudo.own import OWN_SIDE, OwnDriver
from directanimator.video import read_video, write_video
from tests.directanimator.test_animate import CHANNELS, MODEL, BrightPerson, walker, write_checkpoint

FRAMES = 7


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DirectAnimatorPipeline]:
    torch.manual_seed(0)
    codec = PatchCodec(latent_channels=CHANNELS, width=8, num_blocks=2).fit(torch.randn(64, 4 * 3 * 64))
    directory = write_checkpoint(tmp_path_factory.mktemp("run"), MODEL)
    return directory, DirectAnimatorPipeline.from_pretrained(directory, codec.eval().requires_grad_(False))


def test_its_clips_have_their_driver_s_beat_and_refusals_are_failures_of_one_clip(
    tmp_path: Path, pipeline: tuple[Path, DirectAnimatorPipeline]
) -> None:
    directory, model = pipeline
    reference, driving, made = tmp_path / "a.png", tmp_path / "b.mp4", tmp_path / "made.mp4"
    Image.fromarray(walker(1)[0]).save(reference)
    write_video(driving, walker(FRAMES), 15.0)
    driver = OwnDriver(model, directory, BrightPerson(), seed=1)
    driver.generate(reference, driving, made)
    take(made, tmp_path / "taken.mp4", Beat.of(driving))
    taken = read_video(tmp_path / "taken.mp4")
    assert taken.frames.shape == (FRAMES, OWN_SIDE, OWN_SIDE, 3)
    assert taken.fps == 15.0
    assert np.ptp(taken.frames) > 0
    for perception in (BrightPerson(sees_person=False), BrightPerson(num_people=2)):
        with pytest.raises(FailedDriverError) as caught:
            OwnDriver(model, directory, perception, seed=1).generate(reference, driving, made)
        assert caught.value.reason == "refused"


def test_another_seed_and_another_checkpoint_are_another_driver(
    tmp_path: Path, pipeline: tuple[Path, DirectAnimatorPipeline]
) -> None:
    directory, model = pipeline
    other = write_checkpoint(tmp_path / "other", MODEL)
    (other / "spec.json").write_text((other / "spec.json").read_text() + " ")
    made_with = [
        OwnDriver(model, at, BrightPerson(), n).made_with for at, n in ((directory, 0), (directory, 1), (other, 0))
    ]
    assert len({tuple(sorted(names.items())) for names in made_with}) == 3
