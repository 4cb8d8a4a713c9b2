"""Two processes of one training, as torchrun starts them, on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.forked import forks

Left = TypeVar("Left")


def on_two_processes(work: Callable[[Path], Left], place: Path) -> tuple[Left, Left]:
    """What `work`, a function of a module, returns in each of two connected processes, the first one's first."""
    config = LaunchConfig(
        run_id=place.name,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        start_method="forkserver",
    )
    forks()  # of which the launcher's are two
    left = elastic_launch(config, work)(place)
    return left[0], left[1]
