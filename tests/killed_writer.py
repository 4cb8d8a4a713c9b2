"""A process that is killed while it writes, and what it leaves."""

import subprocess
import sys
from pathlib import Path

_WRITER = """
import os, sys
from pathlib import Path
from directanimator.atomic import atomic_directory, atomic_write, workplace
def die(draft):
    draft.write_bytes(b"half")
    os._exit(9)
kind, target = sys.argv[1], Path(sys.argv[2])
if kind == "file":
    atomic_write(target, die)
with (atomic_directory if kind == "directory" else workplace)(target) as draft:
    die(draft / "weights")
"""
KINDS = ("file", "directory", "workplace")


def killed_writer(kind: str, target: Path) -> None:
    """Nothing; beside the target lies what a writer left of that kind who died before he was done."""
    done = subprocess.run([sys.executable, "-c", _WRITER, kind, target], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 9
    assert any(path.name.startswith(f".{target.name}.") for path in target.parent.iterdir())
