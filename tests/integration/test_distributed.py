"""Two processes against one, the global batch being the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Workplace

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4


def losses(run: Path) -> list[float]:
    return [json.loads(line)["values"]["train/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one(finished: Workplace, fresh: Callable[[], Workplace]):
    place = fresh()
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone")
    done = place.call(*launcher, "-m", "experiments.run", "preset=smoke")
    assert done.returncode == 0, done.stderr
    for stage in ("same_id", "cross_id"):
        one, two = losses(finished.stage(stage)), losses(place.stage(stage))
        assert len(one) == len(two)
        assert two == pytest.approx(one, abs=TOLERANCE, rel=0)


def test_accumulation_and_checkpointing_train_as_the_whole_batch(finished: Workplace, fresh: Callable[[], Workplace]):
    place = fresh()
    done = place.run("preset=smoke", "micro_batch=1", "checkpointing=true")
    assert done.returncode == 0, done.stderr
    for stage in ("same_id", "cross_id"):
        assert losses(place.stage(stage)) == pytest.approx(losses(finished.stage(stage)), abs=TOLERANCE, rel=0)


def test_a_batch_that_does_not_divide_is_refused(fresh: Callable[[], Workplace]):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    done = fresh().call(*launcher, "-m", "experiments.run", "preset=smoke", "optim.global_batch_size=3")
    assert done.returncode != 0
    assert "optim.global_batch_size=3 does not divide over 2 processes" in done.stderr
