"""What makes two numbers comparable."""

import json
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from directanimator.digests import digest
from directanimator.errors import UserError
from directanimator.frozen import FrozenSpec

Record = TypeVar("Record", bound="ProtocolRecord")


class ProtocolRecord(FrozenSpec):
    """All that must be equal before two numbers are put side by side."""

    @property
    def id(self) -> str:
        """Eight hexadecimal digits of all fields."""
        record = json.dumps(self.model_dump(), sort_keys=True, allow_nan=False)
        return digest(record, 8)

    @classmethod
    def of_record(cls: type[Record], record: object) -> Record:
        """The protocol that `model_dump` wrote.

        Raises: UserError if the record is not one."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(["protocol", *map(str, first["loc"])])
            raise UserError(f"{path}: {first['msg']}") from error


class Protocol(ProtocolRecord):
    """How the scores of a run's test clips were measured."""

    metric: str
    """Name of the metric or of the family of metrics."""
    version: Annotated[int, Field(ge=1)]
    """Version of its definition."""
    size: Annotated[int, Field(ge=1)]
    """Side of the frames, in pixels."""
    fps: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(ge=1)]
    """Video frames per clip."""
    clips: Annotated[int, Field(ge=1)]
    """Number of clips, N."""
    source: str
    """Where the clips come from."""
    split: str


class MetricProtocol(ProtocolRecord):
    """How one metric was measured on two folders of clips."""

    metric: str
    version: Annotated[int, Field(ge=1)]
    """Version of its definition."""
    parameters: str
    """Choices that the definition leaves open, as `name=value`; empty when there is none."""
    decoder: str
    """What made pixels of the generated and of the target's files, and how they were stored."""
    size: str
    """Height x width of the frames as they were read."""
    resize: str
    """What is done to a frame before it is measured, cropping included; `none` for pixels as they are."""
    fps: str
    frames: str
    """Video frames per clip."""
    window: Annotated[int, Field(ge=1)] | None
    """Frames that are looked at together; None when it is one frame or the whole clip."""
    clips: Annotated[int, Field(ge=0)]
    """Clips that have a value, N."""
    items: Annotated[int, Field(ge=0)]
    """Feature vectors per set: windows or frames; clips where a metric has one value per clip."""
    network: str
    """Feature networks with their versions, those in front of others first; empty for plain pixels."""
    weights: str
    """First digits of the sha256 of the weights of each."""
    target: str
    """First digits of the sha256 of all target clips' names and pixels."""


def compare(first: ProtocolRecord, second: ProtocolRecord) -> None:
    """Nothing, when numbers of the two protocols may be compared.

    Raises: UserError that names each field in which they differ."""
    before, after = first.model_dump(), second.model_dump()
    if before == after:
        return
    names = dict.fromkeys([*before, *after])
    differing = [
        f"{name} ({before.get(name)!r} and {after.get(name)!r})"
        for name in names
        if before.get(name) != after.get(name)
    ]
    raise UserError(f"protocols {first.id} and {second.id} cannot be compared: they differ in {', '.join(differing)}")


def compare_by_clip(first: MetricProtocol, second: MetricProtocol) -> None:
    """Nothing, when the values of clips may be paired: how many clips have one does not matter then.

    Raises: UserError that names each other field in which the protocols differ."""
    compare(*(one.model_copy(update={"clips": 0, "items": 0}) for one in (first, second)))
