"""`python -m directanimator.pseudo videos=DIR`: other people doing what the people of a folder's videos do.

With the pairs that it leaves, the cross-ID stage of training is driven by pseudo clips. Source: Beyond Skeletons,
Same2X, pseudo driving cues."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from directanimator.animate import check_drivable
from directanimator.animator import DirectAnimatorPipeline, default_checkpoint
from directanimator.command import DEBUG, run_command
from directanimator.data.pseudo_pairs import PAIRS_FILE
from directanimator.errors import UserError, did_you_mean
from directanimator.extraction.backends import watch_of
from directanimator.extraction.sightings import Watch
from directanimator.extraction.spec import PerceptionSpec
from directanimator.perception.mediapipe import MediapipePerception
from directanimator.progress import progress
from directanimator.pseudo.drivers import CommandDriver, InTurn, PseudoDriver
from directanimator.pseudo.making import Workshop, table, write_pairs
from directanimator.pseudo.own import OwnDriver
from directanimator.pseudo.plan import MOST_PER_CLIP, Pairing, digests_of_splits, pairings
from directanimator.pseudo.screening import IdentityNet, Judge, NetJudge, ScreeningSpec
from directanimator.words import check_options, read_words, real, whole

USAGE = "python -m directanimator.pseudo videos=DIR"
_USUAL = ScreeningSpec()
HELP = f"""{USAGE} [key=value ...]

  videos=DIR       for every video in it, makes clips of other people of the folder in the same motion
  output=DIR       gets {PAIRS_FILE} and pseudo/; default: the videos' folder, where data.folder= looks for pairs
  driver=own       the same-ID model animates a picture of the other person
    checkpoint=DIR   its model directory; default: the newest that was trained
  driver=command   another program does, once a clip, without a shell
    command="..."      its words, with {{reference}} (.png), {{driving}} (video) and {{output}} (.mp4) in them
    face_command="..." a second one, whose {{driving}} is what the first one made: it may put the reference's face there
    time_limit_s=3600  after which a program is stopped and its clip counted as failed
  per_clip=2       people tried for every video, 1..{MOST_PER_CLIP}
  seed=0           of the choice of people, and of the own model's noise
  face_network=dlib_face   or arcface, whose weights have to be brought: who tells identities
  min_identity={_USUAL.min_identity:g} min_margin={_USUAL.min_margin:g} min_clothes={_USUAL.min_clothes:g} \
min_faces={_USUAL.min_faces:g} max_expression={_USUAL.max_expression:g} min_joints={_USUAL.min_joints:g} \
max_motion={_USUAL.max_motion:g}
                   thresholds of what is kept; with others the same command only counts anew
  --retry          try again what failed before
  --debug          show the traceback of an error

The output must have as many frames as the driving video; of which rate is no matter. The same command goes on where an
interrupted one stopped."""
_LIMITS = {
    "min_identity": (-1.0, 1.0),
    "min_margin": (-2.0, 2.0),
    "min_clothes": (-1.0, 1.0),
    "min_faces": (0.0, 1.0),
    "max_expression": (0.0, 1e6),
    "min_joints": (0.0, 1.0),
    "max_motion": (0.0, 1e6),
}
KEYS = (
    "videos", "output", "driver", "checkpoint", "command", "face_command", "time_limit_s", "per_clip", "seed",
    "face_network", *_LIMITS,
)  # fmt: skip
OF_COMMAND, OF_OWN = ("command", "face_command", "time_limit_s"), ("checkpoint",)
OPTIONS = ("--retry", DEBUG, "--help")
SOME_FAILED = 1


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    videos: Path
    output: Path
    checkpoint: Path | None
    """Of our own model; None with commands."""
    command: CommandDriver | None
    face_command: CommandDriver | None
    per_clip: int
    seed: int
    face_network: IdentityNet
    screening: ScreeningSpec


def parse(tokens: Sequence[str]) -> Request:
    """The request of the `key=value` words.

    Raises: UserError for an unknown, repeated, missing or idle key, or an illegal value."""
    words = read_words(tokens, KEYS)
    if "videos" not in words:
        raise UserError(f"missing videos=...; usage: {USAGE}")
    videos, driver = Path(words["videos"]), words.get("driver", "own")
    if not videos.is_dir():
        raise UserError(f"videos={videos}: is not a directory")
    if driver not in ("own", "command"):
        raise UserError(f"driver={driver}: want own or command{did_you_mean(driver, ('own', 'command'))}")
    is_own = driver == "own"
    for key in OF_COMMAND if is_own else OF_OWN:
        if key in words:
            raise UserError(f"{key}={words[key]}: needs driver={'command' if is_own else 'own'}")
    if not is_own and "command" not in words:
        raise UserError('driver=command needs command="..."')
    network = words.get("face_network", "dlib_face")
    if network not in get_args(IdentityNet):
        raise UserError(f"face_network={network}: want {' or '.join(get_args(IdentityNet))}")
    limit = real(words, "time_limit_s", 3600.0, 0.1, 1e6)
    own = Path(words["checkpoint"]) if "checkpoint" in words else default_checkpoint("same_id") if is_own else None
    programs = {key: CommandDriver.parsed(words[key], limit, key) for key in OF_COMMAND[:2] if key in words}
    usual = _USUAL.model_dump()
    return Request(
        videos=videos,
        output=Path(words.get("output", words["videos"])),
        checkpoint=own,
        command=programs.get("command"),
        face_command=programs.get("face_command"),
        per_clip=whole(words, "per_clip", 2, 1, MOST_PER_CLIP),
        seed=whole(words, "seed", 0, 0, 2**63 - 1),
        face_network="arcface" if network == "arcface" else "dlib_face",
        screening=ScreeningSpec(**{key: real(words, key, usual[key], *_LIMITS[key]) for key in _LIMITS}),
    )


def driver_of(request: Request) -> PseudoDriver:
    """The driver that is asked for.

    Raises: UserError if the checkpoint or the nets cannot be loaded."""
    if request.command is not None:
        return InTurn(request.command, request.face_command) if request.face_command else request.command
    assert request.checkpoint is not None
    pipeline = DirectAnimatorPipeline.from_pretrained(request.checkpoint)
    check_drivable(pipeline, request.checkpoint)
    return OwnDriver(pipeline, request.checkpoint, MediapipePerception(), request.seed)


@dataclass(frozen=True)
class Nets:
    """Who looks at pictures and clips."""

    judge: Judge
    watch: Watch


def nets_of(request: Request) -> Nets:
    """The nets that are asked for.

    Raises: UserError if weights are missing."""
    return Nets(NetJudge(request.face_network), watch_of(PerceptionSpec(), None, None))


def plan(request: Request) -> tuple[dict[str, str], list[Pairing]]:
    """The digests of all videos, and what is to be made of them.

    Raises: UserError if no video has another one beside it."""
    parts = digests_of_splits(request.videos)
    planned = [pairing for part in parts for pairing in pairings(part, request.per_clip, request.seed)]
    if not planned:
        raise UserError(f"videos={request.videos}: want two different videos at least, since nobody drives himself")
    return {name: digest for part in parts for name, digest in part.items()}, planned


def run(request: Request, driver: PseudoDriver, nets: Nets, retry: bool) -> int:
    """The exit status: 0, or 1 if some clips could not be made.

    Raises: UserError if the output cannot be written."""
    digests, planned = plan(request)
    shop = Workshop(request.videos, request.output, driver, nets.judge, nets.watch, digests, retry)
    attempts = list(shop.attempts(progress(planned, "making pseudo clips", total=len(planned))))
    write_pairs(request.output, attempts, request.screening)
    print("\n".join([*table(attempts, request.screening), f"{request.output / PAIRS_FILE}"]))
    return SOME_FAILED if any(attempt.failure for attempt in attempts) else 0


def main(arguments: Sequence[str] | None = None, nets: Nets | None = None) -> int:
    """The exit status: 0; 1 if some clips could not be made; 2 after bad input; 130 after Ctrl-C, 75 after SIGTERM."""

    def command(tokens: list[str]) -> int:
        if not tokens or "--help" in tokens:
            print(HELP)
            return 0
        check_options(tokens, OPTIONS)
        request = parse([token for token in tokens if token not in OPTIONS])
        return run(request, driver_of(request), nets or nets_of(request), "--retry" in tokens)

    return run_command(command, arguments, "interrupted; what is whole stays, so the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
