"""The benchmark command: ratios of what is called in turn, and a word for every mistake."""

import time

import pytest

from directanimator.errors import UserError
from experiments.benchmark import BENCHMARKS, main, ratio


def test_both_are_called_in_turn_and_once_before_anything_is_timed() -> None:
    calls: list[str] = []
    ratio(lambda: calls.append("ours"), lambda: calls.append("theirs"), 3)
    assert calls == ["ours", "theirs"] * 4


def test_the_ratio_is_ours_in_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def takes(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert ratio(lambda: takes(3), lambda: takes(2), 5) == pytest.approx(1.5)


def test_every_name_is_measured_and_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in BENCHMARKS:
        monkeypatch.setitem(BENCHMARKS, name, lambda rounds, name=name: f"{name} in {rounds}")
    main(["rounds=3"])
    assert capsys.readouterr().out.splitlines() == [f"{name:9} {name} in 3" for name in BENCHMARKS]
    main(["growth", "memory"])
    assert capsys.readouterr().out.splitlines() == ["growth    growth in 5", "memory    memory in 5"]
    main(["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in BENCHMARKS)


@pytest.mark.parametrize("word", ["rounds=0", "rounds=x", "stepp", "preset=cpu"])
def test_an_unknown_word_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="want step, memory, matmul, teacher"):
        main([word])
