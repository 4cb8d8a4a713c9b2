"""Work spread over the machines of a Ray cluster: the one room that knows Ray.

A killed worker's work is begun again, so it has to be such that going on is the same as starting: found again by what
it is made from. Machines share the files: every path means the same on each of them."""

from directanimator.cluster.machines import ADDRESS_VARIABLE, LOOPBACK, Cluster, cluster
from directanimator.cluster.order import Done, Failed, Job
from directanimator.cluster.share import Share, engine_keys, read_engine

__all__ = [
    "ADDRESS_VARIABLE",
    "LOOPBACK",
    "Cluster",
    "Done",
    "Failed",
    "Job",
    "Share",
    "cluster",
    "engine_keys",
    "read_engine",
]
