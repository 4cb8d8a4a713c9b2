"""How busy the machine is while a run goes on, and what memory the run takes of it."""

import contextlib
from typing import TYPE_CHECKING

from directanimator.process_memory import forget_peak, peak_resident_bytes
from experiments.record import PEAK_MEMORY, MetricsLog
from experiments.tracking.server import settle_mlflow

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor


MEGABYTE = 1e6
"""As MLflow counts."""


class Machine:
    """Appends how busy this machine is, under MLflow's own names, so that its UI knows them."""

    def __init__(self, log: MetricsLog) -> None:
        self._log = log
        self._monitors: list[BaseMetricsMonitor] = []
        self._next_step = 0

    def sample(self) -> None:
        """Nothing; afterwards the log has one more record.

        Raises: UserError if the log cannot be written."""
        if not self._monitors:
            self._monitors = _monitors()
            forget_peak()  # a process may have made other runs before
            self._next_step = max((record.step for record in self._log.read()), default=-1) + 1
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        values[PEAK_MEMORY] = peak_resident_bytes() / MEGABYTE
        self._log.append(self._next_step, values)
        self._next_step += 1


def _monitors() -> "list[BaseMetricsMonitor]":
    settle_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor()]
    with contextlib.suppress(ImportError, RuntimeError):  # no NVIDIA library, or no GPU
        monitors.append(GPUMonitor())
    return monitors
