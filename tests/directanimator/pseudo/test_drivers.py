"""Programs that make clips, or fail to: each failure has its name, and nothing of it is left running or written."""

import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directanimator.errors import UserError
from directanimator.pseudo.drivers import (
    FRAMES_AMISS,
    LEAST_SIDE,
    Beat,
    CommandDriver,
    FailedDriverError,
    InTurn,
    PseudoDriver,
    take,
)
from directanimator.video import read_video, write_video

PYTHON = f"{sys.executable} -I -S -c"
TOLD = "import sys; open(sys.argv[3], 'w').write(repr(sys.argv[1:]))"
ALL = "{reference} {driving} {output}"


def program(code: str, rest: str = ALL, time_limit_s: float = 60.0) -> CommandDriver:
    return CommandDriver.parsed(f'{PYTHON} "{code}" {rest}', time_limit_s)


def failure(driver: PseudoDriver, folder: Path) -> FailedDriverError:
    with pytest.raises(FailedDriverError) as caught:
        driver.generate(folder / "a.png", folder / "b.mp4", folder / "c.mp4")
    assert caught.value.detail.isprintable()
    return caught.value


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a;b", "$(b)", "{driving}", "{output}", "a\nb", "-a", "*"])
def test_every_file_name_is_one_argument_and_no_shell_reads_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    driver = program(TOLD, "{reference} --video={driving} {output}")
    driver.generate(folder / "a.png", folder / "b.mp4", folder / "c.mp4")
    expected = [str(folder / "a.png"), f"--video={folder / 'b.mp4'}", str(folder / "c.mp4")]
    assert (folder / "c.mp4").read_text() == repr(expected)


def test_what_looks_like_a_placeholder_in_braces_of_json_is_left_alone(tmp_path: Path) -> None:
    driver = program(TOLD, ALL + """ '{"a": 1}' {}""")
    driver.generate(tmp_path / "a.png", tmp_path / "b.mp4", tmp_path / "c.mp4")
    assert repr('{"a": 1}') in (tmp_path / "c.mp4").read_text()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["{reference} is missing"]),
        ("true {reference} {output}", ["{driving} is missing"]),
        (f"true {ALL} {{drivng}}", ["unknown placeholder {drivng}", "did you mean 'driving'"]),
        (f"true 'open {ALL}", ["no closing quotation"]),
        (f"no_such_program {ALL}", ["no program 'no_such_program'"]),
        (ALL, ["no program"]),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_work_begins(text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        CommandDriver.parsed(text, 1.0)
    assert all(part in str(caught.value) for part in parts)


def test_a_failing_program_is_told_by_its_status_and_last_words(tmp_path: Path) -> None:
    code = "import sys; print('x' * 10**6, flush=True); print('out of memory\\n', file=sys.stderr); sys.exit(3)"
    found = failure(program(code), tmp_path)
    assert (found.reason, found.detail) == ("exit_status", "3; it said: out of memory")


def test_a_program_that_leaves_nothing_or_is_gone_is_told(tmp_path: Path) -> None:
    assert failure(program("pass"), tmp_path).reason == "no_output"
    assert failure(CommandDriver(("/no/such", "{output}"), 1.0), tmp_path).reason == "not_started"


def test_a_hanging_program_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("import time; time.sleep(60)")
    call = ["-I", "-S", str(tmp_path / "child.py")]
    code = f"import subprocess as s, sys, time; s.Popen([sys.executable, *{call}]); time.sleep(60)"
    assert failure(program(code, time_limit_s=1.5), tmp_path).reason == "timeout"
    deadline = time.monotonic() + 20
    while _running(str(tmp_path / "child.py")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _running(word: str) -> bool:
    with_words = psutil.process_iter(["cmdline", "status"])
    return any(word in (p.info["cmdline"] or []) and p.info["status"] != psutil.STATUS_ZOMBIE for p in with_words)


def test_the_second_of_two_programs_is_driven_by_the_first_ones_clip(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_text("b")
    add = "import sys; open(sys.argv[3], 'w').write(open(sys.argv[2]).read() + sys.argv[4])"
    both = InTurn(program(add, ALL + " 1"), program(add, ALL + " 2"))
    both.generate(tmp_path / "a.png", tmp_path / "b.mp4", tmp_path / "c.mp4")
    assert (tmp_path / "c.mp4").read_text() == "b12"
    assert len(set(both.made_with.values())) == 2


def clip(path: Path, frames: int, side: int = LEAST_SIDE, fps: float = 8.0) -> Path:
    values = np.repeat(np.arange(frames) * 10, side * side * 3)
    write_video(path, values.reshape(-1, side, side, 3).astype(np.uint8), fps)
    return path


@given(wanted=st.integers(1, 9), amiss=st.integers(-3, 3), fps=st.sampled_from([4.0, 8.0, 29.97]))
def test_a_clip_is_taken_in_the_beat_of_its_driver_or_not_at_all(tmp_path_factory, wanted, amiss, fps):
    folder = tmp_path_factory.mktemp("take")
    count = max(1, wanted + amiss)
    made = clip(folder / "made.mp4", count, fps=fps)
    if abs(count - wanted) > FRAMES_AMISS:
        with pytest.raises(FailedDriverError) as caught:
            take(made, folder / "taken.mp4", Beat(wanted, 8.0))
        assert caught.value.reason == "count"
        assert [path.name for path in folder.iterdir()] == ["made.mp4"]
        return
    take(made, folder / "taken.mp4", Beat(wanted, 8.0))
    taken = read_video(folder / "taken.mp4")
    assert (len(taken.frames), taken.fps) == (wanted, 8.0)
    shown = [round(value / 10) for value in taken.frames.mean(axis=(1, 2, 3))]
    assert shown == [min(k, count - 1) for k in range(wanted)]
    assert Beat.of(folder / "taken.mp4") == Beat(wanted, 8.0)


@pytest.mark.parametrize(("content", "reason"), [(b"no video", "unreadable"), (b"", "unreadable"), (None, "size")])
def test_what_is_no_usable_video_is_not_taken(tmp_path: Path, content: bytes | None, reason: str) -> None:
    made = tmp_path / "made.mp4"
    clip(made, 4, LEAST_SIDE - 2) if content is None else made.write_bytes(content)
    with pytest.raises(FailedDriverError) as caught:
        take(made, tmp_path / "taken.mp4", Beat(4, 8.0))
    assert caught.value.reason == reason
    assert not (tmp_path / "taken.mp4").exists()
