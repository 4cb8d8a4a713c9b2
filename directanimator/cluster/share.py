"""What of a cluster work takes: the words that ask for it, and how much of it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from directanimator.errors import UserError, did_you_mean
from directanimator.words import own_words, real, whole

ENGINES = ("local", "ray")
MOST_CPUS, MOST_GPUS, MOST_PROCESSES = 1024, 64, 4096


@dataclass(frozen=True)
class Share:
    """What of a machine one unit of work takes."""

    unit: str
    """What it is called in words: process, video."""
    cpus: int = 1
    gpus: float | None = None
    """Whole ones, or a part of one; None: one if the cluster has any."""
    together: int = 1
    """Units that carry out one piece of work together, on one machine or on several."""


def engine_keys(unit: str, together: str | None = None) -> tuple[str, ...]:
    """The words that choose an engine, what a unit of work takes, and how many work together."""
    return ("engine", f"cpus_per_{unit}", f"gpus_per_{unit}", *([together] if together else []))


def read_engine(
    tokens: Sequence[str], unit: str, most_gpus: int = MOST_GPUS, together: str | None = None
) -> tuple[Share | None, list[str]]:
    """What `engine=ray`, `cpus_per_UNIT=N` and `gpus_per_UNIT=X` ask for, None for this process; and the other words.

    `together` is the word for the number of units that work together, where there is one.
    Raises: UserError for an unknown engine, an illegal number, or a share of a cluster that is not asked for."""
    keys = engine_keys(unit, together)
    engine_key, cpus_key, gpus_key, *_ = keys
    words, rest = own_words(tokens, keys)
    engine = words.get(engine_key, ENGINES[0])
    if engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise UserError(f"unknown engine {engine!r}: known are {known}{did_you_mean(engine, ENGINES)}")
    if engine == "local":
        for key in sorted(words.keys() - {engine_key}):
            raise UserError(f"{key}={words[key]}: is for engine=ray")
        return None, rest
    cpus = whole(words, cpus_key, 1, 1, MOST_CPUS)
    gpus = real(words, gpus_key, 0.0, 0.0, float(most_gpus)) if gpus_key in words else None
    if gpus is not None and gpus > 1 and not gpus.is_integer():
        raise UserError(f"{gpus_key}={words[gpus_key]}: want a part of one, or whole ones")
    count = whole(words, together, 1, 1, MOST_PROCESSES) if together else 1
    if count > 1 and gpus is not None and not gpus.is_integer():
        raise UserError(f"{gpus_key}={words[gpus_key]}: want whole ones with {together}={count}")
    return Share(unit, cpus, gpus, count), rest


def fitting(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """How many units of work of that size a machine takes at once; parts of a GPU lie within one."""
    by_cpus = int(node.get("CPU", 0) // cpus)
    if not gpus:
        return by_cpus
    whole_gpus = int(node.get("GPU", 0))
    by_gpus = whole_gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(whole_gpus // gpus)
    return min(by_cpus, by_gpus)


def most_at_once(nodes: Sequence[Mapping[str, float]], share: Share, gpus: float) -> int:
    """How many pieces of work the machines take at once.

    Raises: UserError if they do not take one."""
    room = sum(fitting(node, share.cpus, gpus) for node in nodes)
    wanted = f"cpus_per_{share.unit}={share.cpus} gpus_per_{share.unit}={gpus:g}"
    if not room:
        largest = ", ".join(
            sorted({f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes}, reverse=True)
        )
        raise UserError(f"{wanted}: no machine of the cluster has that; there are {largest or 'no machines'}")
    if room < share.together:
        raise UserError(f"{wanted}: the cluster has room for {room}, {share.together} are to work together")
    return room // share.together
