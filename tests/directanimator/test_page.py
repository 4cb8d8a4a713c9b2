"""The page: what it answers, that only this machine sees it, and what is said where it cannot be drawn."""

import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import torch
from PIL import Image

from directanimator.animator import DirectAnimatorPipeline
from directanimator.errors import UserError
from directanimator.model.codec import PatchCodec
from directanimator.page import SHOWN_SIDE, Studio, main, serve
from directanimator.video import read_video, write_video
from tests.directanimator.test_animate import CHANNELS, MODEL, BrightPerson, walker, write_checkpoint


class PageError(Exception):
    """Stands in for the library's own error."""


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    torch.manual_seed(0)
    codec = PatchCodec(latent_channels=CHANNELS, width=8, num_blocks=2).fit(torch.randn(64, 4 * 3 * 64))
    directory = write_checkpoint(tmp_path / "run", MODEL)
    pipeline = DirectAnimatorPipeline.from_pretrained(directory, codec.eval().requires_grad_(False))
    return Studio(pipeline, BrightPerson(), tmp_path)


def test_it_answers_an_upload_with_cues_result_and_notes(studio: Studio, tmp_path: Path) -> None:
    Image.fromarray(walker(1)[0]).save(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", walker(6), 15.0)
    cues, result, said = studio.animated(str(tmp_path / "a.png"), str(tmp_path / "b.mp4"), 1)
    assert read_video(result).frames.shape == (6, SHOWN_SIDE, SHOWN_SIDE, 3)
    assert read_video(cues).frames.shape == (6, SHOWN_SIDE, 5 * SHOWN_SIDE, 3)
    assert "6 frames" in said
    for missing in ((None, "b"), ("a", None), (None, None)):
        with pytest.raises(UserError, match="want both"):
            studio.animated(*missing, 0)
    with pytest.raises(UserError, match="prompt=she waves: the model is told no words"):
        studio.animated(str(tmp_path / "a.png"), str(tmp_path / "b.mp4"), 0, "she waves")


def test_only_this_machine_sees_it_and_its_errors_are_told_on_it(studio: Studio) -> None:
    drawn = MagicMock()
    library = ModuleType("gradio")
    library.Error = PageError
    library.__getattr__ = drawn.__getattr__
    page, waited = drawn.Blocks.return_value.__enter__.return_value, MagicMock(side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        serve(studio, 7861, library, waited)
    launched = page.launch.call_args.kwargs
    assert (launched["server_name"], launched["server_port"], launched["share"]) == ("127.0.0.1", 7861, False)
    assert launched["prevent_thread_lock"]
    page.close.assert_called_once_with()
    answer = drawn.Button.return_value.click.call_args.args[0]
    with pytest.raises(PageError, match="want both"):
        answer(None, None, 0, "")
    assert [call.kwargs["visible"] for call in drawn.Textbox.call_args_list if "visible" in call.kwargs] == [False]


@pytest.mark.parametrize("problem", [OSError("the port is taken"), ValueError("localhost is not accessible")])
def test_a_page_that_cannot_be_shown_is_told_in_one_line(studio: Studio, problem: Exception) -> None:
    drawn, library = MagicMock(), ModuleType("gradio")
    drawn.Blocks.return_value.__enter__.return_value.launch.side_effect = problem
    library.__getattr__ = drawn.__getattr__
    with pytest.raises(UserError, match=f"port=7861: {problem}"):
        serve(studio, 7861, library)


def test_without_the_library_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'gradio" in line


@pytest.mark.parametrize(("word", "part"), [("port=0", "1..65535"), ("prt=1", "did you mean 'port'"), ("--x", "--x")])
def test_bad_words_are_told_in_one_line(capsys: pytest.CaptureFixture[str], word: str, part: str) -> None:
    assert main([word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
