"""Work of several processes that meet, as those of one training do. Imports little, since every worker has to."""

import os
import signal
from pathlib import Path

from directanimator.errors import UserError


def meet(place: Path) -> tuple[int, int]:
    """How many processes have met, as counted by them and as they were told; each leaves a mark when it begins.

    A file `deadly` has the second process killed before they meet, once; a file `bad` has the first one refuse."""
    import torch
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    with (place / f"begun-{rank}").open("a") as marks:
        marks.write(".")
    dist.init_process_group("gloo")
    if rank == 1 and (place / "deadly").exists():
        (place / "deadly").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 0 and (place / "bad").exists():
        raise UserError("it cannot be met")
    count = torch.tensor(1)
    dist.all_reduce(count)
    return int(count), dist.get_world_size()
