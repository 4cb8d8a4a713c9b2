"""What becomes of a command: a status, and one line where something was wrong."""

import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.command import run_command
from directanimator.errors import UserError

WORDS = st.lists(st.sampled_from(["a=1", "b", "--debug", "--help"]), max_size=5)
LETTERS = st.characters(codec="ascii", exclude_categories=["Cc"]) | st.just("\n")
MESSAGES = st.text(LETTERS, min_size=1).filter(str.strip)


@given(WORDS, st.integers(0, 255))
def test_a_command_gets_its_words_and_its_status_is_kept(words: list[str], status: int) -> None:
    heard: list[list[str]] = []

    def command(tokens: list[str]) -> int:
        heard.append(tokens)
        return status

    assert run_command(command, words) == status
    assert heard == [[word for word in words if word != "--debug"]]


@given(WORDS, MESSAGES)
def test_bad_input_is_one_line_and_shows_where_only_when_asked(words: list[str], message: str) -> None:
    def command(_tokens: list[str]) -> int:
        raise UserError(message)

    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("sys.stderr.write", lines.append)
        assert run_command(command, words) == 2
    told = "".join(lines)
    assert told.splitlines()[-1] == "error: " + " ".join(message.split())
    assert ("Traceback" in told) == ("--debug" in words)
    assert "--debug" in words or len(told.splitlines()) == 1


def test_an_interruption_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_tokens: list[str]) -> int:
        raise KeyboardInterrupt

    assert run_command(command, [], interrupted="interrupted; what is whole stays") == 130
    assert capsys.readouterr().err == "interrupted; what is whole stays\n"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)], ids=str
)
def test_a_signal_ends_a_command_whatever_it_is_at_and_is_told_by_the_status(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, status: int
) -> None:
    before, ended = signal.getsignal(number), []

    def command(_tokens: list[str]) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # schedulers send it again
            ended.append(number)
        return 0

    assert run_command(command, [], interrupted="stopped") == status
    assert (capsys.readouterr().err, ended) == ("stopped\n", [number])
    assert signal.getsignal(number) is before


def test_a_defect_is_not_hidden() -> None:
    def command(_tokens: list[str]) -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_command(command, [])
