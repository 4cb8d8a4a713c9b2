"""Processes that begin where importing has ended.

Importing torch, diffusers and MLflow costs more than all that the smallest preset does. A server of the standard
library imports them once, and forks of it do the work: processes of their own, with environment, output, signals and
exit status of their own."""

import multiprocessing
import os
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from unittest.mock import patch

IMPORTED = ("experiments.experiment", "experiments.stage", "experiments.tracking")


def forks() -> ForkServerContext:
    """Of the server, which runs by then, with one thread for every fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):  # read when the server imports torch
        forkserver.ensure_running()
    return context
