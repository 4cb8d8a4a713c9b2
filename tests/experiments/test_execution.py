"""The words that spare memory, apart from the words of the experiment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from experiments.execution import Execution, check_execution, read_execution

OTHERS = st.lists(st.sampled_from(["preset=cpu", "seed=1", "--debug"]))


@given(st.none() | st.integers(1, 99), st.booleans(), st.booleans(), OTHERS)
def test_execution_is_read_and_the_other_words_are_left(
    micro: int | None, again: bool, sharding: bool, others: list[str]
) -> None:
    words = [*others, f"checkpointing={str(again).lower()}", f"sharding={str(sharding).lower()}"]
    words += [] if micro is None else [f"micro_batch={micro}"]
    assert read_execution(words) == (Execution(micro, again, sharding), others)


@pytest.mark.parametrize(
    "word",
    [
        "micro_batch=0",
        "micro_batch=00",
        "micro_batch=x",
        "micro_batch=" + 5000 * "9",
        "checkpointing=1",
        "sharding=yes",
    ],
)
def test_an_illegal_word_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"{word}: want (true or false|a whole number of clips, 1 or more)"):
        read_execution([word])


@pytest.mark.parametrize("word", ["micro_batch", "micro_batch=", "sharding="])
def test_a_word_without_a_value_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"{word.rstrip('=')} needs a value"):
        read_execution([word])


@pytest.mark.parametrize("words", [["micro_batch=1", "micro_batch=2"], ["sharding=true", "seed=1", "sharding=true"]])
def test_a_word_that_is_given_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=f"{words[0].partition('=')[0]} is given twice"):
        read_execution(words)


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 8))
def test_parts_must_add_up_to_a_process_s_share(micro: int, processes: int, share: int) -> None:
    if share % micro == 0:
        check_execution(Execution(micro), share * processes, processes)
    else:
        with pytest.raises(UserError, match=f"micro_batch={micro} does not divide the {share} clips"):
            check_execution(Execution(micro), share * processes, processes)
