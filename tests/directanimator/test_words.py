"""The words of a command line: read as they were typed, or refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.words import own_words, read_words, real, whole

KEYS = ("clips", "output", "seed")
texts = st.text(min_size=1)


@given(st.dictionaries(st.sampled_from(KEYS), texts))
def test_words_come_back_as_they_were_typed(words: dict[str, str]) -> None:
    assert read_words([f"{key}={text}" for key, text in words.items()], KEYS) == words


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["clip=3"], "unknown key 'clip': known are clips, output, seed; did you mean 'clips'?"),
        (["clips"], "clips needs a value"),
        (["clips="], "clips needs a value"),
        (["clips=1", "clips=2"], "clips is given twice: 1 and 2"),
    ],
)
def test_other_words_are_refused_by_name(tokens: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_words(tokens, KEYS)
    assert said in str(refused.value)


@given(st.dictionaries(st.sampled_from(KEYS), texts), st.lists(st.sampled_from(["--debug", "seed0=1", "clip=1"])))
def test_own_words_are_taken_and_others_left_in_order(words: dict[str, str], others: list[str]) -> None:
    tokens = [*others[:2], *(f"{key}={text}" for key, text in words.items()), *others[2:]]
    assert own_words(tokens, KEYS) == (words, others)


def test_a_long_list_of_keys_is_shown_in_short() -> None:
    with pytest.raises(UserError, match=r"known are cues\.\*$"):
        read_words(["zzz=1"], ("cues.pose.cutoff", "cues.face.margin"), shown=("cues.*",))


@given(st.integers(-10, 120))
def test_whole_numbers_are_taken_within_their_bounds_alone(number: int) -> None:
    if 1 <= number <= 100:
        assert whole({"clips": str(number)}, "clips", 5, 1, 100) == number
    else:
        with pytest.raises(UserError, match=r"want a whole number 1\.\.100"):
            whole({"clips": str(number)}, "clips", 5, 1, 100)


@given(st.integers(0, 120), st.integers(0, 6000))
def test_zeros_in_front_change_no_whole_number(number: int, zeros: int) -> None:
    text = "0" * zeros + str(number)
    if number <= 100:
        assert whole({"clips": text}, "clips", 5, 0, 100) == number
    else:
        with pytest.raises(UserError, match=r"want a whole number 0\.\.100"):
            whole({"clips": text}, "clips", 5, 0, 100)


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e2", "\u0663", "\u00b2", "9" * 30, "9" * 5000, "0" * 20 + "101"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="clips="):
        whole({"clips": text}, "clips", 5, 1, 100)


@given(st.floats(-10, 10))
def test_numbers_are_taken_within_their_bounds_alone(number: float) -> None:
    if 0 <= number <= 1:
        assert real({"seed": repr(number)}, "seed", 0.5, 0.0, 1.0) == number
    else:
        with pytest.raises(UserError, match=r"seed=.*: want 0\.\.1"):
            real({"seed": repr(number)}, "seed", 0.5, 0.0, 1.0)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="seed="):
        real({"seed": text}, "seed", 0.5, 0.0, 1.0)


def test_a_word_that_is_not_there_is_its_default() -> None:
    assert whole({}, "clips", 5, 1, 100) == 5
    assert real({}, "seed", 0.5, 0.0, 1.0) == 0.5
