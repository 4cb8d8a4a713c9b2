"""Words, fit and order of work on a cluster: all that can be said without one."""

import random
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from directanimator.cluster import Cluster, Done, Failed, Job, Share, read_engine
from directanimator.cluster.machines import _Attempt, _Lost
from directanimator.cluster.order import in_order
from directanimator.cluster.share import fitting, most_at_once
from directanimator.cluster.worker import Desk
from directanimator.errors import UserError

OTHERS = st.lists(st.sampled_from(["preset=cpu", "seed=1", "--debug", "engines=x", "gpus=4"]))
GPUS = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0, 2.0, 8.0])


# ---------------------------------------------------------------- words


@given(st.integers(1, 64), st.none() | GPUS, st.integers(1, 9), OTHERS, st.randoms(use_true_random=False))
def test_a_share_is_read_and_the_other_words_are_left(
    cpus: int, gpus: float | None, together: int, others: list[str], rng: random.Random
):
    assume(together == 1 or gpus is None or gpus.is_integer())
    own = ["engine=ray", f"cpus_per_process={cpus}", *([] if gpus is None else [f"gpus_per_process={gpus:g}"])]
    own += [] if together == 1 else [f"processes_per_run={together}"]
    words = list(others)
    for word in own:
        words.insert(rng.randrange(len(words) + 1), word)
    share, rest = read_engine(words, "process", together="processes_per_run")
    assert share == Share("process", cpus, gpus, together)
    assert rest == [word for word in words if word not in own]


@pytest.mark.parametrize("words", [[], ["engine=local"]])
def test_work_stays_here_unless_it_is_sent_away(words: list[str]):
    assert read_engine([*words, "seed=1"], "process") == (None, ["seed=1"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["engine=rey"], "unknown engine 'rey': known are local, ray; did you mean 'ray'?"),
        (["engine=slurm"], "unknown engine 'slurm': known are local, ray$"),
        (["engine="], "engine needs a value"),
        (["engine=ray", "engine=local"], "engine is given twice"),
        (["engine=local", "cpus_per_process=2"], "cpus_per_process=2: is for engine=ray"),
        (["gpus_per_process=1"], "gpus_per_process=1: is for engine=ray"),
        (["engine=ray", "cpus_per_process=0"], "cpus_per_process=0: want a whole number 1"),
        (["engine=ray", "cpus_per_process=0.5"], "cpus_per_process=0.5: want a whole number 1"),
        (["engine=ray", "gpus_per_process=-1"], "gpus_per_process=-1: want 0..4"),
        (["engine=ray", "gpus_per_process=8"], "gpus_per_process=8: want 0..4"),
        (["engine=ray", "gpus_per_process=nan"], "gpus_per_process=nan: want 0..4"),
        (["engine=ray", "gpus_per_process=1.5"], "gpus_per_process=1.5: want a part of one, or whole ones"),
        (["engine=ray", "processes_per_run=0"], "processes_per_run=0: want a whole number 1"),
        (["processes_per_run=2"], "processes_per_run=2: is for engine=ray"),
        (
            ["engine=ray", "gpus_per_process=0.5", "processes_per_run=2"],
            "gpus_per_process=0.5: want whole ones with processes_per_run=2",
        ),
    ],
)
def test_an_illegal_word_is_refused(words: list[str], told: str):
    with pytest.raises(UserError, match=told):
        read_engine(words, "process", most_gpus=4, together="processes_per_run")


def test_nothing_works_together_where_there_is_no_word_for_it():
    assert read_engine(["engine=ray", "processes_per_run=2"], "video") == (Share("video"), ["processes_per_run=2"])


# ---------------------------------------------------------------- what fits


def packed(cpus_there: int, gpus_there: int, cpus: int, gpus: float) -> int:
    """How many fit, found by putting one after another where there is room."""
    free, placed = [1.0] * gpus_there, 0
    while cpus_there >= cpus:
        cpus_there -= cpus
        if gpus >= 1:
            if len(free) < gpus:
                break
            del free[: int(gpus)]
        elif gpus:
            room = [index for index, part in enumerate(free) if part > gpus - 1e-9]
            if not room:
                break
            free[room[0]] -= gpus
        placed += 1
    return placed


@given(st.integers(0, 16), st.integers(0, 4), st.integers(1, 4), GPUS)
@example(16, 4, 1, 0.3)
def test_as_much_fits_on_a_machine_as_can_be_put_there(cpus_there: int, gpus_there: int, cpus: int, gpus: float):
    node = {"CPU": float(cpus_there)} | ({"GPU": float(gpus_there)} if gpus_there else {})
    assert fitting(node, cpus, gpus) == packed(cpus_there, gpus_there, cpus, gpus)


@given(st.lists(st.integers(0, 8), max_size=4), st.integers(1, 8), st.integers(1, 5))
def test_a_process_is_not_split_over_machines_but_those_of_one_run_may_be(nodes: list[int], cpus: int, together: int):
    share, there = Share("process", cpus, together=together), [{"CPU": float(count)} for count in nodes]
    room = sum(count // cpus for count in nodes)
    if room >= together:
        assert most_at_once(there, share, 0.0) == room // together
        return
    why = f"has room for {room}, {together} are to work together" if room else "no machine of the cluster has that"
    with pytest.raises(UserError, match=f"cpus_per_process={cpus} .*{why}"):
        most_at_once(there, share, 0.0)


def test_who_asks_for_too_much_is_told_what_there_is():
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]
    with pytest.raises(UserError, match=r"gpus_per_video=2.*there are 8 CPUs and 1 GPUs, 4 CPUs and 0 GPUs"):
        most_at_once(nodes, Share("video", 1), 2.0)


# ---------------------------------------------------------------- order


NEEDS = st.integers(0, 8).flatmap(lambda count: st.tuples(*(st.sets(st.integers(0, 8)) for _ in range(count))))
"""What each job needs, of those with a lower number."""


@given(NEEDS, st.sets(st.integers(0, 7)), st.none() | st.integers(1, 3), st.randoms(use_true_random=False))
def test_jobs_follow_those_they_need_whatever_ends_first_or_fails(
    needs: tuple[set[int], ...], fails: set[int], most: int | None, rng: random.Random
):
    jobs = [
        Job(str(number), number, tuple(str(one) for one in sorted(needed) if one < number))
        for number, needed in enumerate(needs)
    ]
    rng.shuffle(jobs)
    begun: list[str] = []
    ended: dict[str, bool] = {}

    def begin(job: Job[int]) -> str:
        assert all(ended.get(name) for name in job.after)
        begun.append(job.name)
        return job.name

    def next_done(handles: Collection[str]) -> tuple[str, Done[int] | Failed]:
        assert set(handles) == set(begun) - ended.keys()
        assert most is None or len(handles) <= most
        able = [job.name for job in jobs if job.name not in begun and all(ended.get(name) for name in job.after)]
        assert not able or len(handles) == most  # nobody waits without a reason
        name = rng.choice(sorted(handles))
        ended[name] = int(name) not in fails
        return name, Done(int(name), "here") if ended[name] else Failed("for a reason")

    told = list(in_order(jobs, begin, next_done, most))
    assert sorted(job.name for job, _ in told) == sorted(job.name for job in jobs)
    assert len(begun) == len(set(begun))
    spoiled: set[str] = set()
    for job in sorted(jobs, key=lambda job: job.work):
        if job.work in fails or spoiled & set(job.after):
            spoiled.add(job.name)
    outcomes = {job.name: outcome for job, outcome in told}
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, Failed)} == spoiled
    for name, outcome in outcomes.items():
        if name not in begun:
            assert isinstance(outcome, Failed)
            assert outcome.reason.startswith("not begun, since ")


@given(st.permutations(["lost", "refused", "defect", "done"]), st.integers(1, 4))
def test_of_processes_that_ended_together_a_dead_one_explains_what_others_met_with(order: list[str], count: int):
    failed, defect = Failed("no"), Failed("bug", is_defect=True)
    ends = {"lost": _Lost("died"), "refused": failed, "defect": defect, "done": Done(1, "a")}
    found = Cluster(1, 1, None, {}, Desk(Path(), {}), count)._verdict(
        _Attempt("work", handles=order[:count], ended={name: ends[name] for name in order[:count]})
    )
    assert found is next(ends[name] for name in ends if name in order[:count])
