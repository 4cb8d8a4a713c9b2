"""What the accuracy of cues is measured on."""

import numpy as np
import pytest

from directanimator.cue_accuracy import PORTRAIT_SIDE, main, portrait


def test_a_portrait_is_the_same_each_time_and_another_one_for_every_take() -> None:
    first, again, other = (portrait(3, take, 0.0).frames for take in (0, 0, 1))
    assert first.shape == (1, PORTRAIT_SIDE, PORTRAIT_SIDE, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("person", range(4))
def test_a_portrait_shows_the_face_from_the_front_and_none_from_behind(person: int) -> None:
    assert np.isfinite(portrait(person, 0, 0.0).face_box).all()
    assert np.isnan(portrait(person, 0, np.pi).face_box).all()


@pytest.mark.parametrize(
    ("word", "told"),
    [("people=65", "people"), ("peple=3", "people"), ("clips=0", "clips"), ("pairs=many", "pairs")],
)
def test_a_wrong_word_is_refused_in_one_line(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not captured.out
