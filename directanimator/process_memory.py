"""What this process holds in memory, as Linux counts it."""

import contextlib
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """What this process holds in memory now, mapped files included."""
    return _status("VmRSS")


def peak_resident_bytes() -> int:
    """The most this process ever held, since `forget_peak` if that was called.

    Not getrusage's: after a spawn that one still tells the parent's."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Nothing; the peak is that of from now on, where the kernel allows it."""
    with contextlib.suppress(OSError):
        _FORGET.write_text("5")


def _status(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    (found,) = (line.split() for line in lines if line.startswith(f"{name}:"))
    return int(found[1]) * 1024
