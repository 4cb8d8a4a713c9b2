"""`python -m directanimator.page`: a page in the browser that animates an uploaded picture by an uploaded video.

Beside the result it shows the driving cues that the model was told. Only this machine can see the page. Gradio, which
draws it, is asked for when the page is, and by nothing else."""

import importlib
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from directanimator import animate
from directanimator.animator import DirectAnimatorPipeline, default_checkpoint
from directanimator.command import DEBUG, run_command
from directanimator.errors import UserError
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.perception.person import PersonPerception
from directanimator.words import check_options, read_words, whole

USAGE = "python -m directanimator.page"
HELP = f"""{USAGE} [key=value ...]

  port=7860        of http://127.0.0.1, where the page is
  checkpoint=DIR   a run's model directory; default: the newest finished run's
  --debug          show the traceback of an error"""
KEYS = ("port", "checkpoint")
OPTIONS = (DEBUG, "--help")
ADDRESS = "127.0.0.1"
SHOWN_SIDE = 256
"""Least side to which the model's canvas is enlarged."""
MOST_UPLOADED = "500mb"
_MOST_SEED = 2**31 - 1
_KEPT_S = (3600, 86_400)
"""How often the library looks for uploads and results to forget, and how old those are; at the end it forgets all."""


@dataclass(frozen=True, eq=False)
class Studio:
    """What answers the page's requests."""

    pipeline: DirectAnimatorPipeline
    perception: PersonPerception
    folder: Path
    """Where results lie."""

    @property
    def is_told_words(self) -> bool:
        """Whether a prompt can be given."""
        return self.pipeline.spec.model.text_encoder != "none"

    def animated(
        self, reference: str | None, driving: str | None, seed: int | None, prompt: str = ""
    ) -> tuple[str, str, str]:
        """The files of cues and result, and what there is to say.

        Raises: UserError if an upload is missing or cannot be used, or for a prompt that the model cannot be told."""
        if not reference or not driving:
            raise UserError("want both: a picture of one person, and a video of one person")
        output = Path(tempfile.mkdtemp(dir=self.folder)) / "animated.mp4"
        scale = animate.scale_to(SHOWN_SIDE, self.pipeline.spec.data.size)
        request = animate.Request(Path(reference), Path(driving), output, prompt=prompt, seed=seed or 0, scale=scale)
        outcome = animate.run(request, self.pipeline, self.perception)
        said = [f"{outcome.num_frames} frames at {outcome.fps:g} per second", *outcome.notes]
        return str(request.preview), str(output), "\n".join(said)


def wait_for_ever() -> None:
    """Nothing; only an interruption ends it."""
    threading.Event().wait()


def gradio() -> ModuleType:
    """The library that draws the page.

    Raises: UserError, which says how to install it."""
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise UserError(f"the page needs gradio ({error}); install it: python -m pip install 'gradio>=6,<7'") from error


def serve(studio: Studio, port: int, library: ModuleType, wait: Callable[[], object] = wait_for_ever) -> None:
    """Nothing; shows the page until `wait` ends or is interrupted. The library itself waits deaf to interruptions.

    Raises: UserError if the port is taken, or this machine cannot be reached by its own address."""

    def answer(reference: str | None, driving: str | None, seed: int | None, prompt: str) -> tuple[str, str, str]:
        try:
            return studio.animated(reference, driving, seed, prompt)
        except UserError as error:
            raise library.Error(str(error)) from error

    with library.Blocks(title="DirectAnimator", analytics_enabled=False, delete_cache=_KEPT_S) as page:
        library.Markdown("# DirectAnimator\nThe person of the picture does what the person of the video does.")
        with library.Row():
            reference = library.Image(label="reference", type="filepath")
            driving = library.Video(label="driving")
        seed = library.Number(label="seed", value=0, precision=0, minimum=0, maximum=_MOST_SEED)
        prompt = library.Textbox(label="prompt", value="", visible=studio.is_told_words)
        button = library.Button("animate", variant="primary")
        cues = library.Video(label="frame, mask, pose cue, face cue, location cue", interactive=False)
        result = library.Video(label="result", interactive=False)
        said = library.Textbox(label="notes", interactive=False)
        button.click(answer, [reference, driving, seed, prompt], [cues, result, said], api_name=False)
    try:
        page.launch(
            server_name=ADDRESS, server_port=port, share=False, max_file_size=MOST_UPLOADED, prevent_thread_lock=True
        )
    except (OSError, ValueError) as error:  # the latter behind a proxy that also takes what goes to this machine
        raise UserError(f"port={port}: {error}") from error
    try:
        wait()
    finally:
        page.close()


def main(
    arguments: Sequence[str] | None = None,
    make_perception: Callable[[], PersonPerception] = MediapipePerception,
    library: Callable[[], ModuleType] = gradio,
) -> int:
    """The exit status: 2 after bad input; when the page is closed 130, or 75 after SIGTERM or SIGUSR1."""

    def command(tokens: list[str]) -> int:
        if "--help" in tokens:
            print(HELP)
            return 0
        check_options(tokens, OPTIONS)
        words = read_words(tokens, KEYS)
        port, draws = whole(words, "port", 7860, 1, 65535), library()
        checkpoint = Path(words["checkpoint"]) if "checkpoint" in words else default_checkpoint()
        pipeline = DirectAnimatorPipeline.from_pretrained(checkpoint)
        animate.check_drivable(pipeline, checkpoint)
        with tempfile.TemporaryDirectory(prefix="directanimator_page_") as folder:
            serve(Studio(pipeline, make_perception(), Path(folder)), port, draws)
        return 0

    return run_command(command, arguments, "the page is closed")


if __name__ == "__main__":
    sys.exit(main())
